"""Traces for OpenTelemetry, with `pip install 'siglip2[telemetry]'`: a span a request, and its phases' times.

Spans hold routes, statuses and times: no headers, no bodies, no texts.
"""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siglip2 import __version__
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

PROBES = "/health$,/ping$,/ready$,/metrics$"
"""Would be most of what is traced."""


def trace(app: FastAPI, exporter: "SpanExporter | None" = None) -> "TracerProvider":
    """Send a span of every request.

    Args:
        app: the service, before it starts.
        exporter: where to; None for OTLP over HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT points.

    Returns:
        Its `shutdown` sends what is left.

    Raises:
        InvalidInput: the libraries are missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise InvalidInput(f"tracing needs {error.name}: pip install 'siglip2[telemetry]'") from error
    resource = Resource.create({"service.name": "siglip2", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=PROBES,
        exclude_spans=["receive", "send"],
        server_request_hook=_leave_out_query,
    )
    # Around the gate, which knows the phases, and inside the span.
    app.add_middleware(_Phases)
    return provider


def _leave_out_query(span: Any, scope: dict[str, Any]) -> None:
    # A query may hold what people look for.
    for name in ("http.url", "url.full", "url.query", "http.target"):
        if span.is_recording() and name in (span.attributes or {}):
            span.set_attribute(name, str(span.attributes[name]).partition("?")[0])


class _Phases:
    """ASGI middleware: what the gate has measured becomes attributes of the span."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        from opentelemetry.trace import get_current_span

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                span, state = get_current_span(), scope.get("state") or {}
                span.set_attribute("siglip2.request_id", state.get("request_id", ""))
                for phase, seconds in (state.get("phases") or {}).items():
                    span.set_attribute(f"siglip2.{phase}_ms", round(1000 * seconds, 3))
            await send(message)

        await self.app(scope, receive, noting)
