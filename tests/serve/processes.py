"""`siglip2 serve` as people start it: a process of its own, with its output read."""

import http.server
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.serve.servers import free_port

SECONDS = 180


@dataclass
class Running:
    """A service that has started.

    Attributes:
        url: where it listens.
        key: the one that it printed, if it did.
        output: all that it printed until it was ready.
        home: the folder that stands for the user's data.
    """

    url: str
    key: str
    output: str
    home: Path


@contextmanager
def running_service(
    home: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """Start `siglip2 serve` with arguments, and end it with SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "siglip2.cli.main", "serve", *arguments, "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    surroundings = {**inherited, "XDG_DATA_HOME": str(home), "PYTHONUNBUFFERED": "1", **(environment or {})}
    output = home / f"output-{port}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=surroundings, cwd=home)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, output)
        said = output.read_text()
        key = re.search(r"sg2_[\w-]{43}", said)
        yield Running(url, key[0] if key else "", said, home)
    finally:
        process.terminate()
        code = process.wait(SECONDS)
    assert code in (0, -15), output.read_text()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    until = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < until, output.read_text()
        try:
            if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A server of a folder's files on loopback; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given, **named):
            super().__init__(*given, directory=str(folder), **named)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)
