"""Runs: what is measured is kept, what was embedded is not embedded again, and two runs can be compared."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.evals.conftest import jpeg, make_context, write_photo
from tests.evals.test_tasks import write_classes
from tests.tiny_model import write_tiny_model

from siglip2.cli.main import run
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.compare import compare_folders
from siglip2.evals.images import ImageFile
from siglip2.evals.intervals import mean, resampled, share
from siglip2.evals.metrics.segmentation import mean_iou
from siglip2.evals.published import published_value
from siglip2.evals.registry import SETS, all_tasks, choose_tasks
from siglip2.evals.report.table import explanations, print_report
from siglip2.evals.results import Outcome, read_results, write_result
from siglip2.evals.runner import TaskReport, run_tasks
from siglip2.similarity import to_unit_length


def test_cache_embeds_every_picture_once_whatever_its_name(encoder, tmp_path):
    images = [ImageFile(f"{index}", jpeg(index % 3)) for index in range(6)]
    cache = EmbeddingCache(encoder, tmp_path)
    first = cache.pooled(images)
    assert np.array_equal(first[:3], first[3:])
    again = EmbeddingCache(encoder, tmp_path)
    assert np.array_equal(again.pooled(images[::-1]), first[::-1])
    assert again.embedded == 0
    direct = encoder.embed_images([image.read() for image in images])
    assert to_unit_length(again.pooled(images)) == pytest.approx(direct, abs=1e-6)


def test_cache_of_patches_and_texts(encoder, tmp_path):
    cache = EmbeddingCache(encoder, tmp_path)
    images = [ImageFile("a", jpeg(0)), ImageFile("b", jpeg(1))]
    fresh, texts = list(cache.patches(images)), cache.texts(["one", "two", "one"])
    again = EmbeddingCache(encoder, tmp_path)
    for each, kept in zip(fresh, again.patches(images), strict=True):
        assert np.array_equal(each.features, kept.features)
        assert np.array_equal(each.pooled, kept.pooled)
    assert np.array_equal(again.texts(["one", "two", "one"]), texts)
    assert again.embedded == 0


def test_a_broken_picture_is_named(encoder):
    images = [ImageFile("good", jpeg(0)), ImageFile("bad.jpg", b"no picture")]
    with pytest.raises(InvalidImage, match=r"bad\.jpg"):
        EmbeddingCache(encoder, None).pooled(images)


def test_a_run_that_was_stopped_goes_on(encoder, tmp_path, monkeypatch):
    """What a killed run had embedded is there: rows are committed batch by batch."""
    images = [ImageFile(f"{index}", jpeg(index)) for index in range(40)]
    cache = EmbeddingCache(encoder, tmp_path)
    written = 0
    real = EmbeddingCache._write

    def killed(self, table, rows):
        nonlocal written
        real(self, table, rows)
        written += len(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(EmbeddingCache, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.pooled(images)
    monkeypatch.undo()
    again = EmbeddingCache(encoder, tmp_path)
    again.pooled(images)
    assert again.embedded == len(images) - written > 0


def test_an_equal_run_is_kept_and_another_is_not(context, tmp_path):
    write_classes(context.data / "tiny_imagenet")
    tasks = choose_tasks(["tiny_imagenet"])
    assert run_tasks(tasks, context, tmp_path)[0].state == "measured"
    assert run_tasks(tasks, context, tmp_path)[0].state == "kept"
    assert run_tasks(tasks, context, tmp_path, again=True)[0].state == "measured"
    assert run_tasks(tasks, replace(context, limit=5), tmp_path)[0].state == "measured"
    result = read_results(tmp_path)["tiny_imagenet"]
    assert result["identity"]["limit"] == 5
    assert result["measures"]["top_1"]["method"] == "Wilson"
    assert result["versions"]["numpy"] == np.__version__


def test_files_that_were_added_or_written_are_measured(encoder, context, tmp_path, capsys):
    folder = context.data / "tiny_imagenet"
    write_classes(folder)
    tasks = choose_tasks(["tiny_imagenet"])

    def measure() -> TaskReport:
        # A data set that was read is kept within a context.
        fresh = make_context(encoder, context.data, context.cache)
        return run_tasks(tasks, fresh, tmp_path, report=print_report)[0]

    assert measure().state == "measured"
    capsys.readouterr()
    assert measure().state == "kept"
    assert "tiny_imagenet: kept from an equal run" in capsys.readouterr().err
    write_classes(folder, count=15)
    report = measure()
    assert report.state == "measured"
    assert report.result is not None
    assert report.result["sizes"]["images"] == 15
    (folder / "val" / "kind 0" / "0.jpg").write_bytes(jpeg(77))
    assert measure().state == "measured"
    (folder / "val" / "kind 0" / "0.jpg").rename(folder / "val" / "kind 1" / "0.jpg")
    assert measure().state == "measured"
    (folder / "val" / "itself").symlink_to(folder)
    assert measure().state == "measured"


def test_names_in_other_languages_over_images_that_changed_are_measured(encoder, context, tmp_path):
    for index, wnid in enumerate(["n01440764", "n01443537"]):
        write_photo(context.data / "imagenet" / "val" / wnid / "0.jpg", index)
    (context.data / "multilingual").mkdir()
    names = {"DE": [[0, 1], ["Schleie", "Goldfisch"]]}
    (context.data / "multilingual" / "babel_imagenet.json").write_text(json.dumps(names))
    for state in ("measured", "kept"):
        assert run_tasks(choose_tasks(["babel_imagenet"]), context, tmp_path)[0].state == state
    write_photo(context.data / "imagenet" / "val" / "n01440764" / "1.jpg", 2)
    fresh = make_context(encoder, context.data, context.cache)
    assert run_tasks(choose_tasks(["babel_imagenet"]), fresh, tmp_path)[0].state == "measured"


def test_explain_says_what_a_switch_costs(encoder, context, tmp_path):
    write_classes(context.data / "tiny_imagenet", count=30)
    faulty = make_context(encoder, context.data, context.cache, templates="plain")

    def other(protocol):
        return replace(faulty, protocol=replace(protocol, image_preset=faulty.protocol.image_preset))

    (report,) = run_tasks(choose_tasks(["tiny_imagenet"]), faulty, tmp_path, explain=other, always=True)
    assert report.result is not None
    paper = all_tasks()["tiny_imagenet"].run(context).measures["top_1"].value
    assert report.result["explained"]["templates"] == pytest.approx(
        report.result["measures"]["top_1"]["value"] - paper
    )


def test_a_figure_that_differs_from_the_papers_is_explained(encoder, context, tmp_path, monkeypatch):
    """Only then, when nobody asks; what no switch explains is said as well."""
    write_classes(context.data / "tiny_imagenet", count=30)
    faulty = make_context(encoder, context.data, context.cache, templates="plain")
    (task,) = choose_tasks(["tiny_imagenet"])
    measured = task.run(faulty).measures["top_1"].value
    for published, states in ((measured, False), (0.0, True)):
        monkeypatch.setattr("siglip2.evals.runner._published", lambda *_, p=published: {"top_1": p})
        (report,) = run_tasks([task], faulty, tmp_path / str(states), explain=lambda _: context)
        assert report.result is not None
        lines = explanations(report.result)
        assert bool(report.result["explained"]) == states
        assert bool(lines) == states
    assert "in the paper 0.00: templates accounts for" in lines[0]
    assert "stay unexplained by any switch" in lines[0]


def write_cases(folder, right):
    outcome = Outcome(measures={"top_1": share(np.asarray(right))}, sizes={"images": len(right)})
    circumstances = {"title": "t", "main": "top_1", "identity": {"precision": "float32"}}
    write_result(folder, "task", outcome, circumstances)


def test_compare_pairs_the_images(tmp_path):
    """Two points of difference on the same images: shown when paired, lost between two separate intervals."""
    rng = np.random.default_rng(0)
    first = rng.random(2000) < 0.6
    second = first.copy()
    second[np.flatnonzero(~first)[:40]] = True
    write_cases(tmp_path / "a", first)
    write_cases(tmp_path / "b", second)
    (found,) = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found.verdict == "higher"
    assert share(first).high > share(second).low
    (same,) = compare_folders(tmp_path / "a", tmp_path / "a")
    assert same.verdict == "no difference shown"
    write_cases(tmp_path / "c", second[:100])
    (other,) = compare_folders(tmp_path / "a", tmp_path / "c")
    assert other.verdict == "cannot be paired"
    with pytest.raises(InvalidInput, match="holds no results"):
        compare_folders(tmp_path / "a", tmp_path / "nothing")


def test_compare_pairs_means_over_kinds_kind_by_kind(tmp_path):
    """The second run is right where the first is wrong, in a tenth of each kind: nothing else moves."""
    kinds = np.repeat([0, 1], [900, 100])
    first, second = np.zeros(1000, bool), np.arange(1000) % 10 == 0
    for name, right in (("a", first), ("b", second)):
        outcome = Outcome(measures={"accuracy": mean(right, kinds=kinds)}, sizes={"cases": 1000})
        write_result(tmp_path / name, "task", outcome, {"title": "t", "main": "accuracy", "identity": {}})
    (found,) = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found.second == pytest.approx(0.1)
    measured = mean(second, kinds=kinds)
    assert (found.low, found.high) == pytest.approx((measured.low, measured.high))
    write_cases(tmp_path / "a", second)
    outcome = Outcome(measures={"top_1": mean(second, kinds=kinds)}, sizes={"images": 1000})
    write_result(tmp_path / "b", "task", outcome, {"title": "t", "main": "top_1", "identity": {}})
    (other,) = compare_folders(tmp_path / "a", tmp_path / "b")
    assert other.verdict == "cannot be paired"


def test_compare_pairs_resamples_of_what_is_no_mean(tmp_path):
    """Masks of the same images: both runs draw the same ones, so that their hard images cancel out."""
    rng = np.random.default_rng(1)
    unions = rng.uniform(50, 100, (80, 3))
    first = unions * np.clip(rng.normal(0.5, 0.2, (80, 1)), 0, 1)
    for name, overlap in (("a", first), ("b", np.minimum(1.03 * first, unions))):
        miou = resampled(lambda w, o=overlap: mean_iou(w @ o, w @ unions), 80)
        outcome = Outcome(measures={"miou": miou}, sizes={"images": 80})
        write_result(tmp_path / name, "task", outcome, {"title": "t", "main": "miou", "identity": {}})
    (found,) = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found.verdict == "higher"
    assert found.low is not None
    assert found.high is not None
    separate = [read_results(tmp_path / name)["task"]["measures"]["miou"] for name in "ab"]
    assert separate[0]["high"] > separate[1]["low"]
    assert found.low < found.second - found.first < found.high


def test_published_figures():
    assert published_value("google/siglip2-base-patch16-256", "imagenet", "top_1") == pytest.approx(0.791)
    assert published_value("base-patch16-256", "coco", "text_to_image_hit@1") == pytest.approx(0.532)
    assert published_value("google/siglip2-base-patch16-naflex", "imagenet", "top_1", 1024) == pytest.approx(
        0.804
    )
    assert published_value("so400m-patch14-384", "nyuv2_depth", "rmse") == pytest.approx(0.466)
    assert published_value("nano", "imagenet", "top_1") is None


def test_every_published_column_has_a_task():
    from siglip2.evals.published import published_figures

    elsewhere = {"textcaps", "hiertext", "scicap", "screen2words", "navi_depth", "navi_normals"}
    columns = {key.split(":")[0] for figures in published_figures().values() for key in figures}
    assert columns - elsewhere <= {task.published for task in all_tasks().values()}
    for names in SETS.values():
        assert choose_tasks(names.split())


def test_the_command_from_files_to_a_page(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model")
    write_classes(tmp_path / "data" / "tiny_imagenet", count=24)
    for split in ("train",):
        write_classes(tmp_path / "data" / "tiny_imagenet", count=30, split=split)
    options = [
        "--data",
        str(tmp_path / "data"),
        "--output",
        str(tmp_path / "eval"),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert run(["eval", str(model), "--tasks", "tiny_imagenet", "tiny_imagenet_10shot", *options]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["tiny_imagenet", "top_1"]
    folder = tmp_path / "eval" / model.name
    assert run(["eval", str(model), "--tasks", "coco", *options]) == 1
    assert "COCO captions, Karpathy test split is not in" in capsys.readouterr().err
    assert run(["eval", "compare", str(folder), str(folder)]) == 0
    assert "no difference shown" in capsys.readouterr().out
    assert run(["eval", "report", str(folder), "--output", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Tiny ImageNet 10-shot" in page
    assert page.count("data:image/png") == 2
    assert json.loads((folder / "tiny_imagenet.json").read_text())["main"] == "top_1"


def test_models_of_one_name_have_folders_of_their_own(tmp_path, capsys, monkeypatch):
    """What `siglip2 train` writes is called `model` in every run."""
    write_classes(tmp_path / "data" / "tiny_imagenet", count=12)
    folders = [write_tiny_model(tmp_path / place, seed=seed) for seed, place in enumerate("ab")]
    options = ["--tasks", "tiny_imagenet", "--data", str(tmp_path / "data"), "--cache", str(tmp_path / "c")]
    options += ["--output", str(tmp_path / "eval")]
    for model in folders:
        assert run(["eval", str(model), *options]) == 0
    written = sorted((tmp_path / "eval").iterdir())
    assert [folder.name.partition("-")[0] for folder in written] == ["tiny", "tiny"]
    models = [read_results(folder)["tiny_imagenet"]["model"] for folder in written]
    assert models == [str(model) for model in folders]
    assert f"results go to {written[1]}" in capsys.readouterr().err
    # Each finds its own again, and another switch is no other model.
    for model in folders:
        assert run(["eval", str(model), "--preset", "transformers", *options]) == 0
    assert sorted((tmp_path / "eval").iterdir()) == written
    monkeypatch.chdir(folders[0])
    assert run(["eval", ".", *options]) == 0
    assert sorted((tmp_path / "eval").iterdir()) == written


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    write_classes(tmp_path / "data" / "tiny_imagenet", count=12)
    for seed, place in enumerate("xy"):
        model = write_tiny_model(tmp_path / place, seed=seed)
        options = [
            "--tasks",
            "tiny_imagenet",
            "--data",
            str(tmp_path / "data"),
            "--cache",
            str(tmp_path / "c"),
        ]
        assert run(["eval", str(model), *options, "--output", str(tmp_path / f"eval_{place}")]) == 0
    folders = [str(tmp_path / f"eval_{place}" / "tiny") for place in "xy"]
    assert run(["eval", "report", *folders, folders[0], "--output", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Evaluation of eval_x/tiny, eval_y/tiny<" in page


WITHOUT_TORCH = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name="torch")
sys.meta_path.insert(0, Hidden())
from siglip2.cli.main import main
main(sys.argv[1:])
"""


