"""What an operator can set about the service."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from siglip2.serve.sign_in_settings import SignInSettings


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Limits of fetching image URLs; see `fetch`.

    Attributes:
        enabled: False refuses every URL.
        ports: that a URL may name.
        allowed_hosts: if not empty, only these names and what is below them.
        denied_hosts: never these names or what is below them.
        allowed_networks: addresses that may be reached although they are not public, for use in a LAN.
        max_bytes: of one image file.
        connect_seconds: until the connection stands.
        total_seconds: for everything, redirects included, from the fetch's turn on.
        minimum_rate: bytes a second on average, after the first two seconds.
        max_redirects: followed by hand, each checked like the first URL.
        max_concurrent: fetches at a time; one caller has no more than are left for others, so half at most.
        max_concurrent_per_host: of these to one name.
        max_waiting: fetches that run or wait for their turn, half at most of one caller; beyond it requests
            get 503.
        user_agent: names the software; operators add a contact.
    """

    enabled: bool = True
    ports: frozenset[int] = frozenset({80, 443})
    allowed_hosts: tuple[str, ...] = ()
    denied_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    max_bytes: int = 20 * 1024**2
    connect_seconds: float = 3.0
    total_seconds: float = 10.0
    minimum_rate: int = 4096
    max_redirects: int = 3
    max_concurrent: int = 64
    max_concurrent_per_host: int = 4
    max_waiting: int = 512
    user_agent: str = "siglip2-serve/0.1 (image fetcher)"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How requests become batches.

    Attributes:
        max_wait_seconds: the longest that an idle tower waits for a batch to fill.
        max_image_batch: images per run of the tower.
        max_batch_seconds: that a run of several images may take: a slow tower runs smaller batches, so that
            who comes next does not wait for all of a large one.
        max_text_batch: texts per run of the tower.
        max_images_in_flight: images accepted and not answered; beyond it requests get 503.
        max_queue_seconds: of work that a request may find before its images; beyond it 503 too, so that a
            rush is over for the next caller as soon as for those who made it. One full batch always may wait.
        rush_queue_seconds: the same for some seconds after a request was turned away, without that exception:
            a rush that goes on leaves a short queue behind.
        max_texts_in_flight: the same for texts.
        max_image_bytes_in_flight: encoded files held at a time; 413 where one request alone has more.
        decode_threads: threads that decode and resize.
        cached_texts: embeddings of texts that are kept.
    """

    max_wait_seconds: float = 0.005
    max_image_batch: int = 16
    max_batch_seconds: float = 0.5
    max_text_batch: int = 64
    max_images_in_flight: int = 256
    max_queue_seconds: float = 1.0
    rush_queue_seconds: float = 0.5
    max_texts_in_flight: int = 8192
    max_image_bytes_in_flight: int = 512 * 1024**2
    decode_threads: int = max(1, min(8, os.cpu_count() or 1))
    cached_texts: int = 50_000


@dataclass(frozen=True, kw_only=True)
class Prices:
    """In micro-units of credit: one millionth of whatever the operator sells.

    Attributes:
        image: per image embedded.
        text: per text embedded, cached or not.
    """

    image: int = 100
    text: int = 10


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Everything about the service.

    Attributes:
        open: serve without accounts; only for a loopback address.
        database: SQLAlchemy URL of the accounts.
        model: what the served model is called; the default where there are several.
        other_models: that requests may name.
        sources: where models come from, by name; the others from `siglip2.load` of their name.
        aliases: further names that requests may give the default model.
        collections: files of the collections that requests may search, by name.
        max_body_bytes: of a request.
        max_requests: that are served at a time; beyond it those that bring work get 503.
        max_bytes_in_flight: of all their bodies; beyond it 503.
        max_images: in one request.
        max_texts: in one request: inputs, labels or documents, prompts counted one by one.
        max_text_characters: of one text.
        deadline_seconds: for one request.
        requests_per_minute: of one key that sets no limit of its own.
        rate_limit_storage: `memory://`, or the URL of a Redis shared by several processes.
        prices: of what is embedded.
        currency: what a million micro-units are called in costs.
        low_credit: micro-units; answers that leave an account less carry `x-credits-low`.
        sign_in: signing up and signing in; by default what the environment says.
        fetch: limits of fetching image URLs.
        engine: how requests become batches.
    """

    open: bool = False
    database: str = "sqlite:///siglip2-accounts.sqlite"
    model: str = "nano"
    other_models: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ("siglip2",)
    collections: Mapping[str, Path] = field(default_factory=dict)
    max_body_bytes: int = 64 * 1024**2
    max_requests: int = 512
    max_bytes_in_flight: int = 1024**3
    max_images: int = 64
    max_texts: int = 2048
    max_text_characters: int = 8192
    deadline_seconds: float = 60.0
    requests_per_minute: int = 600
    rate_limit_storage: str = "memory://"
    prices: Prices = field(default_factory=Prices)
    currency: str = "credit"
    low_credit: int = 0
    sign_in: SignInSettings = field(default_factory=SignInSettings.of_environment)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)

    def source(self, model: str) -> str:
        """What to load for a model of this name."""
        return self.sources.get(model, model)
