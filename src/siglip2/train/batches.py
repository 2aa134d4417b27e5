"""From drawn samples to what the losses take: patches, token ids, targets of the decoder, and views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from siglip2.config import ModelConfig
from siglip2.data.augment import apply_crops, crop_box, draw_crops, patchify
from siglip2.data.share import Share
from siglip2.data.views import (
    GLOBAL_AREA,
    LOCAL_AREA,
    Colours,
    Mixing,
    Shown,
    draw_colours,
    draw_mixing,
    random_views,
)
from siglip2.errors import InvalidInput
from siglip2.losses.locca import Region, caption_target, draw_parallel, grounded_target, referring_target
from siglip2.losses.masked_prediction import draw_mask
from siglip2.recipes.recipe import Recipe, Stage
from siglip2.train.larger_model import LargerModel, same_views
from siglip2.train.sampling import Batch
from siglip2.train.shapes import draw_shapes
from siglip2.train.taught import Taught

Tokenize = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class DecoderTargets:
    """What the captioning decoder is to say.

    Attributes:
        ids: (R, L) token ids, 0 for padding.
        image: (R,) which image each is about.
        parallel: (R,) True where all tokens are predicted at once.
    """

    ids: Tensor
    image: Tensor
    parallel: Tensor

    def to(self, device: str) -> "DecoderTargets":
        """The same on a device."""
        ids, image, parallel = (each.to(device) for each in (self.ids, self.image, self.parallel))
        return DecoderTargets(ids=ids, image=image, parallel=parallel)


@dataclass(frozen=True, kw_only=True)
class Views:
    """One batch on the device: this rank's images and its part of the texts.

    Texts are numbered over all ranks, so that an image need not lie where its text does.

    Attributes:
        patches: (B, N, P) of the picture that texts are compared with.
        grids: (B, 2) patches high and wide; None for the model's own square.
        mask: (B, N) True at real patches; None where all are.
        positions: (B,) place of each image in the global batch.
        ids: (T, L) token ids of the texts.
        text_numbers: (T,) number of each text.
        text_of_image: (B,) number of each image's text.
        also_true: (B,) number of a second text that is true of each image, or of the same again; None for
            one text each.
        targets: of the decoder, where the stage trains one.
        global_view: (B, N, P), where the stage distils.
        local_views: (V, B, n, P).
        local_grid: patches high and wide of a local view.
        hidden: (B, N) True at the patches of the global view that are masked.
        taught: what a larger model says of the images and texts, where the stage has one.
    """

    patches: Tensor
    positions: Tensor
    ids: Tensor
    text_numbers: Tensor
    text_of_image: Tensor
    also_true: Tensor | None = None
    grids: Tensor | None = None
    mask: Tensor | None = None
    targets: DecoderTargets | None = None
    global_view: Tensor | None = None
    local_views: Tensor | None = None
    local_grid: tuple[int, int] = (0, 0)
    hidden: Tensor | None = None
    taught: Taught | None = None

    @property
    def true_texts(self) -> Tensor:
        """(B,) or (B, 2) numbers of the texts that are true of each image."""
        if self.also_true is None:
            return self.text_of_image
        return torch.stack([self.text_of_image, self.also_true], dim=1)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Samples of a step with all that is drawn and written for them before a pixel is touched.

    Attributes:
        pictures: per source, (B_s, S, S, 3) uint8.
        rows: per source, (B_s,) which of its pictures these are.
        shares: per source, which rows of the global batch these are.
        crops: (B, 2, 3) affine maps, sources one after the other.
        grids: (B, 2) patches high and wide; None for the model's own square.
        length: patches that each is padded to; 0 for the model's own square.
        mixing: what is laid into the pictures; None for nothing.
        keys: per image, for messages.
        texts: of the global batch.
        own_texts: which of them are this rank's.
        ids: (T, L) token ids of this rank's.
        text_of_image: (B,) number of each image's text.
        positions: (B,) place of each image in the global batch.
        targets: of the decoder, where the stage trains one.
        random: state of the generator after this.
    """

    pictures: Sequence[Tensor]
    rows: Sequence[Tensor]
    shares: Sequence[Share]
    crops: Tensor
    grids: Tensor | None
    length: int
    mixing: Mixing | None
    keys: Sequence[str]
    texts: Sequence[str]
    own_texts: Share
    ids: Tensor
    text_of_image: Tensor
    positions: Tensor
    targets: DecoderTargets | None
    random: Tensor


