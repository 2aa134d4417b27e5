"""From what a person calls a model to the folder or file that holds it."""

import os
import re
from importlib.resources import files
from pathlib import Path

from siglip2.config import DEFAULT_MODEL, PUBLISHED
from siglip2.errors import ModelNotFound
from siglip2.weights.shapes import nearest_names

BUNDLED = ("nano",)
"""Models that come with the package."""

MODEL_VARIABLE = "SIGLIP2_MODEL"
"""Environment variable that names the model where a caller names none."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DOWNLOADED = ["*.json", "*.safetensors", "*.npz", "tokenizer.model"]
_WEIGHT_ENDINGS = (".safetensors", ".npz", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")


def default_model() -> str:
    """The model used where none is named: `SIGLIP2_MODEL`, or the published B/16 at 256 pixels."""
    return os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL


def locate(model: str | Path, *, revision: str | None = None, offline: bool = False) -> Path:
    """The folder or file of a model, downloaded if need be.

    Args:
        model: `nano`, which is bundled; a folder; a `.safetensors` or `.npz` file; the name of a released
            model (`base-patch16-256`); or any repository of the Hugging Face hub (`owner/name`). A bundled
            or released name wins over a folder of that name; write `./nano` for the folder.
        revision: branch, tag or commit of a repository on the hub.
        offline: look in the hub's local cache only.

    Raises:
        ModelNotFound: nothing is there, or the hub cannot be reached; says which, and what would do.
    """
    name = str(model)
    if isinstance(model, str) and name in BUNDLED:
        return _bundled(name)
    hub_id = _released(name) if isinstance(model, str) else None
    path = Path(name).expanduser()
    if hub_id is None and name and path.exists():
        return path
    if hub_id is None:
        if "://" in name:
            raise ModelNotFound(f"{name} is an address: download it, and give the folder or file")
        if isinstance(model, Path) or _looks_like_path(name):
            raise ModelNotFound(f"there is no file or folder {name}{_did_you_mean(name)}")
        if not _HUB_ID.fullmatch(name):
            raise ModelNotFound(
                f"{name!r} is neither a bundled model ({', '.join(BUNDLED)}), a released one "
                f"(see `siglip2 models`), a path, nor a repository of the hub{_did_you_mean(name)}"
            )
        hub_id = name
    return _from_hub(hub_id, revision, offline)


def _bundled(name: str) -> Path:
    folder = Path(str(files("siglip2") / "assets" / name))
    if not folder.is_dir():
        raise ModelNotFound(f"the bundled model {name} is missing from this installation: {folder}")
    return folder


def _released(name: str) -> str | None:
    """Hub id of a released model from its short name."""
    short = {published.name: published.hub_id for published in PUBLISHED}
    return short.get(name.removeprefix("siglip2-"))


def _looks_like_path(name: str) -> bool:
    if name.startswith((".", "/", "~")) or name.endswith(_WEIGHT_ENDINGS):
        return True
    return "\\" in name or name.count("/") > 1


def _did_you_mean(name: str) -> str:
    candidates = [*BUNDLED, *(published.name for published in PUBLISHED)]
    near = nearest_names(name.rsplit("/", 1)[-1].removeprefix("siglip2-").lower(), candidates)
    return f"; did you mean {near}?" if near else ""


def _from_hub(hub_id: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            hub_id, revision=revision, local_files_only=offline, allow_patterns=_DOWNLOADED
        )
    except GatedRepoError as error:
        raise ModelNotFound(f"{hub_id} asks for its terms to be accepted on the hub, and a login") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"the hub has no model {hub_id} that you may read{_did_you_mean(hub_id)}"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{hub_id} has no revision {revision!r}") from error
    except HFValidationError as error:
        raise ModelNotFound(f"{hub_id!r} is not a name that the hub allows: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reached = "looking further is off" if offline else "the Hugging Face hub cannot be reached"
        reason = f"is no folder here and not in the local cache, and {reached}"
        raise ModelNotFound(_unreachable(hub_id, reason)) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelNotFound(_unreachable(hub_id, f"could not be downloaded ({error})")) from error
    return Path(folder)


def _unreachable(hub_id: str, reason: str) -> str:
    return (
        f"{hub_id} {reason}{_did_you_mean_unless_exact(hub_id)}. Two ways out: use the bundled model with "
        f"`--model nano` or {MODEL_VARIABLE}=nano; or download {hub_id} elsewhere "
        f"(`hf download {hub_id} --local-dir FOLDER`), copy the folder here and name it with `--model FOLDER`"
    )


def _did_you_mean_unless_exact(hub_id: str) -> str:
    known = {published.hub_id for published in PUBLISHED}
    return "" if hub_id in known else _did_you_mean(hub_id)
