"""A data set that is not laid out as it should be costs its own task, with a sentence, and no other."""

import gzip
import json

import numpy as np
import pytest
from tests.evals.conftest import jpeg, write_photo
from tests.evals.test_formats import png, write_tar
from tests.evals.test_tasks import write_classes

from siglip2.cli.main import run
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.evals.formats import captioned, places, referring, text_in_images
from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.formats.labelled import read_labelled
from siglip2.evals.formats.navi import read_navi
from siglip2.evals.formats.shards import read_samples
from siglip2.evals.formats.text_files import read_csv, read_json, read_json_lines, read_text
from siglip2.evals.images import ImageFile
from siglip2.evals.readers import camvid
from siglip2.evals.registry import all_tasks, choose_tasks
from siglip2.evals.results import read_results
from siglip2.evals.runner import run_tasks
from siglip2.evals.tasks.babel_imagenet import BabelImageNet

TABLES = {
    "captions.csv": (
        ("path,caption\na.jpg,Gr\xfc\xdfe\n".encode("latin-1"), r"captions\.csv is no UTF-8, byte 21"),
        (b'path,caption\n"a.jpg', "expected the columns path and caption"),
    ),
    "captions.jsonl": (
        (b'{"path": "a.jpg", "caption": "one"}\n{"path": \n', r"captions\.jsonl, line 2, holds no JSON"),
        (
            b'{"path": "a.jpg", "caption": ["one", "two"]}\n',
            "row 1: path and caption are to be one text each",
        ),
        (b'["a.jpg", "one"]\n', "expected to hold a JSON object a line"),
    ),
}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [(name, content, sentence) for name, cases in TABLES.items() for content, sentence in cases],
)
def test_a_faulty_table_of_captions_and_the_rest_goes_on(context, tmp_path, name, content, sentence):
    write_classes(context.data / "tiny_imagenet")
    (context.data / "captions").mkdir()
    (context.data / "captions" / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=sentence):
        all_tasks()["captions"].run(context)
    states = run_tasks(choose_tasks(["captions", "tiny_imagenet"]), context, tmp_path / "out")
    assert [each.state for each in states] == ["failed", "measured"]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.json cannot be read: No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'{"a": 1}')[:-9])
    with pytest.raises(InvalidInput, match=r"a\.json\.gz cannot be read"):
        read_json(tmp_path / "a.json.gz")
    (tmp_path / "a.txt.gz").write_bytes(b"not compressed")
    with pytest.raises(InvalidInput, match=r"a\.txt\.gz cannot be read"):
        read_text(tmp_path / "a.txt.gz")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="has no column c"):
        read_csv(tmp_path / "a.csv", ("a", "c"))
    (tmp_path / "a.jsonl").write_text('{"text": "one\u2028two"}\n\n')
    assert read_json_lines(tmp_path / "a.jsonl") == [{"text": "one\u2028two"}]


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c"])
def test_a_line_ends_where_editors_and_csv_end_it(tmp_path, mark):
    """Unicode has more marks that part lines, and captions from the web hold them."""
    text = f"one{mark}two"
    (tmp_path / "captions.csv").write_text(
        f'path,caption\r\na.jpg,{text}\r\nb.jpg,"of\r\ntwo lines"\r\n', encoding="utf-8", newline=""
    )
    assert captioned.read_table(tmp_path).captions == [text, "of\r\ntwo lines"]
    (tmp_path / "test_image_names.txt").write_text("a.jpg\n\nb.jpg\n")
    (tmp_path / "test_1kcaptions_de.txt").write_text(f"{text}\r\nthree\r\n", encoding="utf-8", newline="")
    assert captioned.read_xtd10(tmp_path, "de").captions == [text, "three"]
    write_tar(tmp_path / "0.tar", {"a.jpg": jpeg(0), "a.txt": f"{text}\nthree".encode()})
    assert captioned.read_tars(read_samples(tmp_path)).captions == [text, "three"]


