"""From a data set's folder to what a task measures on: one function for each data set."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.class_names import imagenet
from siglip2.evals.formats import captioned, dense, places, referring
from siglip2.evals.formats.box_captions import Choice, counting_captions, relation_captions
from siglip2.evals.formats.captioned import CaptionedImages
from siglip2.evals.formats.dense import DenseImages, lookup_of
from siglip2.evals.formats.labelled import LabelledImages, read_labelled
from siglip2.evals.formats.navi import read_navi
from siglip2.evals.formats.places import PlacedImages
from siglip2.evals.formats.referring import Expressions
from siglip2.evals.formats.shards import Sample
from siglip2.evals.formats.text_files import laid_out, read_json, read_lines, read_text
from siglip2.evals.images import ImageFile
from siglip2.evals.task import Context, DataSet

REFCOCO_SPLITS = (
    ("refcoco", "unc", ("val", "testA", "testB")),
    ("refcoco+", "unc", ("val", "testA", "testB")),
    ("refcocog", "umd", ("val", "test")),
)


def labelled_images(context: Context, folder: Path, split: str) -> LabelledImages:
    """A split of labelled images, read once for all tasks that share it."""
    return context.kept(("labelled", folder, split), partial(read_labelled, folder, split))


def imagenet_real(context: Context, data: DataSet) -> LabelledImages:
    """ReaL: `real.json` lists the labels of ILSVRC2012_val_00000001 and so on."""
    folder = context.folder(data)
    labelled = read_labelled(folder, "val")
    path = folder / "real.json"
    if not path.exists():
        raise InvalidInput(f"{path} is missing: get it from {data.page}")
    answers = read_json(path)
    several = np.zeros((len(labelled.images), 1000), bool)
    for row, image in zip(several, labelled.images, strict=True):
        number = Path(image.key).stem.rsplit("_", 1)[-1]
        if not number.isdecimal() or not 1 <= int(number) <= len(answers):
            raise InvalidInput(f"{image.key} in {folder} has no number of ImageNet's val images at its end")
        with laid_out(path):
            row[answers[int(number) - 1]] = True
    return _of_imagenet(labelled, several)


def objectnet(context: Context, data: DataSet) -> LabelledImages:
    """ObjectNet's 113 classes that ImageNet has too; any ImageNet class that maps to the object is right.

    The paper does not say: how it maps classes. The argmax runs over the 1,000 ImageNet classes.
    """
    folder = context.folder(data)
    labelled = read_labelled(folder, "images")
    accepted = _objectnet_answers(folder / "mappings")
    unknown = [key for key in labelled.class_keys if key not in accepted]
    if unknown:
        raise InvalidInput(
            f"{folder / 'mappings'} knows {len(unknown)} of the folders in images/ not, such as {unknown[0]}"
        )
    several = np.zeros((len(labelled.images), 1000), bool)
    for row, label in zip(several, labelled.labels.tolist(), strict=True):
        row[accepted[labelled.class_keys[label]]] = True
    return _of_imagenet(labelled, several)


def _objectnet_answers(mappings: Path) -> dict[str, list[int]]:
    """Indices of the ImageNet classes that each folder's object may be, by the publisher's three tables.

    An answer is a line of `imagenet_to_label_2012_v2`, and a third table has the line of each index.
    """
    objects = read_json(mappings / "folder_to_objectnet_label.json")
    answers = read_json(mappings / "objectnet_to_imagenet_1k.json")
    line_of_index = read_json(mappings / "pytorch_to_imagenet_2012_id.json")
    lines = read_lines(mappings / "imagenet_to_label_2012_v2")
    found: dict[str, list[int]] = {}
    with laid_out(mappings):
        index_of = {lines[line].strip(): int(index) for index, line in line_of_index.items()}
        for key, name in objects.items():
            wanted = [answer.strip() for answer in answers.get(name, "").split(";") if answer.strip()]
            found[key] = [index_of[answer] for answer in wanted if answer in index_of]
            if len(found[key]) < len(wanted):
                raise InvalidInput(
                    f"{mappings}: no ImageNet class is found for {name}, which is {answers[name]}"
                )
    return found


def _of_imagenet(labelled: LabelledImages, several: np.ndarray) -> LabelledImages:
    """Images with any of ImageNet's 1,000 classes, (B, 1000); those with none are left out."""
    return replace(
        labelled,
        labels=several,
        class_names=tuple(imagenet()["names"]),
        class_keys=tuple(imagenet()["wnids"]),
        class_names_from_file=False,
    ).take(np.flatnonzero(several.any(axis=1)))


