"""A frozen, usually larger model that teaches: for distillation, and as what curation compares with.

It sees what texts are compared with, as squares of its own size, and the captions in its own
vocabulary. Where pictures are not augmented, what it says of a sample is remembered under the sample's key,
and what it says of a text always is, so that each is computed once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from siglip2.data.augment import patchify
from siglip2.data.views import Shown
from siglip2.errors import InvalidInput
from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import Recipe, Stage
from siglip2.train.taught import Taught
from siglip2.weights.load import load_checkpoint

ROWS = 16
"""Samples in one pass. Always as many, so that a sample's vector does not depend on its company."""

REMEMBERED = 100_000
"""Vectors of pictures, and as many of texts; 300 MB at a width of 768."""


class LargerModel:
    """Weights that do not learn, with their vocabulary.

    Attributes:
        model: the towers.
        computed: pictures that went through the tower so far.
    """

    def __init__(self, name: str, device: str):
        """Load a model.

        Args:
            name: what `siglip2.load` takes.
            device: where to compute.

        Raises:
            InvalidInput: a NaFlex model, or one without a vocabulary.
        """
        checkpoint = load_checkpoint(name)
        if checkpoint.config.vision.naflex or checkpoint.tokenizer is None:
            raise InvalidInput(
                f"{name} cannot teach: it takes a model of a fixed image size with a vocabulary"
            )
        self.model = SigLIP2(checkpoint.config)
        weights = {each: torch.from_numpy(checkpoint.read(each).copy()) for each in checkpoint.tensors}
        self.model.load_state_dict(weights)
        self.model.requires_grad_(False).eval().to(device)
        tokenizer = Tokenizer.from_file(checkpoint.tokenizer)
        self._tokenize = TextPreprocessor(
            tokenizer, checkpoint.config.text.context_length, checkpoint.preprocessing.lowercase
        )
        self._device = device
        self._of_pictures: dict[str, Tensor] = {}
        self._of_texts: dict[str, Tensor] = {}
        self.computed = 0

    @torch.no_grad()
    def teach(
        self,
        shown: Shown,
        keys: Sequence[str],
        texts: Sequence[str],
        *,
        same_views: bool,
    ) -> Taught:
        """What it says of a batch.

        Args:
            shown: B pictures as the losses see them.
            keys: per picture, of its sample.
            texts: captions.
            same_views: a sample's picture looks the same at every visit.
        """
        vision = self.model.config.vision
        side = vision.position_grid * vision.patch_size
        known = self._of_pictures if same_views else {}
        # A picture that is drawn twice is seen twice where its views differ.
        seen_as = keys if same_views else [str(row) for row in range(len(keys))]

        def see(rows: list[int]) -> Tensor:
            pixels = shown.at(side, rows)
            self.computed += len(rows)
            return self.model.embed_images(patchify(pixels, vision.patch_size))

        def read(rows: list[int]) -> Tensor:
            ids = torch.from_numpy(self._tokenize([texts[row] for row in rows])).long()
            return self.model.embed_texts(ids.to(self._device))

        return Taught(
            images=_remembered(seen_as, known, see, vision.width, self._device),
            texts=_remembered(texts, self._of_texts, read, vision.width, self._device),
            log_scale=self.model.logit_scale.detach(),
            bias=self.model.logit_bias.detach(),
        )


def _remembered(keys: Sequence[str], known: dict[str, Tensor], compute, width: int, device: str) -> Tensor:
    """Vectors by key; what is not known is computed in passes of `ROWS`, the last one filled up."""
    found = {key: known[key] for key in keys if key in known}
    place = {key: row for row, key in enumerate(keys)}
    missing = [row for key, row in place.items() if key not in found]
    for start in range(0, len(missing), ROWS):
        part = missing[start : start + ROWS]
        vectors = compute(part + part[:1] * (ROWS - len(part)))
        found |= dict(zip((keys[row] for row in part), vectors, strict=False))
    for key, vector in found.items():
        if len(known) < REMEMBERED:
            known.setdefault(key, vector.clone())
    return torch.stack([found[key] for key in keys]) if keys else torch.zeros(0, width, device=device)


def teacher_name(recipe: Recipe, stage: Stage) -> str | None:
    """Which model a stage has to load to be taught by.

    Raises:
        InvalidInput: a distilling stage without a model, or two models in one stage.
    """
    names = set()
    if stage.losses.distillation:
        if recipe.distil_from is None:
            raise InvalidInput(f"stage {stage.name} distils: --distil_from names the model to learn from")
        names.add(recipe.distil_from)
    if stage.curation is not None and stage.curation.teacher != "average":
        names.add(stage.curation.teacher)
    if len(names) > 1:
        raise InvalidInput(
            f"stage {stage.name} has two teachers, {' and '.join(sorted(names))}: one is loaded"
        )
    return names.pop() if names else None


def same_views(recipe: Recipe, stage: Stage) -> bool:
    """Whether a sample's picture looks the same at every visit."""
    whole = recipe.min_crop_area == 1.0 and not any(source.flip for source in recipe.sources)
    return whole and not (stage.sequence_lengths or recipe.colour_jitter or recipe.mixed)
