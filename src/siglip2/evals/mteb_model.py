"""The model as an `mteb` model, so that its image tasks (MIEB) and leaderboard can be run.

    import mteb
    from siglip2.evals.mteb_model import MtebModel

    mteb.evaluate(MtebModel("google/siglip2-base-patch16-256"), mteb.get_benchmark("MIEB(lite)"))

Texts are lower-cased and padded as the model was trained. Embeddings are not brought to unit length, since
that hurts linear probes; mteb's cosine does not mind. A text with an image is the sum of both, as in mteb's
own models of two towers.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder  # pyright: ignore[reportMissingImports]
from mteb.models.model_meta import ModelMeta, ScoringFunction  # pyright: ignore[reportMissingImports]

from siglip2.encoder import Encoder, load

if TYPE_CHECKING:
    from collections.abc import Iterable


class MtebModel(AbsEncoder):
    """`encode` over mteb's batches of texts, images or both."""

    def __init__(
        self, model_name: str | Encoder, revision: str | None = None, *, device: str | None = None, **_: Any
    ):
        """Load the model.

        Args:
            model_name: any name that `siglip2.load` takes, or an opened encoder.
            revision: on the hub.
            device: a torch device; None for the default runtime.
        """
        opened = isinstance(model_name, Encoder)
        self.encoder = model_name if opened else load(model_name, revision=revision, device=device)
        config = self.encoder.checkpoint.config
        name = self.encoder.model_id
        self.mteb_model_meta = ModelMeta(
            loader=None,
            name=name if name.count("/") == 1 else f"siglip2/{name.rsplit('/', 1)[-1]}",
            revision=revision or self.encoder.fingerprint,
            release_date="2025-02-20",
            languages=None,
            n_parameters=config.num_parameters,
            memory_usage_mb=None,
            max_tokens=config.text.context_length,
            embed_dim=config.embed_dim,
            license="apache-2.0",
            open_weights=True,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=False,
            training_datasets=None,
            modalities=["image", "text"],
        )

    def encode(self, inputs: Any, *, task_metadata: Any, **_: Any) -> np.ndarray:
        """Vectors of all items of a loader, (N, E) float32."""
        parts = [self._batch(batch) for batch in inputs]
        return np.concatenate(parts) if parts else np.zeros((0, self.encoder.embed_dim), np.float32)

    def _batch(self, batch: dict[str, Any]) -> np.ndarray:
        found = []
        if "text" in batch:
            ids = self.encoder.tokenize(list(batch["text"]))
            found.append(self.encoder.runtime.encode_texts(ids))
        if "image" in batch:
            found.append(self._images(batch["image"]))
        return np.sum(found, axis=0)

    def _images(self, pictures: "Iterable[Any]") -> np.ndarray:
        stream = self.encoder.stream_images(list(pictures), normalize=False)
        return np.concatenate([part.embeddings for part in stream])
