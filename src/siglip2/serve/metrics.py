"""Prometheus metrics. Labels are routes, methods and statuses: never keys, users, URLs or texts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from siglip2.serve.models import Models

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})
"""Others are the caller's invention, and are counted and logged as one."""


class Metrics:
    """The service's own registry, so that several services can live in one process."""

    def __init__(self, models: Models):
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "siglip2_request_seconds",
            "Time to answer, by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._embedded = Counter(
            "siglip2_embedded", "Items embedded for callers.", ("kind",), registry=self.registry
        )
        for kind in ("images", "texts"):
            for name, help_, attribute in (
                ("waiting", f"Waiting {kind}.", "num_waiting"),
                ("batches", f"Batches of {kind} run.", "batches"),
                ("batched", f"All {kind} in them.", "items"),
            ):
                gauge = Gauge(f"siglip2_{kind}_{name}", help_, ("model",), registry=self.registry)
                for model in models.names:
                    # Asked for at every scrape: a reload puts another engine in the model's place.
                    gauge.labels(model).set_function(
                        lambda model=model, kind=kind, attribute=attribute: getattr(
                            getattr(models.engine(model), kind), attribute
                        )
                    )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note an answer."""
        known = method if method in METHODS else "other"
        self._seconds.labels(known, route, str(status)).observe(seconds)

    def embedded(self, *, images: int, texts: int) -> None:
        """Note what was embedded for an answer."""
        self._embedded.labels("images").inc(images)
        self._embedded.labels("texts").inc(texts)

    def page(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self.registry)
