"""Tasks on real photographs against independent implementations, to the last image.

The bundled model's embeddings go through the task as a user runs it, and through scikit-learn, plain sorting
and `clip_benchmark` (where that is installed; it needs torchvision).
"""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, recall_score, top_k_accuracy_score
from tests.evals.conftest import make_context

import siglip2
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.formats.labelled import LabelledImages
from siglip2.evals.registry import all_tasks
from siglip2.evals.tasks.retrieval import Retrieval
from siglip2.evals.tasks.zero_shot import ZeroShotClassification
from siglip2.prompts import label_prompts, resolve_templates

IMAGES = 400
TEMPLATES = "clip8"


@pytest.fixture(scope="module")
def measured(shared_data):
    """Both tasks' outcomes, and what went into them."""
    encoder = siglip2.load("nano")
    context = make_context(encoder, shared_data, EmbeddingCache(encoder, None), templates=TEMPLATES)
    context.limit, context.examples = IMAGES, False
    task = all_tasks()["tiny_imagenet"]
    assert isinstance(task, ZeroShotClassification)
    labelled = task.named(task.load(context))
    labelled = labelled.take(context.limited(len(labelled.images)))
    flickr = all_tasks()["flickr8k"]
    assert isinstance(flickr, Retrieval)
    flickr = Retrieval(
        name="flickr8k", title="Flickr8k", data=flickr.data, read=flickr.read, languages=("en",)
    )
    context.limit = 200
    captioned = flickr._captioned(context, "en")
    retrieval = flickr.run(context)
    context.limit = IMAGES
    return SimpleNamespace(
        encoder=encoder,
        context=context,
        task=task,
        labelled=labelled,
        names=labelled.class_names,
        images=encoder.embed_images([image.read() for image in labelled.images]),
        outcome=task.run(context),
        captioned=captioned,
        pictures=encoder.embed_images([image.read() for image in captioned.images]),
        captions=encoder.embed_texts(captioned.captions),
        retrieval=retrieval,
    )


def hits(outcome, name: str) -> int:
    measure = outcome.measures[name]
    return round(measure.value * measure.count)


def test_classification_equals_scikit_learn(measured):
    prompts = [label_prompts(name, resolve_templates(TEMPLATES), canonical=True) for name in measured.names]
    classes = np.stack([measured.encoder.embed_texts(each).mean(axis=0) for each in prompts])
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    scores = measured.images @ classes.T
    for k in (1, 5):
        counted = top_k_accuracy_score(
            measured.labelled.labels, scores, k=k, labels=np.arange(len(classes)), normalize=False
        )
        assert hits(measured.outcome, f"top_{k}") == counted > 0


def test_retrieval_equals_sorting(measured):
    scores = measured.captions @ measured.pictures.T
    owners = measured.captioned.image_of_caption
    for k in (1, 5, 10):
        found = np.argsort(-scores, axis=1)[:, :k] == owners[:, None]
        assert hits(measured.retrieval, f"text_to_image_hit@{k}") == found.any(axis=1).sum() > 0
        found = owners[np.argsort(-scores.T, axis=1)[:, :k]] == np.arange(len(scores.T))[:, None]
        assert hits(measured.retrieval, f"image_to_text_hit@{k}") == found.any(axis=1).sum() > 0


def given(encoder):
    """A model as clip_benchmark calls one: pictures come embedded, prompts in the reference's own form."""
    torch = pytest.importorskip("torch")

    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen: list[str] = []

        def tokenize(self, texts):
            start = len(self.seen)
            self.seen += [label_prompts(text, ("{}",), canonical=True)[0] for text in texts]
            return torch.arange(start, len(self.seen))

        def encode_text(self, ids):
            return torch.from_numpy(encoder.embed_texts([self.seen[index] for index in ids.tolist()]))

        def encode_image(self, images):
            return images

    return Given()


def clip_benchmark_logits(measured, labels: np.ndarray):
    """What clip_benchmark makes of the same embeddings; its own `accuracy` fails under numpy 2.4."""
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    torch = pytest.importorskip("torch")
    model = given(measured.encoder)
    batches = [
        (torch.from_numpy(measured.images[part]), torch.from_numpy(labels[part]))
        for part in (slice(0, 256), slice(256, None))
    ]
    templates = [template.replace("{}", "{c}") for template in resolve_templates(TEMPLATES)]
    classifier = theirs.zero_shot_classifier(
        model, model.tokenize, list(measured.names), templates, "cpu", amp=False
    )
    return theirs, *theirs.run_classification(model, classifier, batches, "cpu", amp=False)


def test_classification_equals_clip_benchmark(measured):
    _, logits, target = clip_benchmark_logits(measured, measured.labelled.labels)
    for k in (1, 5):
        found = (logits.topk(k).indices == target[:, None]).sum()
        assert hits(measured.outcome, f"top_{k}") == int(found)
    recall = recall_score(target, logits.argmax(axis=1), labels=np.unique(target.numpy()), average="macro")
    assert measured.outcome.measures["mean_per_class_recall"].value == pytest.approx(recall, abs=1e-6)


def several(measured) -> LabelledImages:
    """The same photographs as if each were of its class and of the next one."""
    labels = np.zeros((IMAGES, len(measured.names)), bool)
    labels[np.arange(IMAGES), measured.labelled.labels] = True
    labels[np.arange(IMAGES), (measured.labelled.labels + 1) % len(measured.names)] = True
    old = measured.labelled
    return LabelledImages(
        images=old.images, labels=labels, class_names=old.class_names, class_keys=old.class_keys
    )


def test_mean_average_precision_equals_scikit_learn_and_clip_benchmark(measured):
    labelled = several(measured)
    task = ZeroShotClassification(
        name="several",
        title="Several",
        data=measured.task.data,
        read=lambda *_: labelled,
        main="mean_average_precision",
    )
    value = task.run(measured.context).measures["mean_average_precision"].value
    classes = measured.context.class_embeddings(measured.names)
    scores = measured.images @ classes.T
    present = labelled.labels.any(axis=0)
    expected = average_precision_score(labelled.labels[:, present], scores[:, present], average="macro")
    assert value == pytest.approx(expected, abs=1e-6)
    theirs, logits, target = clip_benchmark_logits(measured, labelled.labels.astype(np.int64))
    found = float(theirs.average_precision_per_class(logits, target).mean())
    # clip_benchmark counts a class that no image has as zero, and here it is left out.
    assert value * present.mean() == pytest.approx(found, abs=1e-4)


def test_retrieval_equals_clip_benchmark(measured):
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    torch = pytest.importorskip("torch")
    owners = measured.captioned.image_of_caption
    texts = [
        [torch.from_numpy(text) for text in measured.captions[owners == index]]
        for index in range(len(measured.pictures))
    ]

    class Given(torch.nn.Module):
        encode_image = encode_text = staticmethod(lambda x: x)

    class Loader(list):
        dataset = property(lambda self: self)

    found = theirs.evaluate(
        Given(),
        Loader([(torch.from_numpy(measured.pictures), texts)]),
        lambda each: torch.stack(list(each)),
        "cpu",
        amp=False,
        recall_k_list=[1, 5, 10],
    )
    for k in (1, 5, 10):
        for ours, name in (("text_to_image", "image"), ("image_to_text", "text")):
            count = measured.retrieval.measures[f"{ours}_hit@{k}"].count
            assert hits(measured.retrieval, f"{ours}_hit@{k}") == round(
                found[f"{name}_retrieval_recall@{k}"] * count
            )
