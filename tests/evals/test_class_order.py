"""Which class a label stands for: folders by their names, tars by their numbers, a list beside them first."""

import json

import numpy as np
import pytest
from tests.evals.conftest import jpeg, write_photo
from tests.evals.test_formats import write_tar

from siglip2.errors import InvalidInput
from siglip2.evals.class_names import clip_class_keys, clip_class_names, imagenet
from siglip2.evals.registry import all_tasks
from siglip2.evals.tasks.zero_shot import ZeroShotClassification


def named(name: str, context):
    task = all_tasks()[name]
    assert isinstance(task, ZeroShotClassification)
    return task.named(task.load(context))


def names_of_images(found) -> list[str]:
    return [found.class_names[label] for label in found.labels]


IN_ORDER_OF_LABELS = {
    "eurosat": "annual crop land, forest, brushland or shrubland, highway or road, industrial buildings or "
    "commercial buildings, pasture land, permanent crop land, residential buildings or homes or apartments, "
    "river, lake or sea",
    "fer2013": "angry, disgusted, fearful, happy, neutral, sad, surprised",
    "clevr_counts": "3, 4, 5, 6, 7, 8, 9, 10",
    "voc2007": "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, "
    "motorbike, person, pottedplant, sheep, sofa, train, tvmonitor",
}


@pytest.mark.parametrize("name", IN_ORDER_OF_LABELS)
def test_names_of_clips_data_sets_stand_in_the_order_of_labels(name):
    assert ", ".join(clip_class_names(name)) == IN_ORDER_OF_LABELS[name]


def test_names_of_clips_data_sets_are_those_of_clip_benchmark(shared_data):
    theirs = json.loads((shared_data / "lists" / "clip_benchmark_en_classnames.json").read_text())
    other_names = {"flowers102": "flowers", "caltech101": "caltech101_vtab"}
    for name in ("eurosat", "pets", "fer2013", "caltech101", "gtsrb", "country211", "mnist", "flowers102"):
        expected = [each.lower() for each in theirs[other_names.get(name, name)]]
        assert [each.lower() for each in clip_class_names(name)] == expected


@pytest.mark.parametrize("name", ["caltech101", "country211", "eurosat", "fer2013", "pets"])
def test_every_folder_of_a_publisher_is_another_class(name):
    keys = clip_class_keys(name)
    assert len(set(keys)) == len(clip_class_names(name))


def test_folders_are_found_by_their_names(context):
    """Some of them are missing, and their order is not that of the labels."""
    folders = ["AnnualCrop", "River", "SeaLake", "forest"]
    for index, folder in enumerate(folders):
        write_photo(context.data / "eurosat" / "test" / folder / "0.jpg", index)
    found = named("eurosat", context)
    assert names_of_images(found) == ["annual crop land", "river", "lake or sea", "forest"]
    assert len(found.class_names) == 10


def test_folders_that_are_called_otherwise_need_a_list(context):
    folder = context.data / "pets"
    for index, name in enumerate(["Beagle", "some_cat"]):
        write_photo(folder / "test" / name / "0.jpg", index)
    with pytest.raises(InvalidInput, match=r"1 of 2 folders .* such as some_cat; .*classnames\.txt"):
        named("pets", context)
    (folder / "classnames.txt").write_text("beagle\ncat\n")
    context.shared.clear()
    assert names_of_images(named("pets", context)) == ["beagle", "cat"]
    (folder / "classnames.txt").write_text("beagle\n")
    context.shared.clear()
    with pytest.raises(InvalidInput, match=r"holds 2 folders and classnames\.txt 1 names"):
        named("pets", context)


def test_a_list_beside_the_tars_wins(context):
    folder = context.data / "eurosat"
    write_tar(folder / "test" / "0.tar", {"a.jpg": jpeg(0), "a.cls": b"1", "b.jpg": jpeg(1), "b.cls": b"0"})
    assert names_of_images(named("eurosat", context)) == ["forest", "annual crop land"]
    (folder / "classnames.txt").write_text("field\nwood\n")
    context.shared.clear()
    assert names_of_images(named("eurosat", context)) == ["wood", "field"]
    (folder / "classnames.txt").write_text("field\n")
    context.shared.clear()
    with pytest.raises(InvalidInput, match="labels go up to 1, and only 1 classes have a name"):
        named("eurosat", context)


