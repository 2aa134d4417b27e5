"""`siglip2 serve`: the HTTP service, with accounts, and a key on the first start."""

import os
import re
import shlex
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from siglip2.serve.settings import ServeSettings

OPERATOR = "operator@localhost"
OPERATOR_CREDIT = 1_000_000_000

MAX_PRICE = 10**12
"""Of an image or a text, in micro-units: a request of any size still costs what the ledger can hold."""

KEEP_ALIVE_SECONDS = 75
"""For which a connection may lie idle. More than clients and proxies keep theirs (5 to 60 seconds): whoever
ends it first must be the one who sends, or a request meets a connection that was just closed."""


def serve(
    models: tuple[str, ...] = (),
    *,
    model: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    open: bool = False,
    database: str | None = None,
    collection: tuple[str, ...] = (),
    requests_per_minute: int = 600,
    rate_limit_storage: str = "memory://",
    fetch_urls: bool = True,
    fetch_hosts: tuple[str, ...] = (),
    fetch_networks: tuple[str, ...] = (),
    fetch_ports: tuple[int, ...] = (80, 443),
    image_price: int = 100,
    text_price: int = 10,
    currency: str = "credit",
    low_credit: int = 0,
    telemetry: bool = False,
    ray: bool = False,
) -> None:
    """Serve models over HTTP to existing clients; see docs/api.md and docs/operate.md.

    Args:
        models: as for the other commands, or NAME=MODEL; requests name one, the first is the default. None
            is `nano`, which is bundled.
        model: the same, for a single one.
        host: address to listen at.
        port: to listen at.
        open: no accounts and no keys; only for a loopback address.
        database: SQLAlchemy URL of the accounts; by default SIGLIP2_DATABASE, or a SQLite file in the user's
            data folder.
        collection: NAME=PATH, files of `siglip2 index` that requests may search.
        requests_per_minute: of a key that sets no limit of its own.
        rate_limit_storage: memory://, or the URL of a Redis.
        fetch_urls: fetch images that requests name by URL.
        fetch_hosts: if given, only these hosts and what is below them.
        fetch_networks: private networks (CIDR) from which images may be fetched all the same.
        fetch_ports: that image URLs may name.
        image_price: of an image, in micro-units of credit.
        text_price: of a text, a label's prompt included, in micro-units of credit.
        currency: what a million micro-units are called.
        low_credit: answers warn an account that has fewer micro-units left.
        telemetry: send traces over OTLP, to where OTEL_EXPORTER_OTLP_ENDPOINT points.
        ray: on Ray Serve, in the cluster of RAY_ADDRESS or a new one on this machine; one model.
    """
    try:
        import uvicorn

        from siglip2.serve.addresses import is_loopback
        from siglip2.serve.app import create_app
        from siglip2.serve.logs import start_logging
        from siglip2.serve.models import parse_models
        from siglip2.serve.settings import FetchSettings, Prices, ServeSettings
    except ModuleNotFoundError as error:
        raise InvalidInput(f"serving needs {error.name}: pip install 'siglip2[serve]'") from error
    if open and not is_loopback(host):
        raise InvalidInput(f"--open lets anybody in and is for loopback addresses only, not for {host}")
    url = database or default_database()
    try:
        networks = tuple(ip_network(network) for network in fetch_networks)
    except ValueError as error:
        raise InvalidInput(f"--fetch-networks takes networks such as 192.168.1.0/24: {error}") from error
    if model is not None and models:
        raise InvalidInput(f"name the models in one place: siglip2 serve {' '.join((model, *models))}")
    if not 0 <= min(image_price, text_price) <= max(image_price, text_price) <= MAX_PRICE or low_credit < 0:
        raise InvalidInput(f"prices are 0 to {MAX_PRICE} micro-units, and --low-credit is 0 or more")
    if requests_per_minute < 1:
        raise InvalidInput(f"--requests-per-minute is 1 or more, not {requests_per_minute}")
    if not 0 <= port < 2**16:
        raise InvalidInput(f"--port is 0 to 65535, not {port}")
    if not all(0 < each < 2**16 for each in fetch_ports):
        raise InvalidInput(f"--fetch-ports takes ports, 1 to 65535; got {', '.join(map(str, fetch_ports))}")
    sources = parse_models(models or (model or "nano",))
    default, *others = sources
    settings = ServeSettings(
        open=open,
        database=url,
        model=default,
        other_models=tuple(others),
        sources=sources,
        collections=_named_paths(collection),
        requests_per_minute=requests_per_minute,
        rate_limit_storage=rate_limit_storage,
        prices=Prices(image=image_price, text=text_price),
        currency=currency,
        low_credit=low_credit,
        fetch=FetchSettings(
            enabled=fetch_urls,
            allowed_hosts=fetch_hosts,
            allowed_networks=networks,
            ports=frozenset(fetch_ports),
        ),
    )
    if ray:
        _serve_on_ray(settings, host, port, database)
        return
    app = create_app(settings)
    if telemetry:
        from siglip2.serve.telemetry import trace

        trace(app)
    _greet(settings, host, port, database)
    start_logging()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )


