"""Everything a run needs before its first step: data in memory and a vocabulary."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from siglip2.data import research
from siglip2.data.folder import captioned_folder
from siglip2.data.source import CaptionedSource
from siglip2.errors import InvalidInput
from siglip2.inputs.tokenizer_training import train_tokenizer
from siglip2.recipes.recipe import Recipe
from siglip2.train.objective import stage_config


def photos_or_shards(data: Path, size: int) -> CaptionedSource:
    """Photos with a table of captions, in memory; or the shards of `siglip2 data prepare`, read as needed.

    A folder with `blend.json` in it is several folders of shards.
    """
    if (data / "blend.json").exists() or any(data.glob("*.tar")):
        from siglip2.data.blend import open_shards

        return open_shards(data, size)
    return captioned_folder(data, size)


SOURCES: dict[str, Callable[[Path, int], CaptionedSource]] = {
    "tiny_imagenet": research.tiny_imagenet,
    "flickr8k": research.flickr8k,
    "emoji": research.emoji,
    "coco_mini": research.coco_mini,
    "folder": photos_or_shards,
}


def load_sources(recipe: Recipe, data: Path) -> list[CaptionedSource]:
    """The recipe's data sets, as large as the largest that a stage shows of a picture."""
    if recipe.model.vision.image_size is None:
        raise ValueError(f"recipe {recipe.name}: this trainer needs a fixed image size")
    size = max(_side(recipe, stage) for stage in range(len(recipe.stages)))
    unknown = [source.name for source in recipe.sources if source.name not in SOURCES]
    if unknown:
        raise InvalidInput(
            f"recipe {recipe.name} trains on {', '.join(unknown)}, which are not public; "
            f"--dry-run shows what it expands to, and data sets here are {', '.join(SOURCES)}"
        )
    return [SOURCES[source.name](data, size) for source in recipe.sources]


def _side(recipe: Recipe, stage: int) -> int:
    """Pixels a side of the square that holds as many as a picture of this stage."""
    vision = stage_config(recipe, stage).vision
    return math.isqrt(vision.max_num_patches if vision.naflex else vision.num_positions) * vision.patch_size


def prepare_tokenizer(recipe: Recipe, sources: Sequence[CaptionedSource], path: Path) -> Path:
    """Train the vocabulary on the captions, unless the run has one already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train_tokenizer(_distinct_captions(sources), recipe.model.text.vocab_size, path)
    return path


def _distinct_captions(sources: Sequence[CaptionedSource]) -> list[str]:
    """Captions with ASCII letters lower-cased; those of a class are counted once."""
    texts = {id(captions): captions for source in sources for captions in source.captions}
    # Lower-casing of bytes touches ASCII letters only, as the reference's does.
    return [text.encode().lower().decode() for captions in texts.values() for text in captions]
