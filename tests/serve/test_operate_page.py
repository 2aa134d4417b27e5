"""docs/operate.md: its blocks run as they stand, its commands exist, its numbers are the code's."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from siglip2.cli.main import run
from siglip2.serve.accounts.sessions import IDLE_TIME, WHOLE_TIME
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def served(start, tmp_path_factory):
    server = start(ServeSettings())
    create_account(server.database, "operator@localhost", role="admin")
    key = create_key(server.database, "operator@localhost", "first key")
    return tmp_path_factory.mktemp("operate"), server, key


# One after the other: later blocks use the cookies of the first.
def test_blocks(served):
    folder, server, key = served
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    environment = {**os.environ, "SIGLIP2_KEY": key, "no_proxy": "*"}
    said = ""
    for block in blocks:
        script = "set -eo pipefail\n" + block.replace(ADDRESS, server.url).replace("curl -s", "curl -sSf")
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (block, done.stderr)
        said += done.stdout
    assert '"secret":"sg2_' in said
    assert '"hard_limit":500000' in said


def test_account_commands(tmp_path, capsys, monkeypatch):
    database = ["--database", f"sqlite:///{tmp_path / 'accounts.sqlite'}"]
    commands = re.findall(r"^\| `siglip2 (accounts [^`]+)` \|", PAGE, re.MULTILINE)
    assert len(commands) == 12
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    for command in commands:
        # The key of the page is number 3; here two have been made.
        words = shlex.split(command.replace("revoke-key 3", "revoke-key 2"))
        assert not run([*words, *database]), command
    assert "the ledger adds up" in capsys.readouterr().out


def test_serve_options_exist():
    command = [sys.executable, "-m", "siglip2.cli.main", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    told = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", PAGE))
    elsewhere = {
        "--credit",
        "--name",
        "--days",
        "--scopes",
        "--build-arg",
        "--set",
        "--admin",
        "--soft",
        "--hard",
    }
    known = set(re.findall(r"--[a-z-]+", done.stdout))
    assert told - elsewhere <= known, told - elsewhere - known


def test_extras_exist():
    import tomllib

    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))
    told = {name for names in re.findall(r"siglip2\[([\w,]+)\]", PAGE) for name in names.split(",")}
    assert told >= {"serve", "postgresql", "redis", "openid", "ray", "telemetry"}
    assert told <= set(project["project"]["optional-dependencies"])


def test_variables_and_times_are_those_of_the_code():
    told = set(re.findall(r"SIGLIP2_(?:SIGN|PUBLIC)[A-Z_]+", PAGE))
    assert told == {
        "SIGLIP2_SIGN_UP",
        "SIGLIP2_SIGN_UP_CREDIT",
        "SIGLIP2_PUBLIC_URL",
        "SIGLIP2_SIGN_IN_ATTEMPTS",
    }
    defaults = SignInSettings()
    assert f"| `SIGLIP2_SIGN_UP_CREDIT` | `{defaults.sign_up_credit}` |" in PAGE
    assert f"| `SIGLIP2_SIGN_IN_ATTEMPTS` | `{defaults.attempts}` |" in PAGE
    assert f"{IDLE_TIME.seconds // 3600} hours after its last\nuse, {WHOLE_TIME.days} days" in PAGE
