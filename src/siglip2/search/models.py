"""Which of a collection's models is used, and the refusal of any other."""

import os
from pathlib import Path

from siglip2.encoder import Encoder, load
from siglip2.errors import InvalidInput, ModelNotFound
from siglip2.search.rows import StoredModel
from siglip2.search.store import Store
from siglip2.weights.locate import locate


def choose_model(
    store: Store, place: str, model: str | Path | Encoder | None, is_new: bool, add_model: bool
) -> tuple[StoredModel, Encoder | None]:
    """The stored model that answers to a request, and its encoder if that had to be loaded.

    Args:
        store: of the collection.
        place: of the collection, for messages.
        model: an encoder, a name, or None for the first that the collection holds.
        is_new: whether the collection holds no model yet.
        add_model: whether a further model is welcome.

    Raises:
        InvalidInput: the collection holds other models only.
    """
    stored = store.models()
    if model is None and not is_new:
        return stored[0], None
    if not isinstance(model, Encoder) and not add_model and not is_new:
        named = [each for each in stored if each.model_id in (str(model), lasting_name(str(model)))]
        if named:
            return named[0], None
    encoder = model if isinstance(model, Encoder) else load(model)
    for each in stored:
        if each.fingerprint == encoder.fingerprint:
            return each, encoder
    if not is_new and not add_model:
        raise InvalidInput(_refusal(place, stored, encoder))
    added = store.add_model(
        lasting_name(encoder.model_id),
        encoder.fingerprint,
        encoder.embed_dim,
        encoder.logit_scale,
        encoder.logit_bias,
    )
    return added, encoder


def lasting_name(model_id: str) -> str:
    """What a model is called from any folder: the absolute path of a file or folder, else the name itself."""
    path = Path(model_id).expanduser()
    # A bundled or released name wins over a folder of that name.
    if not path.exists() or _released_elsewhere(model_id, path):
        return model_id
    return os.path.abspath(path)


def _released_elsewhere(model_id: str, path: Path) -> bool:
    try:
        return locate(model_id, offline=True) != path
    except ModelNotFound:
        return True


def _refusal(place: str, stored: list[StoredModel], encoder: Encoder) -> str:
    kept = ", ".join(f"{each.model_id} ({each.fingerprint})" for each in stored)
    return (
        f"{place} holds vectors of {kept}, and not of {encoder.model_id} ({encoder.fingerprint}), whose "
        f"vectors cannot be compared with them: open it with --model {stored[0].model_id}, or re-embed it "
        f"with `siglip2 index reembed --model {encoder.model_id}`, which keeps both"
    )