def _greet(settings: "ServeSettings", host: str, port: int, database: str | None) -> None:
    """Make the first key and print it, once nothing else can fail: it is not to be had again."""
    key = None if settings.open else first_key(settings.database)
    print(welcome(host, port, open=settings.open, key=key, database=database), flush=True)


def _serve_on_ray(settings: "ServeSettings", host: str, port: int, database: str | None) -> None:
    try:
        from ray import serve as ray_serve  # pyright: ignore[reportMissingImports]

        from siglip2.serve.ray_app import build
    except ModuleNotFoundError as error:
        raise InvalidInput(f"--ray needs {error.name}: pip install 'siglip2[ray]'") from error
    application = build(settings)
    ray_serve.start(http_options={"host": host, "port": port})
    _greet(settings, host, port, database)
    ray_serve.run(application, name="siglip2", route_prefix="/", blocking=True)


def first_key(url: str) -> str | None:
    """A key for the operator, on the first start with this database; None on later ones."""
    from siglip2.serve.accounts.database import Database
    from siglip2.serve.accounts.store import count_accounts, create_account, create_key

    database = Database(url)
    try:
        database.migrate()
        if count_accounts(database):
            return None
        create_account(database, OPERATOR, credit=OPERATOR_CREDIT, role="admin")
        return create_key(database, OPERATOR, "first key")
    finally:
        database.close()


def default_database() -> str:
    """URL of the accounts: SIGLIP2_DATABASE, or a SQLite file in the user's data folder, which is made."""
    if os.environ.get("SIGLIP2_DATABASE"):
        return os.environ["SIGLIP2_DATABASE"]
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    folder = Path(base) / "siglip2"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return f"sqlite:///{folder / 'accounts.sqlite'}"


def welcome(host: str, port: int, *, open: bool, key: str | None, database: str | None) -> str:
    """What is printed at the start: the key, once, and a line to try.

    Args:
        host: where the service listens.
        port: the same.
        open: whether it needs no keys.
        key: the first one, if it was just made.
        database: URL of the accounts, if it is not the one that `siglip2 accounts` would take by itself.
    """
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    sent = "" if open else f' -H "Authorization: Bearer {key or "$SIGLIP2_KEY"}"'
    lines = [f"SigLIP 2 at {base} (console), documentation at {base}/docs"]
    if key is not None:
        lines.append(f"your key, shown this once: {key}")
    elif not open:
        lines.append(f"keys: siglip2 accounts create-key {OPERATOR}{_database_option(database)}")
    body = (
        """{\\"labels\\": [\\"cat\\", \\"dog\\"], \\"input\\": \\"$(base64 < photo.jpg | tr -d '\\n')\\"}"""
    )
    # Through a pipe: a photo is longer than an argument may be.
    lines.append(
        f'try: echo "{body}" | curl {base}/v1/classify{sent} -H "Content-Type: application/json" -d @-'
    )
    return "\n".join(lines)


def _database_option(database: str | None) -> str:
    if database is None:
        return ""
    from siglip2.serve.accounts.database import shown

    return f" --database {shlex.quote(shown(database))}"


def _named_paths(given: tuple[str, ...]) -> dict[str, Path]:
    """Collections of `NAME=PATH`."""
    paths: dict[str, Path] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not path or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in paths:
            raise InvalidInput(
                f"--collection takes NAME=PATH, with names of letters, digits, dots and dashes, each once; "
                f"got {text!r}"
            )
        paths[name] = Path(path)
    return paths