def draw_views(
    batch: Batch,
    recipe: Recipe,
    stage: Stage,
    tokenize: Tokenize,
    generator: torch.Generator,
    *,
    rank: int = 0,
    world: int = 1,
) -> Drawn:
    """Crops, token ids, targets of the decoder: the part of `make_views` for a processor.

    Args:
        batch: drawn samples.
        recipe: the run's.
        stage: the current one.
        tokenize: texts to (T, L) ids.
        generator: of everything random; in the same state on every rank.
        rank: whose part of the texts.
        world: number of ranks.
    """
    crops = torch.cat(
        [
            draw_crops(share, generator, min_area=recipe.min_crop_area, flip=source.flip)
            for source, share in zip(recipe.sources, batch.shares, strict=True)
        ]
    )
    grids, length, targets = None, 0, None
    if stage.sequence_lengths:
        shape = batch.aspects, batch.shares, stage.sequence_lengths, generator
        crops, grids, length = draw_shapes(crops, *shape, variety=stage.shape_variety)
    mixing = _mixing(batch.shares, recipe, stage, generator)
    if stage.losses.locca:
        targets = _decoder_targets(batch, crops, mixing, tokenize, generator)
    own_texts = Share.of(len(batch.texts), rank, world)
    return Drawn(
        pictures=[torch.from_numpy(images) for images in batch.images],
        rows=[torch.from_numpy(rows) for rows in batch.rows],
        shares=batch.shares,
        crops=crops,
        grids=grids,
        length=length,
        mixing=mixing,
        keys=batch.keys,
        texts=batch.texts,
        own_texts=own_texts,
        ids=_tokens(tokenize, batch.texts[own_texts.rows]),
        text_of_image=torch.from_numpy(batch.text_of_image),
        positions=torch.from_numpy(batch.positions),
        targets=targets,
        random=generator.get_state(),
    )


def finish_views(
    drawn: Drawn,
    recipe: Recipe,
    stage: Stage,
    model: ModelConfig,
    generator: torch.Generator,
    device: str,
    *,
    teacher: LargerModel | None = None,
) -> Views:
    """Cut, colour and patch the pictures where the losses are computed.

    Args:
        drawn: samples with what was drawn for them.
        recipe: the run's.
        stage: the current one.
        model: its shape in this stage.
        generator: in the state `drawn.random`.
        device: where to.
        teacher: a larger model that says what it sees.
    """
    vision, own_texts = model.vision, drawn.own_texts
    mask = colours = None
    text_of_image = drawn.text_of_image.to(device)
    # The pictures of all sources together, one after the other.
    pictures = torch.cat([images.to(device) for images in drawn.pictures])
    if recipe.colour_jitter and drawn.grids is None:
        colours = _colours(drawn.shares, recipe.colour_jitter, generator)
    shown = Shown(pictures=pictures, crops=drawn.crops, colours=colours, mixing=drawn.mixing)
    if drawn.grids is None:
        side = vision.position_grid * vision.patch_size
        patches = patchify(shown.at(side), vision.patch_size)
    else:
        shape = drawn.grids, drawn.length, vision.patch_size
        patches, mask = _native_aspect(pictures, drawn.crops, *shape)
    views: dict[str, Tensor | tuple[int, int]] = {}
    if stage.losses.self_distillation or stage.losses.masked_prediction:
        views = _distillation_views(pictures, drawn.shares, recipe, model, generator)
        views["hidden"] = _hidden(drawn.shares, recipe, model, generator).to(device)
    taught = None
    if teacher is not None:
        of_rank, remember = drawn.texts[own_texts.rows], same_views(recipe, stage)
        taught = teacher.teach(shown, drawn.keys, of_rank, same_views=remember)
    return Views(
        patches=patches,
        positions=drawn.positions.to(device),
        ids=drawn.ids.to(device),
        text_numbers=torch.arange(own_texts.first, own_texts.last, device=device),
        text_of_image=text_of_image,
        also_true=None if drawn.mixing is None else text_of_image[drawn.mixing.other.to(device)],
        grids=drawn.grids,
        mask=mask,
        targets=None if drawn.targets is None else drawn.targets.to(device),
        taught=taught,
        **views,  # pyright: ignore[reportArgumentType]
    )


def make_views(
    batch: Batch,
    recipe: Recipe,
    stage: Stage,
    model: ModelConfig,
    tokenize: Tokenize,
    generator: torch.Generator,
    device: str,
) -> Views:
    """Crop, patch, tokenize, and make the views that the stage's losses take, in one process.

    Args:
        batch: drawn samples.
        recipe: the run's.
        stage: the current one.
        model: its shape in this stage.
        tokenize: texts to (T, L) ids.
        generator: of everything random.
        device: where to.
    """
    drawn = draw_views(batch, recipe, stage, tokenize, generator)
    return finish_views(drawn, recipe, stage, model, generator, device)


