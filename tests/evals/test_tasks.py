"""Tasks from files to numbers, on small data; and a model that knows nothing scores at chance."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
from tests.evals.conftest import KnowsNothing, jpeg, make_context, write_photo

from siglip2.errors import InvalidInput
from siglip2.evals.formats.box_captions import Choice
from siglip2.evals.formats.captioned import paired
from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.formats.places import PlacedImages
from siglip2.evals.images import ImageFile
from siglip2.evals.registry import all_tasks, choose_tasks
from siglip2.evals.results import Outcome
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import DataSet, MissingData
from siglip2.evals.tasks.choices import CaptionChoice
from siglip2.evals.tasks.composition import SugarCrepe
from siglip2.evals.tasks.places import PlacesZeroShot
from siglip2.evals.tasks.retrieval import Retrieval
from siglip2.evals.tasks.segmentation import SegmentationProbe
from siglip2.similarity import to_unit_length


def write_classes(folder, *, count: int = 12, classes: int = 3, split: str = "val") -> None:
    for index in range(count):
        write_photo(
            folder / split / f"kind {index % classes}" / f"{index}.jpg", index + 1000 * (split == "train")
        )


def test_zero_shot_equals_the_protocol_written_out(context):
    write_classes(context.data / "tiny_imagenet")
    outcome = all_tasks()["tiny_imagenet"].run(context)
    encoder = context.encoder
    from siglip2.prompts import resolve_templates

    prompts = [
        template.format(f"kind {index}") for index in range(3) for template in resolve_templates("clip81")
    ]
    plain = [" ".join("".join(c for c in p.lower() if c.isalnum() or c == " ").split()) for p in prompts]
    classes = to_unit_length(encoder.embed_texts(plain).reshape(3, 81, -1).mean(axis=1))
    paths = sorted((context.data / "tiny_imagenet" / "val").rglob("*.jpg"))
    best = (encoder.embed_images(paths) @ classes.T).argmax(axis=1)
    right = best == [int(path.parent.name[-1]) for path in paths]
    assert outcome.measures["top_1"].value == right.mean()
    assert outcome.sizes == {"images": 12, "classes": 3}
    assert outcome.chance == pytest.approx(1 / 3)
    assert {example.kind for example in outcome.examples} <= {"success", "failure"}


@pytest.mark.parametrize("switch", [{"templates": "plain"}, {"lowercase": "none"}, {"ties": "order"}])
def test_a_planted_fault_is_reported(encoder, context, switch):
    assert context.deviations == replace_preset(context)
    faulty = make_context(encoder, context.data, context.cache, **switch)
    if "lowercase" in switch:
        faulty = replace(faulty, protocol=replace(faulty.protocol, lowercase="none"))
    (name,) = {each.switch for each in faulty.deviations} - {each.switch for each in context.deviations}
    assert name == next(iter(switch))
    assert all("in the paper" in str(each) for each in faulty.deviations)


def replace_preset(context):
    """The tiny model's own pixels are transformers', and a processor may have its own fast arithmetic."""
    return [each for each in context.deviations if each.switch in ("image_preset", "precision")]


def test_a_template_or_case_changes_the_result(encoder, context):
    """The faults are worth reporting: they move the vectors that everything is measured on."""
    names = ["A Cat", "the Dog", "Toy Car"]
    paper = context.class_embeddings(names)
    plain = make_context(encoder, context.data, context.cache, templates="plain").class_embeddings(names)
    raw = make_context(encoder, context.data, context.cache, canonicalize=False).class_embeddings(names)
    assert np.abs(paper - plain).max() > 1e-3
    assert np.abs(paper - raw).max() > 1e-3


def test_ties_in_order_flatter_a_model_of_one_vector(context):
    write_captions(context.data / "coco", 10)

    class OneVector(KnowsNothing):
        def _noise(self, content, shape=None):
            return np.ones(shape or self.encoder.embed_dim, np.float32)

    cache = OneVector(context.encoder, None)
    task = all_tasks()["coco"]
    strict = task.run(make_context(context.encoder, context.data, cache))
    flattered = task.run(make_context(context.encoder, context.data, cache, ties="order"))
    assert strict.measures["text_to_image_hit@5"].value == 0
    assert flattered.measures["text_to_image_hit@5"].value == 0.5


def write_captions(folder, count: int) -> None:
    entries = []
    for index in range(count):
        write_photo(folder / "images" / f"{index}.jpg", index)
        sentences = [{"raw": f"photo {index} caption {number}"} for number in range(5)]
        entries.append({"filename": f"{index}.jpg", "split": "test", "sentences": sentences})
    (folder / "dataset_coco.json").write_text(json.dumps({"images": entries}))


def test_photos_of_ones_own(context):
    """A folder a class, and a table of captions."""
    write_classes(context.data / "classes", split="test")
    write_classes(context.data / "classes", split="train", count=36)
    for name in ("classes", "classes_10shot"):
        assert all_tasks()[name].run(context).sizes["classes"] == 3
    (context.data / "captions").mkdir()
    rows = ["path,caption"]
    for index in range(6):
        write_photo(context.data / "captions" / f"{index}.jpg", index)
        rows += [f"{index}.jpg,photo {index}", f"{index}.jpg,picture {index}"]
    (context.data / "captions" / "captions.csv").write_text("\n".join(rows))
    outcome = all_tasks()["captions"].run(context)
    assert outcome.sizes["texts"] == 12
    assert outcome.chance == pytest.approx(1 / 6)


def test_missing_data_are_named_and_the_rest_goes_on(context, tmp_path):
    write_classes(context.data / "tiny_imagenet")
    with pytest.raises(
        MissingData, match=r"(?s)ImageNet-1k is not in .*image-net\.org.*a folder for each class"
    ):
        all_tasks()["imagenet"].run(context)
    states = run_tasks(choose_tasks(["imagenet", "tiny_imagenet"]), context, tmp_path / "out")
    assert [each.state for each in states] == ["failed", "measured"]
    assert (tmp_path / "out" / "tiny_imagenet.json").exists()


class KnowsEverything(KnowsNothing):
    """A right caption says `SEED of ...`, and has the vector of the photo of that seed."""

    def texts(self, texts, *, progress=False):
        owners = [text.partition(" of ")[0] for text in texts]
        vectors = [self._noise(jpeg(int(each)) if each.isdigit() else each.encode()) for each in owners]
        return to_unit_length(np.stack(vectors))


SIZES = {"a": 40, "b": 9, "c": 2}
"""Of kinds, languages or categories."""


def _all_right_choices(context) -> CaptionChoice:
    cases = [
        Choice(image=ImageFile(f"{i}", jpeg(i)), right=f"{i} of {kind}", wrong=("no",), kind=kind)
        for kind, size in SIZES.items()
        for i in range(size)
    ]
    return CaptionChoice(name="choices", title="Choices", data=DATA, read=lambda *_: cases)


def _all_right_retrieval(context) -> Retrieval:
    def read(context, data, language):
        photos = [(ImageFile(f"{i}", jpeg(i)), [f"{i} of {language}"] * 2) for i in range(SIZES[language])]
        return paired(photos)

    # Equal captions tie with each other, and all of a picture's are right.
    return Retrieval(name="retrieval", title="Retrieval", data=DATA, read=read, languages=tuple(SIZES))


def _all_right_sugarcrepe(context) -> SugarCrepe:
    for category, size in zip(("add_obj", "swap_obj", "swap_att"), SIZES.values(), strict=True):
        entries = {}
        for i in range(size):
            write_photo(context.data / "own" / "val2017" / f"{i}.jpg", i)
            entries[f"{i}"] = {"filename": f"{i}.jpg", "caption": f"{i} of it", "negative_caption": "no"}
        (context.data / "own" / f"{category}.json").write_text(json.dumps(entries))
    return SugarCrepe(name="sugarcrepe", title="SugarCrepe", data=DATA)


DATA = (DataSet(folder="own", title="Own", licence="none", page="nowhere", layout="files"),)


@pytest.mark.parametrize("make", [_all_right_choices, _all_right_retrieval, _all_right_sugarcrepe])
def test_a_mean_over_unlike_sizes_that_is_all_right_has_no_interval_beyond_it(make, context):
    task = make(context)
    outcome = task.run(replace(context, cache=KnowsEverything(context.encoder, None), examples=False))
    main = outcome.measures[task.main]
    assert (main.value, main.low, main.high) == (1, 1, 1)
    assert main.groups is not None
    assert len(np.unique(main.groups)) == max(SIZES.values())


def test_unknown_tasks_get_a_hint():
    with pytest.raises(InvalidInput, match="did you mean flickr30k"):
        choose_tasks(["flicker30k"])


def at_chance(outcome: Outcome, main: str) -> bool:
    measure = outcome.measures[main]
    assert outcome.chance is not None
    slack = 0.25 * (measure.high - measure.low)  # a 95 % interval misses now and then; seeds are fixed
    return measure.low - slack <= outcome.chance <= measure.high + slack


CHANCE = (
    "tiny_imagenet tiny_imagenet_10shot tiny_imagenet_linear babel_tiny_imagenet flickr8k coco_mini "
    "coco_mini_pointing coco_mini_counting coco_mini_relations flickr8k_gender"
)


@pytest.mark.parametrize("name", CHANCE.split())
def test_knowing_nothing_scores_at_chance(name, encoder, shared_data):
    context = make_context(encoder, shared_data, KnowsNothing(encoder, None), templates="plain")
    context = replace(context, limit=1000, examples=False)
    task = all_tasks()[name]
    if name == "tiny_imagenet_linear":
        task = replace(task, per_class=3)  # pyright: ignore[reportArgumentType]
    assert at_chance(task.run(context), task.main)


@pytest.mark.parametrize("name", ["camvid", "camvid_open_vocabulary"])
def test_masks_of_noise_are_at_chance(name, encoder, shared_data):
    pytest.importorskip("torch")
    context = make_context(encoder, shared_data, KnowsNothing(encoder, None), templates="plain")
    task = all_tasks()[name]
    if task.trains:
        task = replace(task, steps=30)  # pyright: ignore[reportArgumentType]
    assert at_chance(task.run(replace(context, limit=60, examples=False)), task.main)


def test_a_probe_reads_the_train_split_batch_by_batch_and_whole(context):
    """Features and masks of a large split do not fit in memory; `--limit` is of what is measured on."""
    pytest.importorskip("torch")
    asked: list[int] = []
    given: list[weakref.ref[np.ndarray]] = []

    class Counting(KnowsNothing):
        def patches(self, images, *, progress=False):
            asked.append(len(images))
            return super().patches(images, progress=progress)

    def read(context, data, split):
        count = 40 if split == "train" else 12
        images = [ImageFile(f"{i}", jpeg(i)) for i in range(count)]
        return Masks(images=images, values=images, class_names=("left", "right"))

    class Masks(DenseImages):
        def masks(self):
            for _ in self.values:
                mask = np.repeat(np.array([[0, 1]], np.uint8), 20, axis=1).repeat(40, axis=0)
                given.append(weakref.ref(mask))
                yield mask
                del mask
                assert sum(each() is not None for each in given) <= 2

        def take(self, positions):
            kept = super().take(positions)
            return Masks(images=kept.images, values=kept.values, class_names=kept.class_names)

    task = SegmentationProbe(name="own", title="Own", data=DATA, read=read, steps=3)
    outcome = task.run(replace(context, cache=Counting(context.encoder, None), limit=5))
    assert outcome.sizes == {"images": 5, "train_images": 40, "classes": 2}
    assert asked == [40, 1, 16, 16, 16, 5]
    assert len(given) == 45


def test_convolutions_over_noise_know_the_layout_at_most(encoder, shared_data):
    pytest.importorskip("torch")
    context = make_context(encoder, shared_data, KnowsNothing(encoder, None))
    task = replace(all_tasks()["camvid_dpt"], steps=30)  # pyright: ignore[reportArgumentType]
    outcome = task.run(replace(context, limit=40, examples=False))
    assert outcome.chance is not None
    assert outcome.measures["miou"].low <= outcome.chance
    assert outcome.chance > 0.1


@pytest.mark.parametrize("name", ["depth_rgbd", "normals_rgbd"])
def test_noise_is_no_better_than_a_constant(name, encoder, shared_data):
    """Errors: a head that is fitted to noise ends at the best constant answer, or behind it."""
    pytest.importorskip("torch")
    context = replace(
        make_context(encoder, shared_data, KnowsNothing(encoder, None)), limit=40, examples=False
    )
    task = replace(all_tasks()[name], steps=60)  # pyright: ignore[reportArgumentType]
    outcome = task.run(context)
    assert outcome.chance is not None
    assert outcome.measures[task.main].high >= outcome.chance


def test_expressions_by_noise_are_at_chance(encoder, shared_data):
    pytest.importorskip("torch")
    context = replace(make_context(encoder, shared_data, KnowsNothing(encoder, None)), limit=200)
    task = replace(all_tasks()["coco_mini_expressions"], steps=10)  # pyright: ignore[reportArgumentType]
    assert at_chance(task.run(context), task.main)


@pytest.mark.parametrize(
    "name",
    [
        "sugarcrepe",
        "winoground",
        "dollar_street",
        "dollar_street_10shot",
        "geode",
        "geode_region_10shot",
        "gldv2",
    ],
)
def test_data_sets_that_are_not_here_in_their_formats(name, context):
    """Written small, run whole; a model that knows nothing ends near chance."""
    folder = context.data / {"dollar_street_10shot": "dollar_street", "geode_region_10shot": "geode"}.get(
        name, name
    )
    folder.mkdir(parents=True)
    WRITERS[folder.name](folder)
    quiet = replace(
        context,
        cache=KnowsNothing(context.encoder, None),
        protocol=replace(context.protocol, templates="plain"),
    )
    task = all_tasks()[name]
    outcome = task.run(quiet)
    assert at_chance(outcome, task.main)


def test_a_group_that_no_resample_drew_is_left_out_of_the_disparity(context):
    """A region of one photo is missing from a third of the resamples; all answers are right."""
    groups = np.array(["many"] * 39 + ["one"])
    placed = PlacedImages(
        images=[ImageFile(f"{index}", jpeg(index)) for index in range(40)],
        class_names=("the only one",),
        labels=np.zeros(40, int),
        groups={"region": groups},
    )
    task = PlacesZeroShot(name="own", title="Own", data=DATA, read=lambda *_: placed, group="region")
    disparity = task.run(replace(context, cache=KnowsNothing(context.encoder, None))).measures["disparity"]
    assert (disparity.value, disparity.low, disparity.high) == (0, 0, 0)


def write_sugarcrepe(folder):
    entries = {
        str(i): {"filename": f"{i}.jpg", "caption": f"a {i}", "negative_caption": f"b {i}"} for i in range(60)
    }
    for index in range(60):
        write_photo(folder / "val2017" / f"{index}.jpg", index)
    for category in ("add_obj", "swap_att"):
        (folder / f"{category}.json").write_text(json.dumps(entries))


def write_winoground(folder):
    lines = []
    for index in range(80):
        for side in (0, 1):
            write_photo(folder / "images" / f"ex_{index}_img_{side}.png", 2 * index + side)
        names = {f"image_{side}": f"ex_{index}_img_{side}" for side in (0, 1)}
        lines.append(json.dumps({**names, "caption_0": f"x {index} y", "caption_1": f"y {index} x"}))
    (folder / "examples.jsonl").write_text("\n".join(lines))


def write_dollar_street(folder):
    rows = ["imageRelPath,imagenet_synonyms,income,country.name,region.id"]
    for index in range(120):
        write_photo(folder / "assets" / f"{index}.jpg", index)
        rows.append(
            f'assets/{index}.jpg,"[{index % 7}, {500 + index % 5}]",{50 * index},l{index % 4},r{index % 2}'
        )
    (folder / "images_v2_imagenet_test.csv").write_text("\n".join(rows))


def write_geode(folder):
    rows = ["file_path,object,region,ip_country"]
    for index in range(120):
        write_photo(folder / "images" / f"{index}.jpg", index)
        rows.append(f"{index}.jpg,object {index % 6},region {index % 3},land {index % 9}")
    (folder / "index.csv").write_text("\n".join(rows))


def write_landmarks(folder):
    rows, names = ["id,landmark_id"], ["landmark_id,category"]
    for index in range(90):
        key = f"{index:03}abc"
        write_photo(folder / "images" / key[0] / key[1] / key[2] / f"{key}.jpg", index)
        rows.append(f"{key},{index % 5}")
    names += [f"{index},http://x/Category:Tower_{index}" for index in range(5)]
    (folder / "train.csv").write_text("\n".join(rows))
    (folder / "train_label_to_category.csv").write_text("\n".join(names))


WRITERS = {
    "sugarcrepe": write_sugarcrepe,
    "winoground": write_winoground,
    "dollar_street": write_dollar_street,
    "geode": write_geode,
    "gldv2": write_landmarks,
}
