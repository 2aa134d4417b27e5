"""Image-text retrieval, in one language or the mean over several.

Source: big_vision `evaluators/proj/image_text/image_text_retrieval.py`; paper Table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.examples import pick_examples
from siglip2.evals.formats.captioned import CaptionedImages
from siglip2.evals.intervals import Measure, means, share
from siglip2.evals.metrics.hits import Ranks, discounted_gains, retrieval_ranks
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet

KS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """hit@k both ways over a set of captioned images.

    With several languages each has its own corpus of images (those with a caption in it), and measures are
    means over languages, as the paper's XM3600 column is.

    Attributes:
        read: images and captions of one language.
        languages: which; one means no averaging.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: Callable[[Context, DataSet, str], CaptionedImages]
    languages: tuple[str, ...] = ("en",)
    published: str | None = None
    main: str = field(default="text_to_image_hit@1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        sets = {language: self._captioned(context, language) for language in self.languages}
        ranks = {language: _rank(context, captioned) for language, captioned in sets.items()}
        first = sets[self.languages[0]]
        measures = _measures(list(ranks.values()), list(sets.values()))
        chances = [1 / len(captioned.images) for captioned in sets.values()]
        return Outcome(
            measures=measures,
            sizes={
                "images": len({image.key for captioned in sets.values() for image in captioned.images}),
                "texts": sum(len(captioned.captions) for captioned in sets.values()),
                **({"languages": len(sets)} if len(sets) > 1 else {}),
            },
            chance=float(np.mean(chances)),
            settings={"languages": list(self.languages)},
            details={
                "per_language": {
                    language: {
                        "images": len(sets[language].images),
                        "texts": len(sets[language].captions),
                        **{
                            name: {"value": measure.value, "low": measure.low, "high": measure.high}
                            for name, measure in _measures([found], [sets[language]]).items()
                        },
                    }
                    for language, found in ranks.items()
                }
            },
            examples=_examples(first, ranks[self.languages[0]]) if context.examples else (),
        )

    def _captioned(self, context: Context, language: str) -> CaptionedImages:
        captioned = self.read(context, self.data[0], language)
        with_captions = np.unique(captioned.image_of_caption)
        if len(self.languages) > 1:
            captioned = captioned.take(with_captions)
        return captioned.take(context.limited(len(captioned.images)))


def _rank(context: Context, captioned: CaptionedImages) -> Ranks:
    images = context.embed_images(captioned.images)
    texts = context.embed_texts(captioned.captions)
    return retrieval_ranks(images, texts, captioned.image_of_caption, ks=KS, ties=context.protocol.ties)


def _measures(ranks: list[Ranks], sets: list[CaptionedImages]) -> dict[str, Measure]:
    """Of one language, or the mean over several with images resampled."""
    texts: dict[str, list[np.ndarray]] = {}
    images: dict[str, list[np.ndarray]] = {}
    for k in KS:
        texts[f"text_to_image_hit@{k}"] = [each.text_to_image < k for each in ranks]
        images[f"image_to_text_hit@{k}"] = [each.image_to_text < k for each in ranks]
    for column, k in enumerate(KS):
        images[f"image_to_text_recall@{k}"] = [each.recalled[:, column] for each in ranks]
    # Of a text with one right image the best possible gain is 1.
    texts["text_to_image_ndcg@10"] = [discounted_gains(each.text_to_image) for each in ranks]
    images["image_to_text_ndcg@10"] = [each.gain for each in ranks]
    found = {
        **_over_languages(texts, _pictures([each.image_of_caption for each in sets], sets)),
        **_over_languages(images, _pictures([each.queried for each in ranks], sets)),
    }
    return {name: found[name] for name in sorted(found, key=_place)}


def _place(name: str) -> tuple[int, bool, int]:
    """Hits, then recalls, then gains; text to image first."""
    kind, _, k = name.rpartition("@")
    way, _, kind = kind.rpartition("_")
    return ("hit", "recall", "ndcg").index(kind), way != "text_to_image", int(k)


def _pictures(owners: list[np.ndarray], sets: list[CaptionedImages]) -> np.ndarray:
    """The picture of each case of all languages; the same picture in several languages is one picture."""
    if len(sets) == 1:
        return owners[0]
    number: dict[str, int] = {}
    found = []
    for captioned, own in zip(sets, owners, strict=True):
        places = [number.setdefault(image.key, len(number)) for image in captioned.images]
        found.append(np.array(places)[own])
    return np.concatenate(found)


def _over_languages(values: dict[str, list[np.ndarray]], pictures: np.ndarray) -> dict[str, Measure]:
    """Of cases by name and language; every language counts the same."""
    sizes = [len(each) for each in next(iter(values.values()))]
    columns = {name: np.concatenate(languages) for name, languages in values.items()}
    if len(sizes) > 1:
        return means(columns, pictures, np.repeat(np.arange(len(sizes)), sizes))
    if len(np.unique(pictures)) < len(pictures):
        return means(columns, pictures)
    shares = {name: share(each, pictures) for name, each in columns.items() if each.dtype == bool}
    return {**means({name: columns[name] for name in columns.keys() - shares.keys()}, pictures), **shares}


def _examples(captioned: CaptionedImages, ranks: Ranks):
    right = ranks.text_to_image < 1
    images = [captioned.images[index] for index in captioned.image_of_caption.tolist()]
    captions = [
        f"{text} (rank {rank + 1})"
        for text, rank in zip(captioned.captions, ranks.text_to_image.tolist(), strict=True)
    ]
    return pick_examples(images, right, captions)