def test_entries_that_are_missing_name_the_file(tmp_path):
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": [{"split": "test"}]}))
    with pytest.raises(
        InvalidInput, match=r"dataset_coco\.json is not laid out as its publisher does: KeyErr"
    ):
        captioned.read_karpathy(tmp_path / "dataset_coco.json", tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"image/key": "k", "de": ["eins"]}')
    with pytest.raises(InvalidInput, match=r"captions\.jsonl is not laid out"):
        captioned.read_crossmodal3600(tmp_path, "de")
    (tmp_path / "TextCaps_0.1_val.json").write_text("[]")
    with pytest.raises(InvalidInput, match=r"TextCaps_0\.1_val\.json is not laid out"):
        text_in_images.read_textcaps(tmp_path)
    header = "imageRelPath,imagenet_synonyms,income\n"
    (tmp_path / "images_v2_imagenet_test.csv").write_text(header + 'a.jpg,"[1]",much\n')
    with pytest.raises(InvalidInput, match=r"images_v2_imagenet_test\.csv is not laid out"):
        places.read_dollar_street(tmp_path, ["a", "b"])
    for cut in ("b.jpg", 'b.jpg,"[1]"'):
        (tmp_path / "images_v2_imagenet_test.csv").write_text(f'{header}a.jpg,"[1]",9.5\n{cut}')
        with pytest.raises(InvalidInput, match=r"images_v2_imagenet_test\.csv, row 2, has no "):
            places.read_dollar_street(tmp_path, ["a", "b"])
    rows = "file_path,object,region,ip_country\na.jpg,hat,Asia,Japan\nb.jpg,hat\n"
    (tmp_path / "index.csv").write_text(rows)
    with pytest.raises(InvalidInput, match=r"index\.csv, row 2, has no region"):
        places.read_geode(tmp_path)
    (tmp_path / "train.csv").write_text("id,url,landmark_id\nabc,u,1\n")
    (tmp_path / "train_label_to_category.csv").write_text("landmark_id,category\n1\n")
    with pytest.raises(InvalidInput, match=r"train_label_to_category\.csv, row 1, has no category"):
        places.read_landmarks(tmp_path)
    (tmp_path / "one" / "scene").mkdir(parents=True)
    (tmp_path / "one" / "scene" / "annotations.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"annotations\.json holds no JSON"):
        read_navi(tmp_path, "val")


def test_faults_within_tars(tmp_path, context):
    write_tar(tmp_path / "test" / "0.tar", {"a.jpg": jpeg(0), "a.json": b"{"})
    with pytest.raises(InvalidInput, match=r"a\.json is missing or no JSON"):
        read_labelled(tmp_path, "test")
    write_tar(tmp_path / "test" / "0.tar", {"a.jpg": jpeg(0), "a.npy": b"\x93NUMPY"})
    with pytest.raises(InvalidInput, match=r"a\.npy is not laid out"):
        read_labelled(tmp_path, "test")
    write_tar(tmp_path / "test" / "0.tar", {"a.jpg": jpeg(0), "a.cls": b"-1"})
    with pytest.raises(InvalidInput, match="a label below 0"):
        read_labelled(tmp_path, "test")
    (context.data / "camvid").mkdir()
    (context.data / "camvid" / "classes.json").write_text('{"classes": []}')
    with pytest.raises(InvalidInput, match=r"classes\.json is not laid out"):
        camvid(context, all_tasks()["camvid"].data[0], "test")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_tar_that_is_damaged_in_its_midst_does_not_pass_for_a_shorter_one(tmp_path, zipped):
    path = tmp_path / "0.tar"
    files = {f"{index}.jpg": jpeg(index) for index in range(40)}
    write_tar(path, files)
    content = bytearray(path.read_bytes())
    if zipped:
        content = bytearray(gzip.compress(content))
    path.write_bytes(content)
    assert len(list(read_samples(tmp_path))) == 40
    at = len(content) // 2 if zipped else content.index(b"20.jpg")
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"0\.tar cannot be read as a tar"):
        list(read_samples(tmp_path))


