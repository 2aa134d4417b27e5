"""Images a second of the service beside those of the bare encoder, and latencies, on loopback.

Closed loop: each of the clients sends its next request when the last one is answered. Starts the service
itself, without accounts, and stops after the given seconds. The clients share the machine with the service.

    python benchmarks/serving.py --model nano --clients 8 --seconds 10
"""

import argparse
import asyncio
import base64
import io
import socket
import threading
import time
from collections.abc import Sequence

import httpx
import numpy as np
import uvicorn
from PIL import Image

from siglip2 import Encoder, load
from siglip2.serve.app import create_app
from siglip2.serve.settings import ServeSettings

LABELS = ["a cat", "a dog", "a bird", "a car"]


def photos(count: int, side: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def bare_rate(encoder: Encoder, files: Sequence[bytes], seconds: float) -> float:
    encoder.embed_images(files)
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        encoder.embed_images(files)
        done += len(files)
    return done / elapsed


def start_service(encoder: Encoder) -> tuple[uvicorn.Server, threading.Thread, str]:
    app = create_app(ServeSettings(open=True), encoder=encoder)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    return server, thread, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def load_service(
    url: str, files: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[float], int]:
    bodies = [{"input": base64.b64encode(file).decode(), "labels": LABELS} for file in files]
    latencies: list[float] = []
    refused = 0
    until = time.perf_counter() + seconds

    async def one(number: int, http: httpx.AsyncClient) -> None:
        nonlocal refused
        while (start := time.perf_counter()) < until:
            number += 1
            response = await http.post("/v1/classify", json=bodies[number % len(bodies)])
            if response.status_code == 200:
                latencies.append(time.perf_counter() - start)
            else:
                refused += 1

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        await asyncio.gather(*(one(number, http) for number in range(clients)))
    return latencies, refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--side", type=int, default=512, help="pixels of the photos")
    options = parser.parse_args()
    encoder = load(options.model)
    files = photos(32, options.side)
    bare = bare_rate(encoder, files, options.seconds)
    server, thread, url = start_service(encoder)
    latencies, refused = asyncio.run(load_service(url, files, options.clients, options.seconds))
    server.should_exit = True
    thread.join(30)
    rate = len(latencies) / options.seconds
    middle, slow = np.percentile(latencies, [50, 99])
    print(f"bare encoder {bare:.1f} images/s, service {rate:.1f} images/s ({100 * rate / bare:.0f} %)")
    print(
        f"{options.clients} clients: p50 {1000 * middle:.0f} ms, p99 {1000 * slow:.0f} ms, {refused} refused"
    )


if __name__ == "__main__":
    main()
