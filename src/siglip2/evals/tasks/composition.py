"""Whether a model tells a caption from a near miss: SugarCrepe's and Winoground's formats.

Sources: Hsieh et al. 2023 (arXiv 2306.14610); Thrush et al. 2022 (arXiv 2204.03162).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.text_files import laid_out, read_json, read_json_lines
from siglip2.evals.images import ImageFile
from siglip2.evals.intervals import mean, share
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet

SUGARCREPE = ("add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")


@dataclass(frozen=True, kw_only=True)
class SugarCrepe:
    """Share of images whose caption scores above its altered twin, a category; a tie is wrong.

    The main measure is the mean of the categories; `all` counts every pair once.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    published: str | None = None
    main: str = field(default="accuracy", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        folder = context.folder(self.data[0])
        found: dict[str, np.ndarray] = {}
        pictures: dict[str, list[str]] = {}
        for category in SUGARCREPE:
            path = folder / f"{category}.json"
            if not path.exists():
                continue
            content = read_json(path)
            with laid_out(path):
                entries = [
                    (each["filename"], each["caption"], each["negative_caption"]) for each in content.values()
                ]
            entries = [entries[index] for index in context.limited(len(entries)).tolist()]
            images = context.embed_images(
                [ImageFile(name, folder / "val2017" / name) for name, _, _ in entries]
            )
            right = context.embed_texts([caption for _, caption, _ in entries])
            wrong = context.embed_texts([caption for _, _, caption in entries])
            found[category] = (images * right).sum(1) > (images * wrong).sum(1)
            pictures[category] = [name for name, _, _ in entries]
        if not found:
            raise InvalidInput(f"{folder} holds none of {', '.join(f'{name}.json' for name in SUGARCREPE)}")
        hits, picture = np.concatenate(list(found.values())), np.concatenate(list(pictures.values()))
        categories = np.repeat(np.arange(len(found)), [len(each) for each in found.values()])
        return Outcome(
            measures={
                "accuracy": mean(hits, picture, categories),
                "all": share(hits, picture),
                **{category: share(each, np.array(pictures[category])) for category, each in found.items()},
            },
            sizes={"pairs": len(hits)},
            chance=0.5,
        )


@dataclass(frozen=True, kw_only=True)
class Winoground:
    """Text score, image score and group score over pairs of pairs; all comparisons are strict.

    Attributes:
        read: for each example two images and two captions.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: Callable[[Context, DataSet], list[tuple[ImageFile, ImageFile, str, str]]]
    published: str | None = None
    main: str = field(default="group_score", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        entries = self.read(context, self.data[0])
        entries = [entries[index] for index in context.limited(len(entries)).tolist()]
        images = context.embed_images([image for entry in entries for image in entry[:2]])
        texts = context.embed_texts([text for entry in entries for text in entry[2:]])
        scores = np.einsum(
            "nie,nte->nit", images.reshape(len(entries), 2, -1), texts.reshape(len(entries), 2, -1)
        )
        text = (scores[:, 0, 0] > scores[:, 0, 1]) & (scores[:, 1, 1] > scores[:, 1, 0])
        image = (scores[:, 0, 0] > scores[:, 1, 0]) & (scores[:, 1, 1] > scores[:, 0, 1])
        return Outcome(
            measures={
                "group_score": share(text & image),
                "text_score": share(text),
                "image_score": share(image),
            },
            sizes={"examples": len(entries)},
            chance=1 / 6,
        )


def read_winoground(context: Context, data: DataSet) -> list[tuple[ImageFile, ImageFile, str, str]]:
    """`examples.jsonl` with `image_0`, `image_1`, `caption_0`, `caption_1`, and `images/NAME.png`."""
    folder = context.folder(data)

    def picture(name: str) -> ImageFile:
        return ImageFile(name, folder / "images" / f"{name}.png")

    path = folder / "examples.jsonl"
    entries = read_json_lines(path)
    with laid_out(path):
        return [
            (picture(entry["image_0"]), picture(entry["image_1"]), entry["caption_0"], entry["caption_1"])
            for entry in entries
        ]
