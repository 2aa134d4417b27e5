"""What a person may call a model, and what is said where nothing is found."""

from importlib.resources import files
from pathlib import Path

import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from random_models import FIXED, assert_same_tensors, random_checkpoint

from siglip2.config import DEFAULT_MODEL
from siglip2.errors import InvalidCheckpoint, InvalidInput, ModelNotFound
from siglip2.weights.load import load_checkpoint, save_checkpoint
from siglip2.weights.locate import default_model, locate


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A hub that records what is asked of it, and answers with a folder or an error."""

    class Hub:
        calls: list[dict]
        error: Exception | None = None

    answer = Hub()
    answer.calls = []

    def download(repo_id, **arguments):
        answer.calls.append({"repo_id": repo_id, **arguments})
        if answer.error:
            raise answer.error
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return answer


def http_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    """One of the hub's errors; its initialiser wants a response, which no test needs."""
    error = kind.__new__(kind)
    error.args = ("from the hub",)
    return error


def test_folders_and_files(tmp_path: Path) -> None:
    assert locate(tmp_path) == tmp_path
    assert locate(str(tmp_path)) == tmp_path


def test_nano_is_bundled(hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(str(files("siglip2"))) / "assets" / "nano"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    if folder.is_dir():
        assert locate("nano") == folder
    else:
        with pytest.raises(ModelNotFound, match="missing from this installation"):
            locate("nano")
    assert locate("./nano") == Path("nano")
    assert not hub.calls


def test_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGLIP2_MODEL", raising=False)
    assert default_model() == DEFAULT_MODEL
    monkeypatch.setenv("SIGLIP2_MODEL", "nano")
    assert default_model() == "nano"


@pytest.mark.parametrize("name", ["base-patch16-naflex", "siglip2-base-patch16-naflex"])
def test_short_names_lead_to_the_hub(hub, name: str, tmp_path: Path) -> None:
    assert locate(name, revision="main", offline=True) == tmp_path
    (call,) = hub.calls
    assert call["repo_id"] == "google/siglip2-base-patch16-naflex"
    assert call["revision"] == "main"
    assert call["local_files_only"] is True
    assert not [pattern for pattern in call["allow_patterns"] if "bin" in pattern]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("no"), "the Hugging Face hub cannot be reached"),
        (http_error(RepositoryNotFoundError), "the hub has no model"),
        (http_error(RevisionNotFoundError), "no revision 'v9'"),
        (http_error(HfHubHTTPError), "could not be downloaded"),
        (OSError("No space left on device"), "No space left on device"),
    ],
)
def test_errors_of_the_hub(hub, error: Exception, message: str) -> None:
    hub.error = error
    with pytest.raises(ModelNotFound, match=message):
        locate("google/siglip2-base-patch16-256", revision="v9")


def test_an_unreachable_hub_names_both_ways_out(hub) -> None:
    hub.error = LocalEntryNotFoundError("no")
    with pytest.raises(ModelNotFound) as caught:
        locate("google/siglip2-base-patch16-256")
    message = str(caught.value)
    for part in ("cannot be reached", "--model nano", "SIGLIP2_MODEL=nano", "hf download", "--model FOLDER"):
        assert part in message
    with pytest.raises(ModelNotFound, match="not in the local cache, and looking further is off"):
        locate("google/siglip2-base-patch16-256", offline=True)


def test_offline_without_a_cache_needs_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match="not in the local cache"):
        locate("google/siglip2-base-patch16-256", offline=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base-patch16-265", "did you mean base-patch16-256"),
        ("Base-Patch16-Naflex", "did you mean base-patch16-naflex"),
        ("nanoo", "did you mean nano?"),
        ("./missing", "no file or folder ./missing"),
        ("folder/model.safetensors", "no file or folder"),
        ("a/b/c", "no file or folder a/b/c"),
        ("https://example.org/model.npz", "is an address"),
        ("", "neither a bundled model"),
        ("two words", "neither a bundled model"),
    ],
)
def test_names_that_lead_nowhere(hub, name: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message):
        locate(name)
    assert not hub.calls


def test_misspelt_hub_ids_are_corrected(hub) -> None:
    hub.error = LocalEntryNotFoundError("no")
    with pytest.raises(ModelNotFound, match="did you mean large-patch16-384"):
        locate("google/siglip2-large-patch16-348")


def test_a_single_file_is_loaded(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(FIXED)
    save_checkpoint(checkpoint, tmp_path / "hf")
    save_checkpoint(checkpoint, tmp_path / "bv", format="big_vision")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / "mine.safetensors")
    for file in (tmp_path / "hf" / "mine.safetensors", tmp_path / "bv" / "model.npz"):
        assert_same_tensors(load_checkpoint(file), checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "state.ckpt"])
def test_pickled_weights_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04")
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    for model in (tmp_path, tmp_path / name):
        with pytest.raises(InvalidCheckpoint, match=rf"{name} is a pickle.*model\.safetensors"):
            load_checkpoint(model)


def test_folders_without_one_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="holds no weights"):
        load_checkpoint(tmp_path)
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidCheckpoint, match=r"name one file of a\.npz, b\.npz"):
        load_checkpoint(tmp_path)


def test_a_file_without_its_config(tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(FIXED), tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"has no config\.json"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("arguments", [{"dtype": "int4"}, {"format": "onnx"}])
def test_unknown_precisions_and_formats(arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not one of"):
        save_checkpoint(random_checkpoint(FIXED), tmp_path, **arguments)
