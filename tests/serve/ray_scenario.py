"""Run as a program: the service on a local Ray cluster, asked while a replica of a tower is killed.

Arguments: a folder with a model, and one to work in. Prints what happened as JSON on the last line.
"""

# pyright: reportMissingImports=false
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from tests.serve.conftest import data_url, png

from siglip2.encoder import load
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.store import create_account, create_key, usage_by_day
from siglip2.serve.ray_app import build
from siglip2.serve.settings import ServeSettings

ASKING, REQUESTS = 4, 40


def main(model: Path, folder: Path) -> dict[str, object]:
    settings = ServeSettings(
        model="tiny",
        sources={"tiny": str(model)},
        database=f"sqlite:///{folder}/a.sqlite",
        requests_per_minute=10**6,
    )
    database = Database(settings.database)
    database.migrate()
    create_account(database, "ada@example.org", credit=10**9)
    key = create_key(database, "ada@example.org", "ray")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init(num_cpus=8, include_dashboard=False, configure_logging=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(
        build(settings, scaling={"min_replicas": 2, "max_replicas": 2}), name="siglip2", route_prefix="/"
    )
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    statuses: list[int] = []

    def ask(worker: int) -> None:
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            for number in range(REQUESTS):
                inputs = [{"image": data_url(number)}, f"text {worker} {number}"]
                statuses.append(client.post("/v1/embeddings", json={"input": inputs}).status_code)

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(ASKING)]
    for thread in threads:
        thread.start()
    while len(statuses) < ASKING * REQUESTS // 4:
        time.sleep(0.02)
    towers = [name for name in _replicas() if "#images#" in name]
    ray.kill(ray.get_actor(towers[0], namespace="serve"))
    for thread in threads:
        thread.join()
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        answer = client.post("/v1/embeddings", json={"input": [{"image": data_url(1)}, "a cat"]}).json()
        classified = client.post(
            "/v1/classify", json={"input": data_url(1), "labels": ["a", "b"]}
        ).status_code
        stranger = client.post("/v1/classify", json={}, headers={"Authorization": "Bearer x"}).status_code
        health = client.get("/health").status_code
    serve.shutdown()
    ray.shutdown()
    encoder = load(str(model))
    expected = [encoder.embed_images([png(1)])[0], encoder.embed_texts(["a cat"])[0]]
    off = max(
        abs(float(a) - float(b))
        for entry, vector in zip(answer["data"], expected, strict=True)
        for a, b in zip(entry["embedding"], vector, strict=True)
    )
    with database.reading() as session:
        errors = find_errors(session)
    used = sum(int(str(row["requests"])) for row in usage_by_day(database, 1))
    database.close()
    return {
        "statuses": {str(status): statuses.count(status) for status in set(statuses)},
        "towers": len(towers),
        "classified": classified,
        "stranger": stranger,
        "health": health,
        "off": off,
        "errors": errors,
        "used": used,
    }


def _replicas() -> list[str]:
    actors: Any = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in actors if "SERVE_REPLICA" in actor["name"]]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