def _mixing(
    shares: Sequence[Share], recipe: Recipe, stage: Stage, generator: torch.Generator
) -> Mixing | None:
    # Curation compares each picture with one text, and pictures of other shapes cannot be laid into another.
    if not recipe.mixed or stage.curation or stage.sequence_lengths:
        return None
    if any(len(share) < share.total for share in shares):
        raise InvalidInput(
            "`mixed` lays pictures of one process into each other: train in one process or set it to 0"
        )
    return draw_mixing(sum(len(share) for share in shares), generator, probability=recipe.mixed)


def _colours(shares: Sequence[Share], jitter: float, generator: torch.Generator) -> Colours:
    drawn = [draw_colours(share, generator, changed=jitter, grey=jitter / 4) for share in shares]
    return Colours.of_all(drawn)


def _native_aspect(
    pictures: Tensor, crops: Tensor, grids: Tensor, length: int, patch_size: int
) -> tuple[Tensor, Tensor]:
    """Patches of each picture on its own grid, padded to one length, and which of them are real."""
    device = pictures.device
    patches = torch.zeros(len(pictures), length, 3 * patch_size**2, device=device)
    mask = torch.zeros(len(pictures), length, dtype=torch.bool, device=device)
    for index, (high, wide) in enumerate(grids.tolist()):
        part, size = slice(index, index + 1), (high * patch_size, wide * patch_size)
        row = patchify(apply_crops(pictures[part], crops[part], size), patch_size)[0]
        patches[index, : len(row)] = row
        mask[index, : len(row)] = True
    return patches, mask


def _distillation_views(
    pictures: Tensor, shares: Sequence[Share], recipe: Recipe, model: ModelConfig, generator: torch.Generator
) -> dict[str, Tensor | tuple[int, int]]:
    settings, vision = recipe.self_supervision, model.vision
    grid = vision.position_grid
    local = max(1, round(grid * settings.local_share))
    flips = [source.flip for source in recipe.sources]

    def views(side: int, area: tuple[float, float], solarise: float) -> Tensor:
        size = side * vision.patch_size
        seen = random_views(pictures, shares, generator, size=size, area=area, flips=flips, solarise=solarise)
        return patchify(seen, vision.patch_size)

    return {
        "global_view": views(grid, GLOBAL_AREA, 0.2),
        "local_views": torch.stack([views(local, LOCAL_AREA, 0.0) for _ in range(settings.local_views)]),
        "local_grid": (local, local),
    }


def _hidden(
    shares: Sequence[Share], recipe: Recipe, model: ModelConfig, generator: torch.Generator
) -> Tensor:
    patches, masked = model.vision.position_grid**2, recipe.self_supervision.masked_share
    return torch.cat([draw_mask(share.rand(patches, generator=generator), share=masked) for share in shares])


def _tokens(tokenize: Tokenize, texts: Sequence[str]) -> Tensor:
    return torch.from_numpy(tokenize(texts)).long()


def _decoder_targets(
    batch: Batch, crops: Tensor, mixing: Mixing | None, tokenize: Tokenize, generator: torch.Generator
) -> DecoderTargets:
    """A caption for every image, and for those with a visible region a pair of box and phrase both ways."""
    texts = [caption_target(str(batch.texts[index])) for index in batch.text_of_image.tolist()]
    owners, captions = list(range(len(texts))), [True] * len(texts)
    drawn = torch.cat([share.rand(2, generator=generator) for share in batch.shares])
    maps = crops.tolist()  # numbers are read one at a time below
    for index, (regions, share) in enumerate(zip(batch.regions, drawn[:, 0].tolist(), strict=True)):
        if not regions:
            continue
        box, phrase = regions[int(share * len(regions))]
        seen = crop_box(box, maps[index])
        if seen is None or (mixing is not None and mixing.hides(index, seen)):
            continue
        region = Region(seen, phrase)
        texts += [referring_target(region), grounded_target(region)]
        owners += [index, index]
        captions += [False, False]
    image = torch.tensor(owners, dtype=torch.long)
    parallel = draw_parallel(torch.tensor(captions, dtype=torch.bool), drawn[image, 1])
    return DecoderTargets(ids=_tokens(tokenize, texts), image=image, parallel=parallel)
