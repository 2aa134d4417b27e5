"""In a process of its own, as training is: copies of one that has run a test suite are another matter."""

import numpy as np
import torch
from tests.train.tiny_recipes import MODEL

from siglip2.data.captioned import CaptionedImages
from siglip2.recipes.recipe import Optimizer, Recipe, Schedule, Source
from siglip2.train.ahead import Preparation, prepare_ahead


def tokenize(texts):
    return np.array([[4 + ord(letter) % 60 for letter in text.ljust(8)[:8]] for text in texts], np.int32)


def main() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 30)
    data = CaptionedImages(
        name="classes",
        images=rng.integers(0, 255, (30, 16, 16, 3), dtype=np.uint8),
        captions=[[f"{label} once", f"{label} again"] for label in labels],
        classes=labels,
    )
    recipe = Recipe(
        name="tiny",
        model=MODEL,
        sources=(Source(name="classes", images_per_batch=12),),
        optimizer=Optimizer(),
        schedule=Schedule(num_steps=12, warmup_steps=2),
    )
    preparation = Preparation(recipe, [data], tokenize, 0, 1)
    ways = [list(prepare_ahead(preparation, range(3, 8), workers)) for workers in (0, 2)]
    assert [len(way) for way in ways] == [5, 5]
    for one, other in zip(*ways, strict=True):
        assert one.texts == other.texts
        assert one.keys == other.keys
        for name in ("ids", "text_of_image", "positions", "random"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("pictures", "crops"):
            for ours, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
                assert torch.equal(ours, theirs), name
    assert len({tuple(drawn.keys) for drawn in ways[0]}) == 5
    print("the same")


if __name__ == "__main__":
    main()
