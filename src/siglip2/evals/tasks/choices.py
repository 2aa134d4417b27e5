"""Whether a model picks the caption that holds: how many things there are, and how they lie to each other.

The paper asks this of models with a language model behind the encoder (CountBenchQA, TallyQA and others of
Table 6). Differs from the paper: no language model; the caption nearest to the picture is the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.examples import pick_examples
from siglip2.evals.formats.box_captions import Choice
from siglip2.evals.intervals import mean, share
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet


@dataclass(frozen=True, kw_only=True)
class CaptionChoice:
    """Share of cases whose right caption scores above all the others; a tie is wrong.

    The main measure is the mean over the kinds of cases, so that one answer for everything ends at chance;
    `all` counts every case once.

    Attributes:
        read: the cases.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: Callable[[Context, DataSet], list[Choice]]
    published: str | None = None
    main: str = field(default="accuracy", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        cases = self.read(context, self.data[0])
        cases = [cases[index] for index in context.limited(len(cases)).tolist()]
        images = context.embed_images([case.image for case in cases])
        right = (images * context.embed_texts([case.right for case in cases])).sum(axis=1)
        owners = np.repeat(np.arange(len(cases)), [len(case.wrong) for case in cases])
        wrong = context.embed_texts([text for case in cases for text in case.wrong])
        best = np.full(len(cases), -np.inf)
        np.maximum.at(best, owners, (images[owners] * wrong).sum(axis=1))
        hits = right > best
        names, kinds = np.unique([case.kind for case in cases], return_inverse=True)
        members = {name: kinds == kind for kind, name in enumerate(names.tolist())}
        pictures = np.unique([case.image.key for case in cases], return_inverse=True)[1]
        chances = np.array([1 / (1 + len(case.wrong)) for case in cases])
        captions = [f"{case.right} / {case.wrong[0]}" for case in cases]
        return Outcome(
            measures={
                "accuracy": mean(hits, pictures, kinds),
                "all": share(hits, pictures),
                **{name.replace(" ", "_"): share(hits[m], pictures[m]) for name, m in members.items()},
            },
            sizes={"cases": len(cases), "images": int(pictures.max()) + 1, "kinds": len(names)},
            chance=float(np.mean([chances[m].mean() for m in members.values()])),
            settings={"captions": "made by rule"},
            examples=pick_examples([case.image for case in cases], hits, captions)
            if context.examples
            else (),
        )
