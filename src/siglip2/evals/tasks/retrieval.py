"""Image-text retrieval, in one language or the mean over several.

Source: big_vision `evaluators/proj/image_text/image_text_retrieval.py`; paper Table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.examples import pick_examples
from siglip2.evals.formats.captioned import CaptionedImages
from siglip2.evals.intervals import Measure, mean, share
from siglip2.evals.metrics.hits import Ranks, retrieval_ranks
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
                "languages": len(sets),
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
    of_texts = _pictures([captioned.image_of_caption for captioned in sets], sets)
    of_images = _pictures([each.queried for each in ranks], sets)
    measures: dict[str, Measure] = {}
    for k in KS:
        hits = [each.text_to_image < k for each in ranks]
        measures[f"text_to_image_hit@{k}"] = _over_languages(hits, of_texts)
    for k in KS:
        hits = [each.image_to_text < k for each in ranks]
        measures[f"image_to_text_hit@{k}"] = _over_languages(hits, of_images)
    for column, k in enumerate(KS):
        values = [each.recalled[:, column] for each in ranks]
        measures[f"image_to_text_recall@{k}"] = _over_languages(values, of_images)
    # Of a text with one right image the best possible gain is 1.
    gains = [np.where(each.text_to_image < 10, 1 / np.log2(each.text_to_image + 2.0), 0) for each in ranks]
    measures["text_to_image_ndcg@10"] = _over_languages(gains, of_texts)
    measures["image_to_text_ndcg@10"] = _over_languages([each.gain for each in ranks], of_images)
    return measures


def _pictures(owners: list[np.ndarray], sets: list[CaptionedImages]) -> np.ndarray:
    """The picture of each case of all languages; the same picture in several languages is one picture."""
    if len(sets) == 1:
        return owners[0]
    keys = [captioned.images[index].key for captioned, own in zip(sets, owners, strict=True) for index in own]
    return np.unique(np.array(keys), return_inverse=True)[1]


def _over_languages(values: list[np.ndarray], pictures: np.ndarray) -> Measure:
    if len(values) == 1:
        return share(values[0], pictures) if values[0].dtype == bool else mean(values[0], pictures)
    # Weighted so that every language counts the same, as the mean over languages does.
    total = sum(len(each) for each in values)
    weighted = [each * (total / (len(values) * len(each))) for each in values]
    return mean(np.concatenate(weighted), pictures)


def _examples(captioned: CaptionedImages, ranks: Ranks):
    right = ranks.text_to_image < 1
    images = [captioned.images[index] for index in captioned.image_of_caption.tolist()]
    captions = [
        f"{text} (rank {rank + 1})"
        for text, rank in zip(captioned.captions, ranks.text_to_image.tolist(), strict=True)
    ]
    return pick_examples(images, right, captions)
