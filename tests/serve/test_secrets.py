"""Keys, passwords and sessions appear in no log, metric or error, also where the database itself logs."""

import json
import logging

import httpx
from tests.serve.conftest import data_url

from siglip2.serve.routes import embeddings
from siglip2.serve.settings import ServeSettings

PASSWORD = "correct horse battery staple"
WRONG = "another battery entirely"


def test_secrets_appear_nowhere(start, caplog, monkeypatch):
    for name in ("siglip2", "uvicorn", "sqlalchemy.engine", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    server = start(ServeSettings())
    answers, secrets = [], [PASSWORD, WRONG, server.key, server.key[8:]]
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
        for path, password in (("sign-up", PASSWORD), ("sign-in", WRONG), ("sign-in", PASSWORD)):
            said = {"email": "eve@example.org", "password": password}
            answers.append(http.post(f"/account/{path}", json=said))
        session = answers[-1].json()
        secrets += [*http.cookies.values()]
        csrf = {"x-csrf-token": session["csrf_token"]}
        key = http.post("/account/keys", json={"name": "laptop"}, headers=csrf).json()["secret"]
        secrets.append(key)
        answers.append(http.post("/account/sign-up", json={"email": "eve@example.org", "password": PASSWORD}))
        answers.append(http.post("/account/sign-up", content=json.dumps({"password": PASSWORD})))
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "a private name"}
        picture = data_url()
        body = {"input": picture, "labels": ["a private label"]}
        answered = http.post("/v1/classify", json=body, headers=headers)
        assert answered.status_code == 200
        answers.append(http.post("/v1/classify", json={**body, "labels": []}, headers=headers))

        unnamed = {"Authorization": headers["Authorization"]}

        def broken(*given, **named):
            raise RuntimeError("at 0x7f00 in /srv/models")

        monkeypatch.setattr(embeddings, "usage_of", broken)
        failed = http.post("/v1/embeddings", json={"input": "a private text"}, headers=unnamed)
        answers.append(failed)
        metrics = http.get("/metrics").text
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal_error")
    assert "0x7f00" not in failed.text
    assert "/srv" not in failed.text
    logged = caplog.text
    assert "request failed" in logged
    assert "INSERT INTO" in logged  # the database's own log was on
    for secret in (*secrets, "a private label", "a private text", picture[-60:]):
        assert secret not in logged, secret
        assert secret not in metrics, secret
        assert not any(secret in answer.text for answer in answers if answer.is_error), secret
