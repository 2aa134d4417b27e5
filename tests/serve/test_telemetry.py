"""Traces: a span a request with its phases, and nothing of what the request said."""

import httpx
import pytest
from tests.serve.conftest import data_url

from siglip2.serve.app import create_app
from siglip2.serve.settings import ServeSettings

pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="needs siglip2[telemetry]")


def test_spans(encoder):
    import asyncio

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from siglip2.serve.telemetry import trace

    exporter = InMemorySpanExporter()
    app = create_app(ServeSettings(open=True, model="tiny"), encoder=encoder)
    provider = trace(app, exporter)

    async def work():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            headers = {"Authorization": "Bearer sg2_secret"}
            body = {"input": data_url(), "labels": ["a secret label"]}
            answer = await client.post("/v1/classify?note=secret", json=body, headers=headers)
            assert answer.is_success
            await client.get("/health")
            return answer.headers["x-request-id"]

    request_id = asyncio.run(work())
    provider.shutdown()
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /v1/classify"
    attributes = dict(span.attributes or {})
    assert attributes["siglip2.request_id"] == request_id
    assert {"siglip2.decode_ms", "siglip2.infer_ms", "siglip2.queue_ms"} <= set(attributes)
    assert "secret" not in str(attributes)