def test_names_in_parquet_tell_its_order(context):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    folder = context.data / "fer2013"
    folder.mkdir()

    def write(names: list[str]) -> None:
        rows = [{"bytes": jpeg(index), "path": None} for index in range(len(names))]
        table = pyarrow.table({"image": rows, "label": list(range(len(names)))})
        described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        described = table.replace_schema_metadata({"huggingface": json.dumps(described)})
        parquet.write_table(described, folder / "test.parquet")
        context.shared.clear()

    write(["happy", "angry"])
    assert names_of_images(named("fer2013", context)) == ["happy", "angry"]
    write(["happy", "angry", "no name of ours"])
    with pytest.raises(InvalidInput, match="in another order"):
        named("fer2013", context)


@pytest.mark.parametrize(("numbers", "fits"), [((0, 1, 2), True), ((3, 5), False), (range(12), False)])
def test_numbered_folders_are_labels_only_from_the_first_on(context, numbers, fits):
    for number in numbers:
        write_photo(context.data / "mnist" / "test" / f"{number}" / "0.jpg", number)
    if fits:
        assert names_of_images(named("mnist", context)) == ["0", "1", "2"]
    else:
        with pytest.raises(InvalidInput, match=rf"the data have {len(numbers)} classes, 10 are known"):
            named("mnist", context)


@pytest.mark.parametrize("name", ["imagenet", "imagenet_a"])
def test_some_of_the_folders_of_imagenet(context, name):
    wnids, names = imagenet()["wnids"], imagenet()["names"]
    indices = imagenet()["imagenet_a"][5:9]
    split = "val" if name == "imagenet" else "test"
    for index in indices:
        write_photo(context.data / name / split / wnids[index] / "0.jpg", index)
    found = named(name, context)
    assert names_of_images(found) == [names[index] for index in indices]
    assert all_tasks()[name].run(context).sizes["classes"] == (1000 if name == "imagenet" else 200)


def test_imagenet_real_of_some_of_the_folders(context):
    folder = context.data / "imagenet"
    wnid = imagenet()["wnids"][7]
    for number in (1, 2, 3):
        write_photo(folder / "val" / wnid / f"ILSVRC2012_val_0000000{number}.JPEG", number)
    (folder / "real.json").write_text(json.dumps([[7, 8], [], [999]]))
    found = named("imagenet_real", context)
    assert [np.flatnonzero(row).tolist() for row in found.labels] == [[7, 8], [999]]
    write_photo(folder / "val" / wnid / "mine.jpg", 9)
    with pytest.raises(InvalidInput, match=r"mine\.jpg .* has no number of ImageNet's val images"):
        named("imagenet_real", context)


def test_objectnet_takes_the_publishers_names(context):
    """Lines of WordNet's names: among CLIP's own, which are shorter, some of them do not occur."""
    folder = context.data / "objectnet"
    for index, name in enumerate(["band_aid", "milk", "skirt"]):
        write_photo(folder / "images" / name / "0.png", index)
    tables = {
        "folder_to_objectnet_label.json": {"band_aid": "Band Aid", "milk": "Milk", "skirt": "Skirt"},
        "objectnet_to_imagenet_1k.json": {
            "Band Aid": "Band Aid",
            "Skirt": "hoopskirt, crinoline; miniskirt, mini; overskirt",
        },
        "pytorch_to_imagenet_2012_id.json": {"419": 2, "601": 0, "655": 3, "689": 1},
    }
    (folder / "mappings").mkdir()
    for name, content in tables.items():
        (folder / "mappings" / name).write_text(json.dumps(content))
    lines = folder / "mappings" / "imagenet_to_label_2012_v2"
    lines.write_text("hoopskirt, crinoline\noverskirt\nBand Aid\nminiskirt, mini\n")
    found = named("objectnet", context)
    assert [np.flatnonzero(row).tolist() for row in found.labels] == [[419], [601, 655, 689]]
    lines.write_text("hoopskirt, crinoline\noverskirt\nplaster\nminiskirt, mini\n")
    with pytest.raises(InvalidInput, match="no ImageNet class is found for Band Aid"):
        named("objectnet", context)
    write_photo(folder / "images" / "no_object" / "0.png", 5)
    lines.write_text("hoopskirt, crinoline\noverskirt\nBand Aid\nminiskirt, mini\n")
    with pytest.raises(InvalidInput, match="such as no_object"):
        named("objectnet", context)
