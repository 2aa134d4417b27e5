"""Services that the serving benchmark measures, each started as its users start it, and ended again."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
"""Nothing is asked of the hub, and nothing is reported."""

USUAL = Path(__file__).with_name("serving_usual.py")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A service and how to ask it.

    Attributes:
        name: in the tables.
        command: with the port as its last argument.
        path: of embeddings.
        body: the request for one image, given as base64.
        ready: path that answers 200 once it serves.
        environment: added to this process's.
    """

    name: str
    command: list[str]
    path: str
    body: Callable[[str], dict]
    ready: str
    environment: dict[str, str]


def contenders(model: Path, folder: Path, infinity: Path | None, usual: Path) -> list[Contender]:
    """This service with and without accounts, and the others that are installed.

    Args:
        model: folder of weights, the same for all.
        folder: for the accounts.
        infinity: the `infinity_emb` program, in an environment of its own.
        usual: a Python with fastapi and transformers.
    """
    ours = [sys.executable, "-m", "siglip2.cli.main", "serve", "--model", str(model)]
    image = {"path": "/v1/embeddings", "ready": "/ready"}
    data = {"XDG_DATA_HOME": str(folder)}

    def embed(text: str) -> dict:
        return {"input": [{"image": text}], "encoding_format": "base64"}

    found = [
        Contender(name="siglip2", command=[*ours, "--requests-per-minute", "1000000", "--port"], body=embed,
                  environment=data, **image),
        Contender(name="siglip2 --open", command=[*ours, "--open", "--port"], body=embed, environment=data,
                  **image),
    ]  # fmt: skip
    if infinity is not None:
        command = [str(infinity), "v2", "--model-id", str(model), "--engine", "torch", "--device", "cpu"]
        found += [
            Contender(
                name=f"infinity-emb, {dtype}",
                command=[*command, "--dtype", dtype, "--no-bettertransformer", "--port"],
                path="/embeddings",
                body=lambda text: {
                    "model": model.name,
                    "input": [f"data:image/jpeg;base64,{text}"],
                    "modality": "image",
                    "encoding_format": "base64",
                },
                ready="/health",
                environment=QUIET,
            )
            for dtype in ("float32", "bfloat16")
        ]
    found.append(
        Contender(
            name="FastAPI and transformers",
            command=[str(usual), str(USUAL), str(model)],
            path="/embed",
            body=lambda text: {"image": text},
            ready="/health",
            environment=QUIET,
        )
    )
    return found


@contextmanager
def running(contender: Contender, port: int, log: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A started service, once it answers, and the key for it, or a word in its place."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [*contender.command, str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **contender.environment},
        )
        try:
            until = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}{contender.ready}"):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{contender.name} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            said = log.read_text()
            key = next((word for word in said.split() if word.startswith("sg2_")), "none")
            yield process, key
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def request_of(path: str, body: dict, key: str) -> bytes:
    """A whole HTTP request, ready to be sent."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
