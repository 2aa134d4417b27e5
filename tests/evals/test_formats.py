"""Every format, written small as its publisher has it, and read."""

import gzip
import io
import json
import pickle
import tarfile
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from tests.evals.conftest import jpeg, write_photo

from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput
from siglip2.evals.formats import captioned, dense, places, referring, text_in_images
from siglip2.evals.formats.box_captions import counting_captions, relation_captions
from siglip2.evals.formats.labelled import read_labelled
from siglip2.evals.formats.navi import read_navi
from siglip2.evals.formats.shards import Sample
from siglip2.evals.images import ImageFile, TarSlice


def write_tar(path, files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def test_folders_named_by_wordnet(tmp_path):
    for index, wnid in enumerate(["n01443537", "n01440764"]):
        write_photo(tmp_path / "val" / wnid / f"ILSVRC2012_val_0000000{index}.JPEG", index)
    found = read_labelled(tmp_path, "val")
    assert found.class_keys == ("n01440764", "n01443537")
    assert found.class_names == ("tench", "goldfish")
    assert found.labels.tolist() == [0, 1]
    assert found.images[0].key.startswith("n01440764")


def test_numbered_folders_come_in_the_order_of_numbers(tmp_path):
    for index in range(12):
        write_photo(tmp_path / "test" / str(index) / "a.jpeg", index)
    found = read_labelled(tmp_path, "test")
    assert found.class_keys == tuple(map(str, range(12)))
    assert found.labels.tolist() == list(range(12))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_webdataset_of_clip_benchmark(tmp_path, mode):
    files = {}
    for index in range(4):
        files |= {f"s{index}.webp": jpeg(index), f"s{index}.cls": str(index % 2).encode()}
    write_tar(tmp_path / "test" / "0.tar", files, mode)
    (tmp_path / "classnames.txt").write_text("red\nblue\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c} photo.\n")
    found = read_labelled(tmp_path, "test")
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.class_names == ("red", "blue")
    assert found.templates == ("a {} photo.",)
    assert [image.read() for image in found.images] == [jpeg(index) for index in range(4)]
    assert isinstance(found.images[0].source, TarSlice) == (mode == "w")  # a plain tar is not held in memory


@pytest.mark.parametrize("folder", ["./", "wds.v1/", "./a.b/c/"])
def test_folders_in_a_tar_may_have_dots(tmp_path, folder):
    """As `tar -C FOLDER -cf x.tar .` writes them; files whose own name begins with a dot are no samples."""
    files = {
        f"{folder}._0001.jpg": b"of another system",
        f"{folder}0001.jpg": jpeg(1),
        f"{folder}0001.cls": b"0",
    }
    files |= {f"{folder}0002.jpg": jpeg(2), f"{folder}0002.cls": b"1", f"{folder}README": b"no sample"}
    write_tar(tmp_path / "test" / "0.tar", files)
    found = read_labelled(tmp_path, "test")
    assert found.labels.tolist() == [0, 1]
    assert [image.key for image in found.images] == ["0001", "0002"]
    assert [image.read() for image in found.images] == [jpeg(1), jpeg(2)]
    keys = [sample.key for sample in read_shard(tmp_path / "test" / "0.tar")]
    assert keys == [f"{folder}0001", f"{folder}0002"]


def test_tars_without_pictures(tmp_path):
    write_tar(tmp_path / "test" / "0.tar", {"a.cls": b"0", "b.cls": b"1"})
    with pytest.raises(InvalidInput, match=r"no file of \*\.tar\* is called KEY\.jpg or KEY\.jpeg"):
        read_labelled(tmp_path, "test")


def test_parquet_of_datasets(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rows = [{"bytes": jpeg(index), "path": f"{index}.jpg"} for index in range(3)]
    table = pyarrow.table({"image": rows, "label": [1, 0, 1]})
    features = {"info": {"features": {"label": {"names": ["cat, house cat", "dog"], "_type": "ClassLabel"}}}}
    (tmp_path / "data").mkdir()
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, tmp_path / "data" / "validation-00000-of-00001.parquet")
    found = read_labelled(tmp_path, "validation")
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.images[1].read() == jpeg(1)


def test_names_of_classes_in_parquet_are_those_of_the_label(tmp_path):
    """Other columns have classes as well; and a list beside the data has one name a line, commas or not."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rows = [{"bytes": jpeg(index), "path": None} for index in range(2)]
    table = pyarrow.table({"image": rows, "source": [0, 0], "label": [1, 0]})
    names = {"source": ["web", "camera", "film"], "label": ["cat", "dog"]}
    features = {column: {"names": each, "_type": "ClassLabel"} for column, each in names.items()}
    described = json.dumps({"info": {"features": features}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": described}), tmp_path / "test.parquet")
    found = read_labelled(tmp_path, "test")
    assert (found.class_names, found.labels.tolist()) == (("cat", "dog"), [1, 0])
    (tmp_path / "classnames.txt").write_text("a cat, asleep\na dog\n")
    assert read_labelled(tmp_path, "test").class_names == ("a cat, asleep", "a dog")


def test_several_classes_an_image(tmp_path):
    """As clip_benchmark's tars and as lists in Parquet."""
    files = {}
    for index, present in enumerate(([1, 0, 1], [0, 1, 0])):
        buffer = io.BytesIO()
        np.save(buffer, np.array(present))
        files |= {f"s{index}.jpg": jpeg(index), f"s{index}.npy": buffer.getvalue()}
    write_tar(tmp_path / "tars" / "test" / "0.tar", files)
    found = read_labelled(tmp_path / "tars", "test")
    assert found.labels.tolist() == [[True, False, True], [False, True, False]]
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    rows = [{"bytes": jpeg(index), "path": None} for index in range(2)]
    table = pyarrow.table({"image": rows, "labels": [[0, 2], []]})
    names = {"names": ["cat", "dog", "hat"], "_type": "ClassLabel"}
    for feature in ({"feature": names, "_type": "Sequence"}, [names]):
        described = json.dumps({"info": {"features": {"labels": feature}}})
        described = table.replace_schema_metadata({"huggingface": described})
        parquet.write_table(described, tmp_path / "test.parquet")
        found = read_labelled(tmp_path, "test")
        assert found.class_names == ("cat", "dog", "hat")
        assert found.labels.tolist() == [[True, False, True], [False, False, False]]


def box_sample(key: str, **objects) -> Sample:
    entries = [{"name": name, "box_xywh": box, "crowd": 0} for name, all_ in objects.items() for box in all_]
    content = json.dumps({"wh": [100, 100], "objects": entries}).encode()
    return Sample(ImageFile(key, b""), {"json": content})


def test_captions_from_boxes():
    """Numbers and places, and nothing where the boxes leave it open."""
    left, right, below, tiny = [0, 0, 20, 90], [60, 0, 30, 90], [0, 92, 30, 8], [50, 50, 2, 2]
    samples = [
        box_sample("a", dog=[left], bus=[right, below]),
        box_sample("b", person=[left] * 6, apple=[tiny], scissors=[right]),
        box_sample("c", cat=[left], apple=[right], tv=[below]),
    ]
    counted = list(counting_captions(samples))
    assert [(each.image.key, each.right) for each in counted] == [
        ("a", "one dog"), ("a", "two buses"), ("c", "one cat"), ("c", "one apple"), ("c", "one tv"),
    ]  # fmt: skip
    assert counted[1].wrong == ("one bus", "three buses", "four buses", "five buses")
    told = [(each.right, each.wrong) for each in relation_captions(samples)]
    assert ("an apple to the right of a cat", ("an apple to the left of a cat",)) in told
    assert ("a cat above a tv", ("a cat below a tv",)) in told
    assert len(told) == 2  # the apple and the tv are apart along both sides


def test_a_folder_of_none_of_them(tmp_path):
    with pytest.raises(InvalidInput, match="neither a folder for each class"):
        read_labelled(tmp_path, "val")


def test_coco_and_karpathy(tmp_path):
    coco = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 8, "caption": "two "}, {"image_id": 7, "caption": "one"}],
    }
    (tmp_path / "captions_val2017.json").write_text(json.dumps(coco))
    found = captioned.read_coco(tmp_path / "captions_val2017.json", tmp_path)
    assert found.captions == ["one", "two"]
    assert found.image_of_caption.tolist() == [0, 1]
    entries = [
        {
            "filepath": "val2014",
            "filename": "a.jpg",
            "split": "test",
            "sentences": [{"raw": "x"}, {"raw": "y"}],
        },
        {"filepath": "val2014", "filename": "b.jpg", "split": "train", "sentences": [{"raw": "z"}]},
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": entries}))
    write_photo(tmp_path / "val2014" / "a.jpg", 0)
    found = captioned.read_karpathy(tmp_path / "dataset_coco.json", tmp_path)
    assert found.captions == ["x", "y"]
    assert found.images[0].read() == jpeg(0)


def test_crossmodal3600_takes_every_caption(tmp_path):
    lines = [
        {"image/key": "k1", "de": {"caption": ["eins", "zwei", "drei"]}, "en": {"caption": ["one"]}},
        {"image/key": "k2", "de": {"caption": ["vier"]}},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert captioned.read_crossmodal3600(tmp_path, "de").captions == ["eins", "zwei", "drei", "vier"]
    english = captioned.read_crossmodal3600(tmp_path, "en")
    assert len(english.images) == 2
    assert english.take(np.array([0])).captions == ["one"]


def test_xtd10_and_its_faults(tmp_path):
    (tmp_path / "test_image_names.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "test_1kcaptions_ko.txt").write_text("하나\n둘\n")
    assert captioned.read_xtd10(tmp_path, "ko").captions == ["하나", "둘"]
    (tmp_path / "test_1kcaptions_it.txt").write_text("uno\n")
    with pytest.raises(InvalidInput, match="2 image names but 1 captions in it"):
        captioned.read_xtd10(tmp_path, "it")


def test_a_folder_with_a_table(tmp_path):
    (tmp_path / "captions.csv").write_text("path,caption\na.jpg,one\nb.jpg,two\na.jpg,three\n")
    found = captioned.read_table(tmp_path)
    assert found.captions == ["one", "three", "two"]
    assert found.image_of_caption.tolist() == [0, 0, 1]
    (tmp_path / "captions.csv").write_text("file,caption\na.jpg,one\n")
    with pytest.raises(InvalidInput, match="row 1: expected the columns path and caption"):
        captioned.read_table(tmp_path)


def test_masks_of_ade20k(tmp_path):
    mask = np.array([[0, 1], [2, 150]], np.uint8)
    write_photo(tmp_path / "images" / "x.jpg", 0)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "x.png").write_bytes(png(mask))
    found = dense.read_dense_folders(
        tmp_path / "images", tmp_path / "masks", lookup=dense.lookup_of(list(range(1, 151)))
    )
    assert next(found.masks()).tolist() == [[dense.IGNORE, 0], [1, 149]]
    with pytest.raises(InvalidInput, match="1 of 2 names have no picture or no PNG, such as y"):
        dense.read_dense_folders(tmp_path / "images", tmp_path / "masks", ["x", "y"])


def test_depth_in_tars(tmp_path):
    depth = np.array([[0, 1500]], np.uint16)
    write_tar(tmp_path / "test-0.tar", {"f.jpg": jpeg(0), "f.depth.png": png(depth)})
    found = dense.read_dense_tars(tmp_path, "test", "depth.png", unit=0.001)
    assert next(found.depths()) == pytest.approx(np.array([[0, 1.5]]))


def write_refcoco(folder, refs) -> None:
    (folder / "refcoco").mkdir(parents=True)
    (folder / "refcoco" / "refs(unc).p").write_bytes(refs)
    instances = {
        "images": [{"id": 1, "file_name": "COCO_train2014_1.jpg", "width": 200, "height": 100}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "bbox": [20, 10, 40, 50]},
            {"id": 6, "image_id": 1, "category_id": 3, "bbox": [100, 0, 100, 100]},
        ],
    }
    (folder / "refcoco" / "instances.json").write_text(json.dumps(instances))


def test_refcoco_pickles(tmp_path):
    refs = [
        {
            "image_id": 1,
            "ann_id": 5,
            "split": "testA",
            "sentences": [{"raw": "left"}, {"raw": "the left one"}],
        }
    ]
    write_refcoco(tmp_path, pickle.dumps(refs, protocol=2))
    found = referring.read_refcoco(tmp_path, "refcoco", "unc", "testA")
    assert found.texts == ["left", "the left one"]
    assert found.boxes[0] == pytest.approx([0.1, 0.1, 0.3, 0.6])
    assert len(found.others[0]) == 2
    with pytest.raises(InvalidInput, match="no expressions"):
        referring.read_refcoco(tmp_path, "refcoco", "unc", "val")


class Dangerous:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_runs_something_is_refused(tmp_path, capsys):
    write_refcoco(tmp_path, pickle.dumps([Dangerous()]))
    with pytest.raises(InvalidInput, match=r"not a pickle of plain data: it asks for builtins\.print"):
        referring.read_refcoco(tmp_path, "refcoco", "unc", "val")
    assert "must not run" not in capsys.readouterr().out


def test_dollar_street_geode_and_landmarks(tmp_path):
    (tmp_path / "images_v2_imagenet_test.csv").write_text(
        'imageRelPath,imagenet_synonyms,income,country.name,region.id\na.jpg,"[2, 1]",100,Kenya,af\n'
        'b.jpg,"[0]",900,Italy,eu\nc.jpg,"[0]",300,Italy,eu\nd.jpg,"[0]",2000,Italy,eu\n'
    )
    street = places.read_dollar_street(tmp_path, ["x", "y", "z"])
    assert street.accepted is not None
    assert street.accepted[0].tolist() == [False, True, True]
    assert street.groups["income"].tolist() == ["quartile 1", "quartile 3", "quartile 2", "quartile 4"]
    (tmp_path / "index.csv").write_text(
        "file_path,object,region,ip_country\na/1.jpg,light_switch,Africa,Egypt\n"
    )
    assert places.read_geode(tmp_path).class_names == ("light switch",)
    (tmp_path / "train.csv").write_text("id,landmark_id\nabc1,10\nabd2,9\n")
    (tmp_path / "train_label_to_category.csv").write_text(
        "landmark_id,category\n9,http://commons.wikimedia.org/wiki/Category:Eiffel_Tower\n10,x/Category:Big_Ben\n"
    )
    landmarks = places.read_landmarks(tmp_path)
    assert landmarks.class_names == ("Eiffel Tower", "Big Ben")
    assert landmarks.labels.tolist() == [1, 0]
    assert str(landmarks.images[0].source).endswith("images/a/b/c/abc1.jpg")
    (tmp_path / "index.csv").write_text("file_path\nx\n")
    with pytest.raises(InvalidInput, match="no column object, region, ip_country"):
        places.read_geode(tmp_path)


def test_textcaps(tmp_path):
    entries = [{"image_id": "a", "reference_strs": ["a red sign ", "stop"]}] * 2
    (tmp_path / "TextCaps_0.1_val.json").write_text(json.dumps({"data": entries}))
    found = text_in_images.read_textcaps(tmp_path)
    assert found.captions == ["a red sign", "stop"]
    assert found.images[0].source == tmp_path / "train_images" / "a.jpg"


def test_hiertext_takes_legible_lines(tmp_path):
    lines = [
        {"text": "OPEN", "legible": True},
        {"text": "??", "legible": False},
        {"text": "9-5", "legible": True},
    ]
    entry = {"image_id": "a", "paragraphs": [{"lines": lines[:2]}, {"lines": lines[2:]}]}
    nothing = {"image_id": "b", "paragraphs": []}
    (tmp_path / "gt").mkdir()
    with gzip.open(tmp_path / "gt" / "validation.jsonl.gz", "wt") as file:
        json.dump({"annotations": [entry, nothing]}, file)
    found = text_in_images.read_hiertext(tmp_path)
    assert found.captions == ["OPEN 9-5"]
    assert len(found.images) == 2  # a picture without text is no query, but can be found


def test_scicap_and_its_missing_figures(tmp_path):
    captions, images = tmp_path / "SciCap-Caption-All" / "val", tmp_path / "SciCap-No-Subfig-Img" / "val"
    captions.mkdir(parents=True)
    images.mkdir(parents=True)
    for name in ("x", "with_subfigures"):
        entry = {"figure-ID": f"{name}.png", "0-originally-extracted": f" loss of {name}"}
        (captions / f"{name}.json").write_text(json.dumps(entry))
    with pytest.raises(InvalidInput, match="no caption in SciCap-Caption-All/val has its figure"):
        text_in_images.read_scicap(tmp_path)
    (images / "x.png").write_bytes(jpeg(0))
    assert text_in_images.read_scicap(tmp_path).captions == ["loss of x"]


def test_screen2words_takes_the_test_screens(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "test_screens.txt").write_text("7\n")
    (tmp_path / "screen_summaries.csv").write_text('screenId,summary\n7,"login, page"\n8,map\n7,sign in\n')
    found = text_in_images.read_screen2words(tmp_path)
    assert found.captions == ["login, page", "sign in"]
    assert found.images[0].source == tmp_path / "combined" / "7.jpg"


def test_navi_inverts_depth_and_knows_focal_lengths(tmp_path):
    scene = tmp_path / "3d_dollhouse_sink" / "multiview_00"
    (scene / "depth").mkdir(parents=True)
    described = {"camera": {"focal_length": 3000.0}, "image_size": [1000, 2000]}
    entries = [
        {"filename": f"00{i}.jpg", "split": split, **described} for i, split in enumerate(("train", "val"))
    ]
    (scene / "annotations.json").write_text(json.dumps(entries))
    # A level of 1,000 is the inverse of 655.35 mm, 0 is nothing.
    (scene / "depth" / "001.png").write_bytes(png(np.array([[0, 1000]], np.uint16)))
    found = read_navi(tmp_path, "val")
    assert [image.key for image in found.images] == ["3d_dollhouse_sink/multiview_00/001"]
    assert next(found.depths()) == pytest.approx(np.array([[0, 0.65535]]), rel=1e-5)
    assert found.take(np.array([0])).focals == pytest.approx([1.5])
    with pytest.raises(InvalidInput, match="no photograph of the split test"):
        read_navi(tmp_path, "test")