@pytest.mark.parametrize("wrong", [{"target_box_xywh": [1, 2, 3]}, {"wh": [0, 100]}])
def test_expressions_whose_boxes_are_none(tmp_path, wrong):
    write_tar(tmp_path / "val-0.tar", {"a.jpg": jpeg(0), "a.json": b'{"coco_id": 7}'})
    box = [10, 10, 20, 20]
    entry = {"split": "val", "coco_id": 7, "expression": "the cat", "target_box_xywh": box, "wh": [100, 100]}
    entry |= {"same_category_boxes": [box]}
    path = tmp_path / "refexp_template.jsonl"
    path.write_text(json.dumps(entry))
    assert referring.read_expression_lines(tmp_path, "val").texts == ["the cat"]
    path.write_text(json.dumps(entry | wrong))
    with pytest.raises(InvalidInput, match=r"refexp_template\.jsonl is not laid out"):
        referring.read_expression_lines(tmp_path, "val")


def test_faulty_masks_and_depths():
    def images(content: bytes) -> DenseImages:
        return DenseImages(images=[], values=[ImageFile("a.png", content)])

    with pytest.raises(InvalidImage, match=r"a\.png is damaged or no picture"):
        next(images(b"no picture").masks())
    with pytest.raises(InvalidInput, match=r"a\.png is no mask: its numbers go from 0 to 300"):
        next(images(png(np.array([[0, 300]], np.uint16))).masks())
    with pytest.raises(InvalidInput, match=r"a\.png is no picture of depths"):
        next(images(jpeg(0)).depths())


def test_languages_without_an_image_under_a_limit_are_left_out(context):
    wnids = ["n01440764", "n01443537"]
    for index, wnid in enumerate(wnids):
        write_photo(context.data / "tiny_imagenet" / "val" / wnid / "0.jpg", index)
    (context.data / "multilingual").mkdir()
    names = {"DE": [[0, 1], ["Schleie", "Goldfisch"]], "EN": [[0, 1], ["tench", "goldfish"]]}
    path = context.data / "multilingual" / "babel_imagenet.json"
    path.write_text(json.dumps(names))
    task = all_tasks()["babel_tiny_imagenet"]
    assert isinstance(task, BabelImageNet)
    assert task.run(context).sizes["languages"] == 2
    names["FR"] = [[5, 6], ["a", "b"]]
    path.write_text(json.dumps(names))
    assert task.run(context).sizes["languages"] == 2


@pytest.mark.parametrize("faulty", [{"IT": [[0, 1], ["tinca"]]}, {"IT": {"0": "tinca"}}, [["tinca"]]])
def test_names_in_other_languages_that_are_not_paired_with_classes(context, faulty):
    write_photo(context.data / "tiny_imagenet" / "val" / "n01440764" / "0.jpg", 0)
    (context.data / "multilingual").mkdir()
    (context.data / "multilingual" / "babel_imagenet.json").write_text(json.dumps(faulty))
    with pytest.raises(InvalidInput, match=r"babel_imagenet\.json is not laid out"):
        all_tasks()["babel_tiny_imagenet"].run(context)


def test_places_whose_every_image_is_an_example(context):
    folder = context.data / "geode"
    rows = ["file_path,object,region,ip_country"]
    for index in range(6):
        write_photo(folder / "images" / f"{index}.jpg", index)
        rows.append(f"{index}.jpg,hat,region {index % 2},land {index % 2}")
    (folder / "index.csv").write_text("\n".join(rows))
    with pytest.raises(InvalidInput, match="all 6 images are among the 10 examples of each country"):
        all_tasks()["geode_country_10shot"].run(context)


def test_results_that_cannot_be_read_are_passed_over(context, tmp_path, caplog):
    write_classes(context.data / "tiny_imagenet")
    tasks, out = choose_tasks(["tiny_imagenet"]), tmp_path / "out"
    assert run_tasks(tasks, context, out)[0].state == "measured"
    written = (out / "tiny_imagenet.json").read_text()
    (out / "coco.json").write_text(written[:100])
    (out / "package.json").write_text('["measures", "task"]')
    assert list(read_results(out)) == ["tiny_imagenet"]
    assert "coco.json is passed over" in caplog.text
    assert run(["eval", "report", str(out), "--output", str(tmp_path / "page")]) == 0
    for spoilt in (written[:100], "[]", '{"task": "tiny_imagenet"}'):
        (out / "tiny_imagenet.json").write_text(spoilt)
        assert run_tasks(tasks, context, out)[0].state == "measured"