def test_tasks_that_train_nothing_need_no_torch(tmp_path):
    """In a process where torch cannot be imported: classification, few-shot and retrieval."""
    model = write_tiny_model(tmp_path / "model")
    write_classes(tmp_path / "data" / "tiny_imagenet", count=12)
    write_classes(tmp_path / "data" / "tiny_imagenet", count=36, split="train")
    arguments = [
        "eval",
        str(model),
        "--runtime",
        "openvino",
        "--tasks",
        "tiny_imagenet",
        "tiny_imagenet_10shot",
    ]
    arguments += [
        "--data",
        str(tmp_path / "data"),
        "--output",
        str(tmp_path / "eval"),
        "--cache",
        str(tmp_path / "c"),
    ]
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "tiny_imagenet_10shot\ttop_1" in finished.stdout


def test_mistakes_on_the_command_line(tmp_path, capsys):
    with pytest.raises(InvalidInput, match="there is no task 'imagenett', did you mean imagenet"):
        run(["eval", "nano", "--tasks", "imagenett"])
    with pytest.raises(InvalidInput, match="--data names the one that holds a folder for each data set"):
        run(["eval", "nano", "--data", str(tmp_path / "nowhere")])
    with pytest.raises(InvalidInput, match="compare takes two folders"):
        run(["eval", "compare", str(tmp_path)])
    # The model is the first word here, and its pixels are those of --preset.
    for option in (["--model", "nano"], ["--image-preset", "timm"]):
        with pytest.raises(SystemExit, match="2"):
            run(["eval", "nano", "--data", str(tmp_path), *option])
        assert f"nrecognized options: {option[0]}" in capsys.readouterr().err
