"""The commands on a tiny model: formats, exit codes, what is left when something goes wrong."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglip2.cli import main as command_line
from siglip2.config import PUBLISHED
from siglip2.encoder import Encoder, load
from tiny_model import random_photo, write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A working folder with `photos/`: three images, one of them deeper, and a text file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for index, name in enumerate(["a.png", "b.JPG", "deeper/c.webp"]):
        Image.fromarray(random_photo(index)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return Path("photos")


@pytest.fixture
def siglip2(capsys, model):
    """Runs a command in this process; gives exit code, standard output and standard error."""

    def run(*arguments: str, with_model: bool = True) -> tuple[int, str, str]:
        chosen = ["--model", model, "--runtime", "openvino", "--precision", "float32"] if with_model else []
        with pytest.raises(SystemExit) as exit_info:
            command_line.main([*arguments, *chosen])
        output = capsys.readouterr()
        assert isinstance(exit_info.value.code, int)
        return exit_info.value.code, output.out, output.err

    return run


LABELS = ("--labels", "a cat", "a dog", "the moon")


def test_classify_prints_tab_separated_lines_in_a_pipe(siglip2, photos):
    code, out, err = siglip2("classify", str(photos), *LABELS)
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == 9
    assert sorted({row[0] for row in rows}) == ["photos/a.png", "photos/b.JPG", "photos/deeper/c.webp"]
    for _, label, score, probability, logit in rows:
        assert label in LABELS
        assert float(probability) == pytest.approx(1 / (1 + np.exp(-float(logit))), rel=1e-3)
        assert 0 < float(score) < 1
    assert sum(float(row[2]) for row in rows[:3]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "command",
    [
        ("classify", *LABELS),
        ("score", "--texts", "a cat"),
        ("features", "--phrase", "a cat", "--output-dir", "."),
    ],
    ids=lambda command: command[0],
)
def test_one_tower_is_held_at_a_time(siglip2, photos, monkeypatch, command):
    from siglip2.runtime.openvino import OpenVinoRuntime

    held: list[tuple[bool, bool]] = []
    encode_images = OpenVinoRuntime.encode_images

    def watched(self, batch, **options):
        features = encode_images(self, batch, **options)
        held.append((self._vision._compiled is not None, self._text._compiled is not None))
        return features

    monkeypatch.setattr(OpenVinoRuntime, "encode_images", watched)
    name, *options = command
    assert siglip2(name, str(photos), *options)[0] == 0
    assert set(held) == {(True, False)}


def test_classify_as_json_and_csv(siglip2, photos):
    code, out, _ = siglip2("classify", "photos/a.png", *LABELS, "--json", "--top-k", "2")
    assert code == 0
    content = json.loads(out)
    assert content["photo"] == "photos/a.png"
    assert [set(each) for each in content["predictions"]] == [{"label", "logit", "probability", "score"}] * 2
    _, out, _ = siglip2("classify", "photos/a.png", *LABELS, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["label"] for row in rows[:2]] == [each["label"] for each in content["predictions"]]
    assert float(rows[0]["logit"]) == pytest.approx(content["predictions"][0]["logit"])
    code, _, err = siglip2("classify", "photos/a.png", *LABELS, "--csv", "--json")
    assert code == 2
    assert "--json and --csv" in err


def test_patterns_and_repetitions(siglip2, photos):
    names = ("photos/*.png", "photos/a.png", "photos/**/*.webp")
    _, out, _ = siglip2("classify", *names, *LABELS, "--top-k", "1")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["photos/a.png", "photos/deeper/c.webp"]


def test_labels_from_a_file_with_own_prompts(siglip2, photos):
    Path("labels.txt").write_text("a cat\n\nthe moon\tmoonlight\tfull moon\n", encoding="utf-8-sig")
    code, out, _ = siglip2("classify", "photos/a.png", "--labels", "a dog", "--labels-file", "labels.txt")
    assert code == 0
    assert {line.split("\t")[1] for line in out.splitlines()} == {"a cat", "a dog", "the moon"}
    _, plain, _ = siglip2("classify", "photos/a.png", *LABELS)
    assert plain != out


def test_options_reach_the_classifier(siglip2, photos):
    _, out, _ = siglip2("classify", "photos/a.png", *LABELS, "--threshold", "1", "--multi-label")
    assert [line.split("\t")[1] for line in out.splitlines()] == ["none of these"]
    _, plain, _ = siglip2("classify", "photos/a.png", *LABELS)
    _, drawn, _ = siglip2("classify", "photos/a.png", *LABELS, "--template", "a drawing of a {}", "{}")
    _, named, _ = siglip2("classify", "photos/a.png", *LABELS, "--template", "clip8")
    assert len({plain, drawn, named}) == 3


def test_saved_classifier(siglip2, photos, model):
    from siglip2.classify import ZeroShotClassifier

    classifier = ZeroShotClassifier(load(model, runtime="openvino", precision="float32"), ["a cat", "a dog"])
    best = classifier.classify([photos / "a.png"])[0][0].label
    classifier.calibrate([photos / "a.png"], [best])
    classifier.save("classifier.json")
    _, out, _ = siglip2("classify", "photos/a.png", "--classifier", "classifier.json", "--top-k", "1")
    [expected] = classifier.classify(["photos/a.png"])
    assert float(out.split("\t")[4]) == pytest.approx(expected[0].logit, rel=1e-4)
    code, _, err = siglip2("classify", "photos/a.png", "--classifier", "classifier.json", *LABELS)
    assert code == 2
    assert "beside it" in err


def test_broken_photos_are_named_at_the_end_and_the_rest_is_done(siglip2, photos):
    (photos / "broken.jpg").write_bytes(b"nonsense")
    code, out, err = siglip2("classify", "photos", "nowhere.jpg", *LABELS, "--top-k", "1")
    assert code == 1
    assert len(out.splitlines()) == 3
    assert "2 of 5 photos" in err
    assert "broken.jpg" in err
    assert "nowhere.jpg" in err
    code, out, _ = siglip2("classify", "photos/broken.jpg", *LABELS)
    assert (code, out) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "photos"), "give labels"),
        (("classify", *LABELS), "name at least one photo"),
        (("classify", "empty", *LABELS), "holds no image"),
        (("classify", "none*.png", *LABELS), "fits the pattern"),
        (("classify", "photos", "--labels", "a", "a"), "given twice"),
        (("classify", "photos", "--labels-file", "nowhere.txt"), "cannot be read"),
        (("classify", "photos", *LABELS, "--template", "cat"), "template"),
        (("classify", "photos", *LABELS, "--max-num-patches", "9"), "NaFlex"),
        (("score", "photos"), "give texts"),
        (("embed", "--output", "x.npz"), "either photos or --texts"),
        (("embed", "photos", "--texts", "a", "--output", "x.npz"), "either photos or --texts"),
        (("embed", "photos", "--output", "x.txt"), "must end in"),
        (("embed", "photos", "--output", "no/x.npz"), "no folder"),
        (("features", "photos", "--output-dir", "f", "--phrase", " "), "empty"),
    ],
)
def test_mistakes_end_in_a_sentence_and_code_2(siglip2, photos, arguments, message):
    Path("empty").mkdir()
    code, out, err = siglip2(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("siglip2: ")
    assert message in err
    assert "Traceback" not in err


def test_unknown_commands_and_models_get_a_sentence(siglip2, photos):
    code, _, err = siglip2("clasify", with_model=False)
    assert code == 2
    assert "did you mean classify?" in err
    code, _, err = siglip2("classify", "photos", *LABELS, "--model", "./nowhere", with_model=False)
    assert code == 2
    assert "./nowhere" in err
    assert siglip2("classify", "photos", "--lables", "a", with_model=False)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("features", "photos/a.png", "--model", "nano", "--output-dir", "file"), "file is a file"),
        (("convert", "nano", "file"), "file is a file, and a folder is needed"),
        (("convert", "nano", "file/below"), "file/below lies below a file"),
        (("export", "nano", "--output", "file"), "file is a file, and a folder is needed"),
        (("demo", "--output", "x.xyz"), "x.xyz must end in .png"),
        (("demo", "--output", "file/x.png"), "file is a file, and a folder is needed"),
        (("embed", "--texts", "a", "--output", "folder.npz"), "folder.npz is a folder; name a file"),
    ],
)
def test_outputs_that_cannot_be_written_get_a_sentence(siglip2, photos, arguments, message):
    Path("file").write_text("mine")
    Path("folder.npz").mkdir()
    if arguments[0] == "demo":
        pytest.importorskip("skimage", reason="needs the extra siglip2[demo]")
    code, _, err = siglip2(*arguments, with_model=False)
    assert code == 2
    assert err.startswith("siglip2: ")
    assert message in err
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize(
    "fault", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file", "assets/x")]
)
def test_errors_of_the_system_that_are_about_no_path_of_the_user_stay_faults(monkeypatch, fault):
    def run(_arguments):
        raise fault

    monkeypatch.setattr(command_line, "run", run)
    with pytest.raises(type(fault)):
        command_line.main(["models"])


def test_score_compares_pairs(siglip2, photos, model):
    code, out, _ = siglip2("score", "photos/a.png", "--texts", "a cat", "The moon.")
    assert code == 0
    encoder = load(model, runtime="openvino", precision="float32")
    expected = encoder.score(["photos/a.png"], ["a cat", "The moon."])
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[:2] for row in rows] == [["photos/a.png", "a cat"], ["photos/a.png", "The moon."]]
    np.testing.assert_allclose([float(row[3]) for row in rows], expected.logit[0], rtol=1e-4)
    _, out, _ = siglip2("score", "photos/a.png", "--texts", "a cat", "--json")
    assert json.loads(out)["scores"][0].keys() == {"text", "probability", "logit"}


def test_embed_writes_npz(siglip2, photos, model):
    (photos / "broken.jpg").write_bytes(b"nonsense")
    code, _, err = siglip2("embed", "photos", "--output", "vectors.npz")
    assert code == 1
    assert "broken.jpg" in err
    encoder = load(model, runtime="openvino", precision="float32")
    with np.load("vectors.npz") as file:
        names, embeddings = file["names"].tolist(), file["embeddings"]
        assert str(file["fingerprint"]) == encoder.fingerprint
    assert names == ["photos/a.png", "photos/b.JPG", "photos/deeper/c.webp"]
    np.testing.assert_allclose(embeddings, encoder.embed_images(names), atol=1e-5)
    siglip2("embed", "--texts", "a cat", "é", "--output", "texts.npz")
    with np.load("texts.npz") as file:
        assert file["names"].tolist() == ["a cat", "é"]
        np.testing.assert_allclose(file["embeddings"], encoder.embed_texts(["a cat", "é"]), atol=1e-5)


@pytest.mark.parametrize("name", ["vectors.npz", "vectors.parquet"])
@pytest.mark.parametrize("mistake", [("photo/a.png",), ("photos", "--max-num-patches", "9")])
def test_embed_without_any_vector_leaves_an_older_file_alone(siglip2, photos, name, mistake):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow.parquet", reason="needs the extra siglip2[parquet]")
    before = set(Path().iterdir())
    code, out, _ = siglip2("embed", *mistake, "--output", name)
    assert (code, out) == (2, "")
    assert set(Path().iterdir()) == before
    siglip2("embed", "photos", "--output", name)
    good = Path(name).read_bytes()
    assert siglip2("embed", *mistake, "--output", name)[0] == 2
    assert Path(name).read_bytes() == good


def test_embed_writes_parquet(siglip2, photos, model):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra siglip2[parquet]")
    assert siglip2("embed", "photos", "--output", "vectors.parquet", "--batch-size", "2")[0] == 0
    table = parquet.read_table("vectors.parquet")
    assert table.column_names == ["name", "embedding"]
    encoder = load(model, runtime="openvino", precision="float32")
    assert table.schema.metadata[b"fingerprint"].decode() == encoder.fingerprint
    embeddings = np.stack([np.array(row, np.float32) for row in table["embedding"].to_pylist()])
    np.testing.assert_allclose(embeddings, encoder.embed_images(table["name"].to_pylist()), atol=1e-5)


def test_ctrl_c_leaves_finished_results(siglip2, photos, monkeypatch):
    whole = Encoder.stream_images

    def interrupted(self, images, **options):
        yield next(whole(self, images, **{**options, "batch_size": 2}))
        raise KeyboardInterrupt

    monkeypatch.setattr(Encoder, "stream_images", interrupted)
    code, out, _ = siglip2("classify", "photos", *LABELS, "--top-k", "1")
    assert code == 130
    assert len(out.splitlines()) == 2
    code, _, _ = siglip2("embed", "photos", "--output", "vectors.npz")
    assert code == 130
    with np.load("vectors.npz") as file:
        assert file["embeddings"].shape == (2, 32)
    assert not list(Path().glob("*.partial"))


def test_features_writes_arrays_and_heat_maps(siglip2, photos):
    (photos / "deeper" / "a.png").write_bytes((photos / "b.JPG").read_bytes())
    code, out, _ = siglip2("features", "photos", "--output-dir", "out", "--phrase", "a cat")
    assert code == 0
    assert len(out.splitlines()) == 4
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        f"{stem}.{ending}" for stem in ("a", "a-2", "b", "c") for ending in ("npz", "heat.png")
    )
    with np.load("out/a.npz") as file:
        assert file["features"].shape == (4, 4, 32)
        assert file["similarity"].shape == (4, 4)
        assert file["attention"].shape == (4, 4)
    with Image.open("out/a.heat.png") as picture:
        assert picture.size == (52, 40)
    # One photo runs at a time, so that there is no batch whose size could be chosen.
    assert siglip2("features", "photos", "--output-dir", "none", "--batch-size", "2")[0] == 2
    siglip2("features", "photos/a.png", "--output-dir", "plain")
    assert [path.name for path in Path("plain").iterdir()] == ["a.npz"]
    siglip2("features", "photos/a.png", "--output-dir", "looks", "--attention")
    assert sorted(path.name for path in Path("looks").iterdir()) == ["a.attention.png", "a.npz"]


def test_models_lists_every_checkpoint(siglip2):
    code, out, _ = siglip2("models", with_model=False)
    assert code == 0
    rows = {line.split("\t")[0]: line.split("\t") for line in out.splitlines()}
    assert rows.keys() == {checkpoint.hub_id for checkpoint in PUBLISHED} | {"nano"}
    base = ["256 px", "375 M", "1.5 GB", "79.1", "53.2", "69.7"]
    assert rows["google/siglip2-base-patch16-256"][1:] == base
    assert rows["google/siglip2-base-patch16-naflex"][1] == "any"


def test_demo_draws_a_picture(siglip2, tmp_path, monkeypatch):
    pytest.importorskip("skimage", reason="needs the extra siglip2[demo]")
    monkeypatch.chdir(tmp_path)
    code, out, _ = siglip2("demo", "--top-k", "2")
    assert code == 0
    assert len(out.splitlines()) == 9
    with Image.open("demo/demo.png") as picture:
        assert picture.width > picture.height


def test_terminals_get_tables_with_bars(capsys, monkeypatch):
    from siglip2.cli.classify import COLUMNS
    from siglip2.cli.output import open_writer

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    writer = open_writer(COLUMNS, as_json=False, as_csv=False, texts=["[b]cat", "dog"])
    row = {"label": "[b]cat", "score": 0.75, "probability": 0.0004, "logit": -7.82}
    writer.write("photo [1].jpg", [row])
    writer.write("other.jpg", [row | {"label": "dog"}])
    out = capsys.readouterr().out
    assert "photo [1].jpg" in out
    assert "[b]cat" in out
    assert "75.0 %" in out
    assert "█" in out
    assert out.count("probability") == 1


def test_help_and_version_import_next_to_nothing():
    code = (
        "import sys\nfrom siglip2.cli.main import run\nrun(sys.argv[1:])\n"
        "heavy = ('numpy', 'openvino', 'PIL', 'tyro', 'rich', 'tokenizers', 'huggingface_hub', 'torch')\n"
        "assert not [name for name in heavy if name in sys.modules]"
    )
    for arguments, expected in ((["--help"], "classify"), ([], "classify"), (["--version"], "siglip2 0.")):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


@pytest.mark.parametrize("command", [command.name for command in command_line.COMMANDS])
def test_every_command_explains_itself(siglip2, command):
    code, out, _ = siglip2(command, "--help", with_model=False)
    assert code == 0
    assert f"siglip2 {command}" in out


def test_a_reader_that_stops_early_causes_no_traceback(photos, model):
    options = f'--labels "a cat" "a dog" --model {model} --runtime openvino --csv --batch-size 1'
    done = subprocess.run(
        f"{sys.executable} -m siglip2.cli.main classify photos {options} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "photo,label,score,probability,logit"
    assert "Traceback" not in done.stderr
