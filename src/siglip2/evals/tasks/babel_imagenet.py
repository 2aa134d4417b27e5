"""Multilingual zero-shot classification: Babel-ImageNet's class names over any ImageNet images.

Source: Geigle et al. 2024 (arXiv 2306.08658), github.com/gregor-ge/Babel-ImageNet.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.class_names import imagenet
from siglip2.evals.formats.text_files import laid_out, read_json
from siglip2.evals.intervals import mean, share
from siglip2.evals.metrics.ranking import class_ranks
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet, MissingData
from siglip2.evals.tasks.zero_shot import ZeroShotClassification
from siglip2.similarity import to_unit_length

FEWEST_CLASSES = 100
"""Languages that name fewer of the classes at hand are left out."""


@dataclass(frozen=True, kw_only=True)
class BabelImageNet:
    """Top-1 accuracy in each language over the classes that have a name in it; the mean over languages.

    The paper does not say: it has no such column; the protocol is Babel-ImageNet's, with its bare translated
    prompts where they are beside the names, and the bare name elsewhere.

    Attributes:
        images: the task whose images and classes are used; its class keys are WordNet ids, or its data hold
            `imagenet1k_index`.
        languages: codes; empty for all with enough classes.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    images: ZeroShotClassification
    languages: tuple[str, ...] = ()
    published: str | None = None
    main: str = field(default="top_1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        folder = context.folder(self.data[0])
        listed = _file(folder, ("babel_imagenet_298.json.gz", "babel_imagenet.json"), self.data[0], context)
        content = read_json(listed)
        with laid_out(listed):
            names = {
                language: dict(zip(known, translated, strict=True))
                for language, (known, translated) in content.items()
            }
        labelled = self.images.load(context)
        labelled = labelled.take(context.limited(len(labelled.images)))
        indices = _imagenet_indices(context, labelled.class_keys, self.images.data[0])
        prompts_file = folder / "nllb_prompts_90.json.gz"
        prompts = read_json(prompts_file) if prompts_file.exists() else {}
        if not isinstance(prompts, dict):
            raise InvalidInput(f"{prompts_file} is not laid out as its publisher does: expected an object")
        images = context.embed_images(labelled.images)
        accuracies, rows, owners = {}, [], []
        for language, own in sorted(names.items()):
            classes = [place for place, index in enumerate(indices) if index in own]
            if len(classes) < min(FEWEST_CLASSES, len(indices)) or (
                self.languages and language not in self.languages
            ):
                continue
            mine = np.isin(labelled.labels, classes)
            if not mine.any():  # under a limit the few images may all be of other classes
                continue
            texts = [own[indices[place]] for place in classes]
            embedded = _class_embeddings(context, texts, prompts.get(language, []))
            labels = np.searchsorted(classes, labelled.labels[mine])
            right = class_ranks(images[mine], embedded, labels, ties=self.images.ties(context)) < 1
            measured = share(right)
            accuracies[language] = {
                "classes": len(classes),
                "images": int(mine.sum()),
                "top_1": measured.value,
                "low": measured.low,
                "high": measured.high,
                "chance": 1 / len(classes),
            }
            rows.append(right)
            owners.append(np.flatnonzero(mine))
        if not rows:
            raise InvalidInput(
                f"{self.title}: no language names {FEWEST_CLASSES} of the {len(indices)} classes, any of the "
                f"{len(images)} images among them"
            )
        languages = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        return Outcome(
            measures={"top_1": mean(np.concatenate(rows), np.concatenate(owners), languages)},
            sizes={"images": len(images), "languages": len(rows), "classes": len(indices)},
            chance=float(np.mean([entry["chance"] for entry in accuracies.values()])),
            settings={"prompts": "translated" if prompts else "bare names", "fewest_classes": FEWEST_CLASSES},
            details={"per_language": accuracies},
        )


def _class_embeddings(context: Context, names: list[str], prompts: list[str]) -> np.ndarray:
    """The first eight translated prompts where the protocol has templates, the bare name under `plain`."""
    templates = ["{}"]
    if prompts and context.protocol.templates != "plain":
        templates = [" ".join(prompt.split()) for prompt in prompts if prompt.count("{}") == 1] or ["{}"]
        # As many as keep the text tower's share of the work small; each language has 80 of them.
        templates = templates[:8]
    texts = [template.replace("{}", name) for name in names for template in templates]
    embedded = context.embed_texts(texts).reshape(len(names), len(templates), -1)
    return to_unit_length(embedded.mean(axis=1))


def _imagenet_indices(context: Context, keys: tuple[str, ...], data: DataSet) -> list[int]:
    listed = context.folder(data) / "classes.json"
    if listed.exists():
        entries = read_json(listed)
        with laid_out(listed):
            return [entry["imagenet1k_index"] for entry in entries]
    place = {wnid: index for index, wnid in enumerate(imagenet()["wnids"])}
    if all(key in place for key in keys):
        return [place[key] for key in keys]
    if len(keys) == len(place):
        return list(range(len(place)))
    raise InvalidInput(f"{data.title}: its classes are neither WordNet ids nor all 1,000 of ImageNet")


def _file(folder: Path, names: tuple[str, ...], data: DataSet, context: Context) -> Path:
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise MissingData(data, context.data)
    return found