def coco(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """Karpathy's 5,000 test images with all 25,010 captions."""
    folder = context.folder(data)
    return captioned.read_karpathy(folder / "dataset_coco.json", folder / "images")


def flickr30k(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """Karpathy's 1,000 test images with 5,000 captions."""
    folder = context.folder(data)
    return captioned.read_karpathy(folder / "dataset_flickr30k.json", folder / "images")


def xm3600(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """Every caption of a language."""
    return captioned.read_crossmodal3600(context.folder(data), language)


def xtd10(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """One caption an image."""
    return captioned.read_xtd10(context.folder(data), language)


def multi30k(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """One caption an image: `test_2016_flickr.txt` names the images in the order of the captions."""
    folder = context.folder(data)
    names, texts = (read_lines(folder / f"test_2016_flickr.{ending}") for ending in ("txt", language))
    if len(names) != len(texts):
        raise InvalidInput(f"{folder}: {len(names)} image names but {len(texts)} captions in {language}")
    return captioned.paired(
        (ImageFile(name, folder / "images" / name), [text]) for name, text in zip(names, texts, strict=True)
    )


def flickr8k(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """The 1,000 test images with their captions in a language."""
    return captioned.read_tars(_samples(context, data, "test"), language)


def _samples(context: Context, data: DataSet, split: str) -> list[Sample]:
    folder = context.folder(data)
    return context.kept(("samples", folder, split), lambda: captioned.split_samples(folder, split))


def coco_mini(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """The 283 val images."""
    return captioned.read_tars(_samples(context, data, "val"), language)


def coco_mini_counts(context: Context, data: DataSet) -> list[Choice]:
    """Captions by rule over all pictures with boxes."""
    with laid_out(context.folder(data)):
        return list(counting_captions(_boxed(context, data)))


def coco_mini_relations(context: Context, data: DataSet) -> list[Choice]:
    """Captions by rule over all pictures with boxes."""
    with laid_out(context.folder(data)):
        return list(relation_captions(_boxed(context, data)))


def _boxed(context: Context, data: DataSet) -> list[Sample]:
    return [sample for split in ("train", "val") for sample in _samples(context, data, split)]


def text_in_images(
    read: Callable[[Path], CaptionedImages],
) -> Callable[[Context, DataSet, str], CaptionedImages]:
    """A reader of one of the four sets, which are in English alone."""
    return lambda context, data, language: read(context.folder(data))


def navi(context: Context, data: DataSet, split: str) -> DenseImages:
    """Inverse depths, and focal lengths of each photograph."""
    return read_navi(context.folder(data), split)


def own_captions(context: Context, data: DataSet, language: str) -> CaptionedImages:
    """A folder with a table of paths and captions."""
    return captioned.read_table(context.folder(data))


def camvid(context: Context, data: DataSet, split: str) -> DenseImages:
    """Eleven classes; what is unlabelled does not count."""
    folder = context.folder(data)
    described = read_json(folder / "classes.json")
    with laid_out(folder / "classes.json"):
        classes, ignored = described["classes"], described["ignore_index"]
        names = [name for index, name in enumerate(classes) if index != ignored]
    lookup = lookup_of(list(range(len(names))))
    return dense.read_dense_tars(folder, split, "seg.png", class_names=tuple(names), lookup=lookup)


def coco_mini_masks(context: Context, data: DataSet, split: str) -> DenseImages:
    """133 things and stuff; 0 does not count."""
    folder = context.folder(data)
    described = read_json(folder / "categories.json")
    with laid_out(folder / "categories.json"):
        categories = described["seg_categories"]
        values = sorted(map(int, categories))
        names = tuple(categories[str(value)]["name"] for value in values)
    return dense.read_dense_tars(folder, split, "seg.png", class_names=names, lookup=lookup_of(values))


def ade20k(context: Context, data: DataSet, split: str) -> DenseImages:
    """150 classes, numbered from 1; 0 does not count."""
    folder = context.folder(data)
    lines = read_lines(folder / "objectInfo150.txt")[1:151]
    names = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines)
    return dense.read_dense_folders(
        folder / "images" / split,
        folder / "annotations" / split,
        class_names=names,
        lookup=lookup_of(list(range(1, 151))),
    )


def pascal(context: Context, data: DataSet, split: str) -> DenseImages:
    """Background and twenty classes; borders (255) do not count."""
    folder = context.folder(data)
    names = [
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "dining_table",
        "dog",
        "horse",
        "motorbike",
        "person",
        "potted_plant",
        "sheep",
        "sofa",
        "train",
        "tv_monitor",
    ]
    stems = read_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt").split()
    return dense.read_dense_folders(
        folder / "JPEGImages",
        folder / "SegmentationClass",
        stems,
        class_names=tuple(names),
        lookup=lookup_of(list(range(21))),
    )


def depth_rgbd(context: Context, data: DataSet, split: str) -> DenseImages:
    """Millimetres."""
    return dense.read_dense_tars(context.folder(data), split, "depth.png", unit=0.001)


def kitchen_rgbd(context: Context, data: DataSet, split: str) -> DenseImages:
    """The 7-Scenes frames alone, whose focal length (585 of 640 pixels) is known."""
    found = depth_rgbd(context, data, split)
    kept = [index for index, image in enumerate(found.images) if image.key.startswith("7scenes")]
    return found.take(np.array(kept))


def nyuv2(context: Context, data: DataSet, split: str) -> DenseImages:
    """Millimetres."""
    folder = context.folder(data) / split
    return dense.read_dense_folders(folder / "rgb", folder / "depth", unit=0.001)


def refcoco_train(context: Context, data: DataSet) -> Expressions:
    """The train splits of all three sets, together."""
    folder = context.folder(data)
    parts = [referring.read_refcoco(folder, name, split_by, "train") for name, split_by, _ in REFCOCO_SPLITS]
    offsets = np.cumsum([0, *(len(part.images) for part in parts)])
    return Expressions(
        images=[image for part in parts for image in part.images],
        texts=[text for part in parts for text in part.texts],
        image_of_text=np.concatenate(
            [part.image_of_text + offset for part, offset in zip(parts, offsets, strict=False)]
        ),
        boxes=np.concatenate([part.boxes for part in parts]),
        others=[boxes for part in parts for boxes in part.others],
    )


def refcoco_tests() -> dict[str, Callable[[Context, DataSet], Expressions]]:
    """A reader for each published split, by the name of its measure."""
    return {
        f"{name}_{split}_accuracy@0.5": partial(_refcoco_test, name=name, split_by=split_by, split=split)
        for name, split_by, splits in REFCOCO_SPLITS
        for split in splits
    }


def _refcoco_test(context: Context, data: DataSet, *, name: str, split_by: str, split: str) -> Expressions:
    return referring.read_refcoco(context.folder(data), name, split_by, split)


def expressions_train(context: Context, data: DataSet) -> Expressions:
    """Template expressions of the train pictures."""
    return referring.read_expression_lines(context.folder(data), "train")


def expressions_val(context: Context, data: DataSet) -> Expressions:
    """Template expressions of the val pictures."""
    return referring.read_expression_lines(context.folder(data), "val")


def dollar_street(context: Context, data: DataSet) -> PlacedImages:
    """Topics as ImageNet classes."""
    return places.read_dollar_street(context.folder(data), imagenet()["names"])


def geode(context: Context, data: DataSet) -> PlacedImages:
    """Forty objects from six regions."""
    return places.read_geode(context.folder(data))


def landmarks(context: Context, data: DataSet) -> PlacedImages:
    """Landmarks by name."""
    return places.read_landmarks(context.folder(data))
