"""`siglip2 serve` as a process: its log, and its end while requests run."""

import base64
import http.client
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from PIL import Image
from tests.serve.conftest import data_url
from tests.serve.processes import running_service
from tests.tiny_model import random_photo, write_tiny_model


def large_photo():
    out = io.BytesIO()
    Image.fromarray(random_photo(0, 900, 1200)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_an_idle_connection_is_the_callers_to_close(tmp_path):
    """uvicorn's own five seconds are what httpx keeps one for: a request now and then met its end."""
    model = write_tiny_model(tmp_path / "tiny")
    with running_service(tmp_path, "--model", str(model), "--open") as service:
        host, port = service.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        for wait in (0, 6.5):
            time.sleep(wait)
            if connection.sock is not None:
                connection.auto_open = 0  # not another one in its place
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
        connection.close()


def test_running_requests_are_answered_after_sigterm_and_the_log_is_json(tmp_path):
    model = write_tiny_model(tmp_path / "tiny")
    body = {"input": [large_photo()] * 40, "labels": ["a hidden label"]}
    begun = threading.Semaphore(0)

    def ask(number, base, key):
        with httpx.Client(base_url=base, timeout=60, trust_env=False) as http:
            http.get("/health")  # the connection stands before the service is told to end
            begun.release()
            headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"hidden {number}"}
            answer = http.post("/v1/classify?note=hidden", json=body, headers=headers)
            return answer.status_code

    with ThreadPoolExecutor(3) as pool:
        with running_service(tmp_path, "--model", str(model)) as service:
            wrong = {"Authorization": "Bearer sg2_hidden_key_that_is_wrong"}
            refused = httpx.post(f"{service.url}/v1/embeddings", json={"input": "x"}, headers=wrong)
            odd = httpx.request("HIDDEN", f"{service.url}/v1/hidden", json={"input": data_url()})
            sent = [pool.submit(ask, number, service.url, service.key) for number in range(3)]
            for _ in sent:
                begun.acquire()
            time.sleep(0.3)  # they are being read or worked on; SIGTERM comes at the end of the block
        assert [each.result() for each in sent] == [200] * 3
    assert (refused.status_code, odd.status_code) == (401, 404)
    (output,) = tmp_path.glob("output-*.txt")
    said = output.read_text()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    asked = [line for line in lines if line.get("route") == "/v1/classify"]
    assert [line["status"] for line in asked] == [200] * 3
    assert {"time", "level", "method", "milliseconds", "request_id", "phases"} <= set(asked[0])
    assert {"decode", "queue", "infer"} <= set(asked[0]["phases"])
    assert {(line["method"], line["route"], line["status"]) for line in lines} >= {("other", "none", 404)}
    written = "\n".join(json.dumps(line) for line in lines)
    for secret in ("hidden", "HIDDEN", service.key, service.key[-12:], "iVBOR"):
        assert secret not in written
