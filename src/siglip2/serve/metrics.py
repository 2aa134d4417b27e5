"""Prometheus metrics. Labels are routes, methods and statuses: never keys, users, URLs or texts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from siglip2.serve.engine import Engine

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})


class Metrics:
    """The service's own registry, so that several services can live in one process."""

    def __init__(self, engine: Engine):
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
        for kind, batcher in (("images", engine.images), ("texts", engine.texts)):
            waiting = Gauge(f"siglip2_{kind}_waiting", f"Waiting {kind}.", registry=self.registry)
            waiting.set_function(lambda batcher=batcher: batcher.num_waiting)
            batches = Gauge(f"siglip2_{kind}_batches", f"Batches of {kind} run.", registry=self.registry)
            batches.set_function(lambda batcher=batcher: batcher.batches)
            items = Gauge(f"siglip2_{kind}_batched", f"All {kind} in them.", registry=self.registry)
            items.set_function(lambda batcher=batcher: batcher.items)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note an answer."""
        known = method if method in _METHODS else "other"
        self._seconds.labels(known, route, str(status)).observe(seconds)

    def embedded(self, *, images: int, texts: int) -> None:
        """Note what was embedded for an answer."""
        self._embedded.labels("images").inc(images)
        self._embedded.labels("texts").inc(texts)

    def page(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self.registry)
