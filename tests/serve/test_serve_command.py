"""`siglip2 serve`: what its arguments become."""

from pathlib import Path

import pytest
import uvicorn

from siglip2.cli import main
from siglip2.cli.serve import welcome
from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.serve import app as serve_app
from siglip2.serve.settings import ServeSettings


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The settings of the service that would have started."""
    seen = []
    monkeypatch.setattr(serve_app, "create_app", lambda settings: seen.append(settings) or settings)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: seen.append(options))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def start(*arguments):
        seen.clear()
        main.run(["serve", "--open", *arguments])
        return seen

    return start


def test_models_and_collections(started, capsys):
    settings, options = started(
        "nano", "big=base-patch16-256", "--collection", "photos=a.siglip2", "b=c", "--port", "8123"
    )
    assert (settings.model, settings.other_models) == ("nano", ("big",))
    assert settings.source("big") == "base-patch16-256"
    assert settings.collections == {"photos": Path("a.siglip2"), "b": Path("c")}
    assert (options["host"], options["port"]) == ("127.0.0.1", 8123)
    assert "http://127.0.0.1:8123" in capsys.readouterr().out


def test_prices_and_ports(started):
    settings, _ = started("--image-price", "7", "--text-price", "0", "--fetch-ports", "80", "8080")
    assert (settings.prices.image, settings.prices.text) == (7, 0)
    assert settings.fetch.ports == {80, 8080}
    settings, _ = started()
    assert (settings.prices, settings.fetch) == (ServeSettings().prices, ServeSettings().fetch)


def test_one_model(started):
    for arguments in (("base-patch16-256",), ("--model", "base-patch16-256")):
        settings, _ = started(*arguments)
        assert (settings.model, settings.other_models) == ("base-patch16-256", ())
    settings, _ = started()
    assert settings.model == "nano"


def test_a_model_from_a_folder_keeps_the_folder_to_itself(started, tmp_path):
    (tmp_path / "weights").mkdir()
    settings, _ = started(str(tmp_path / "weights"))
    assert settings.model == "weights"
    assert settings.source("weights") == str(tmp_path / "weights")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nano", "--model", "nano"), "one place"),
        (("nano", "nano"), "two models"),
        (("--collection", "photos"), "NAME=PATH"),
        (("--collection", "../x=y"), "NAME=PATH"),
        (("--collection", "a=b", "a=c"), "NAME=PATH"),
        (("--host", "0.0.0.0"), "loopback"),
        (("--fetch-networks", "x"), "networks"),
        (("--fetch-ports", "0"), "ports"),
        (("--image-price", "-1"), "prices"),
        (("--text-price", str(10**13)), "prices"),
        (("--requests-per-minute", "0"), "requests-per-minute"),
        (("--port", "65536"), "port"),
    ],
)
def test_mistakes(started, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        started(*arguments)


def test_a_start_that_fails_leaves_the_key_to_the_next(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: None)
    url = f"sqlite:///{tmp_path / 'accounts.sqlite'}"
    with pytest.raises(Siglip2Error):
        main.run(["serve", "no-such-model", "--database", url])
    monkeypatch.setattr(serve_app, "create_app", lambda settings: settings)
    main.run(["serve", "--database", url])
    assert "your key, shown this once: sg2_" in capsys.readouterr().out
    main.run(["serve", "--database", url])
    said = capsys.readouterr().out
    assert "your key" not in said
    assert f"siglip2 accounts create-key operator@localhost --database {url}\n" in said


def test_the_hint_names_the_database_without_its_password():
    url = "postgresql+psycopg://ada:secret@db/name?sslmode=require&a=b"
    said = welcome("127.0.0.1", 8000, open=False, key=None, database=url)
    assert "--database 'postgresql+psycopg://ada:***@db/name?" in said
    assert "secret" not in said
    assert "--database" not in welcome("127.0.0.1", 8000, open=False, key=None, database=None)


def test_the_database_of_the_environment(monkeypatch, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'accounts.sqlite'}"
    monkeypatch.setenv("SIGLIP2_DATABASE", url)
    with pytest.raises(InvalidInput, match="no database"):
        main.run(["accounts", "list"])
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: None)
    monkeypatch.setattr(serve_app, "create_app", lambda settings: settings)
    main.run(["serve"])
    main.run(["serve"])
    assert "create-key operator@localhost\n" in capsys.readouterr().out
    main.run(["accounts", "create-key", "operator@localhost"])
    assert capsys.readouterr().out.startswith("sg2_")
