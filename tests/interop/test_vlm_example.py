"""The worked vision-language model runs, learns, stops, goes on, and is worse with the wrong pictures."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "vlm"
MODULES = ("data", "model", "split", "measure", "train", "draw")


@pytest.fixture(scope="module")
def example():
    """The example's files as modules, gone again afterwards: their names are short."""
    pytest.importorskip("tyro")
    pytest.importorskip("matplotlib")
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in before.items() if module is not None})


@pytest.fixture
def options(example, shared_data, tmp_path):
    def make(**changes):
        small = dict(data=shared_data, out=tmp_path / "run", limit=24, batch_size=8, steps=4, warmup=2)
        return example["train"].Options(**(small | dict(threads=1, test_captions=1) | changes))

    threads = torch.get_num_threads()
    yield make
    torch.set_num_threads(threads)  # other tests of this process compare bits with processes of their own


@pytest.mark.parametrize("inputs", ["fixed", "naflex"])
@pytest.mark.parametrize("encoder", ["frozen", "trained"])
def test_loss_falls(example, options, inputs, encoder):
    found = example["train"].train(options(inputs=inputs, encoder=encoder, max_num_patches=16))
    assert found["curve"][-1] < found["curve"][0] - 0.3
    assert found["held_out"]["photographs"] == 24
    written = json.loads((options().out / "results.json").read_text())
    assert written["held_out"] == found["held_out"]


@pytest.mark.parametrize("num_blocks", [None, 5])
def test_a_photo_is_seen_whole_or_in_part_and_measured_whole(example, shared_data, num_blocks):
    module, data = example["model"], example["data"]
    samples = data.read_samples(shared_data, "train", native=False, limit=3)
    words = module.Words.used_in([samples[0].captions[0]])
    model = module.build("fixed", words, num_blocks=num_blocks)
    model.tower.requires_grad_(False)
    split = example["split"].Split(samples, {}, model, 16, cuts=2, tiles=2)
    assert len(split) == 3
    assert len(split.seen) == 9
    whole = example["split"].Split(samples, {}, model, 16, tiles=2)
    for ours, theirs in zip(split.look(model, [0, 1, 2]), whole.look(model, [0, 1, 2]), strict=True):
        assert (ours.features == theirs.features).all()
    random = example["train"].np.random.default_rng(0)
    views = {tuple(split.look(model, [1], random)[0].pooled[0].tolist()) for _ in range(40)}
    assert len(views) == 3


def test_tiles_are_the_parts_of_the_photo_twice_as_large(example):
    data, module = example["data"], example["model"]
    vision = module.load_tower("fixed").config
    image = data.Image.fromarray(data.np.random.default_rng(0).integers(0, 256, (90, 120, 3), "uint8"))
    tiled, whole = (data.to_picture(image, vision, 16, tiles) for tiles in (2, 1))
    side, grid = vision.image_size, vision.position_grid
    assert tiled.patches.shape == (5, grid**2, 768)
    assert tiled.grid == whole.grid == (grid, grid)
    assert (tiled.patches[0] == whole.patches[0]).all()
    large = data.np.asarray(image.resize((2 * side, 2 * side), data.Image.Resampling.BILINEAR))
    for index, (top, left) in enumerate([(0, 0), (0, side), (side, 0), (side, side)]):
        part = large[top : top + side, left : left + side]
        assert (tiled.patches[1 + index] == data.patchify(part, 16)).all()


def test_shuffled_pictures_are_other_pictures(example, options):
    train, turn = example["train"], example["data"].Turn
    turns = [turn(picture=index, prompt="", answer="") for index in range(50)]
    own, other = (
        train.shown(turns, 50, options(pictures=pictures), train.np.random.default_rng(0))
        for pictures in ("own", "shuffled")
    )
    assert own == list(range(50))
    assert sum(a == b for a, b in zip(own, other, strict=True)) < 10


@pytest.mark.slow
def test_shuffled_pictures_are_learned_worse(example, options):
    """A planted fault: of photographs learned by heart, only seeing them tells which is which."""

    def learn(pictures: str) -> float:
        run = options(
            pictures=pictures, limit=8, steps=70, batch_size=16, questions_share=0, learning_rate=3e-3, cuts=0
        )
        return sum(example["train"].train(run)["curve"][-10:]) / 10

    assert learn("own") < learn("shuffled") - 0.2


def test_interrupt_writes_a_checkpoint_and_resume_gives_the_same(example, shared_data, tmp_path):
    """In a process of its own, which the signal is for; this one only reads what it wrote."""
    script = Path(__file__).with_name("interrupted_training.py")
    done = subprocess.run(
        [sys.executable, str(script), str(EXAMPLE), str(shared_data), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "curves.json").read_text())
    assert found["code"] == 130
    assert not found["measured_when_stopped"]
    assert found["handler_is_back"]
    assert "stopped after 2 steps" in done.stdout
    assert len(found["resumed"]) == 4
    assert found["resumed"] == pytest.approx(found["whole"], abs=1e-4)
    sheet = tmp_path / "sheet.png"
    pytest.importorskip("skimage")
    example["draw"].draw(run=tmp_path / "stopped", out=sheet)
    assert sheet.stat().st_size > 10_000


def test_a_folder_without_photographs_is_named(example, tmp_path):
    with pytest.raises(Exception, match=r"has no flickr8k/train"):
        example["data"].read_samples(tmp_path, "train", native=False)


def test_questions_are_as_often_yes_as_no(example):
    data = example["data"]
    texts = [("a dog runs",) * 5, ("a man sits",) * 5, ("a dog and a man",) * 5, ("one dog", *["a car"] * 4)]
    turns = data.questions([data.Sample(photo=b"", captions=each) for each in texts])
    dogs = [(turn.picture, turn.answer) for turn in turns if turn.prompt == "is there a dog?"]
    assert sorted(answer for _, answer in dogs) == ["no", "yes"]
    assert {picture for picture, answer in dogs if answer == "no"} == {1}
    assert 3 not in {picture for picture, _ in dogs}


def test_pictures_of_any_shape_share_a_batch(example):
    from PIL import Image

    module, words = example["model"], example["model"].Words.used_in(["a dog runs"])
    model = module.build("naflex", words, num_blocks=3).eval()
    sizes = [(300, 180), (64, 64), (90, 400)]
    shown = [example["data"].to_picture(Image.new("RGB", size), model.tower.config, 64) for size in sizes]
    assert len({picture.grid for picture in shown}) == 3
    ids, answers = module.to_ids(words, ["a"] * 3, ["dog", "dog runs", "a dog"])
    with module.torch.no_grad():
        together = model.losses(model.look(shown), ids, answers)
        alone = [
            model.losses(model.look([each]), ids[i : i + 1], answers[i : i + 1])
            for i, each in enumerate(shown)
        ]
    module.torch.testing.assert_close(together, module.torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_naflex_grids_are_even_and_within_the_budget(example):
    from dataclasses import replace

    from PIL import Image

    vision = replace(example["model"].load_tower("fixed").config, image_size=None)
    for size in ((640, 480), (100, 900), (33, 31)):
        picture = example["data"].to_picture(Image.new("RGB", size), vision, 64)
        height, width = picture.grid
        assert height % 2 == width % 2 == 0
        assert picture.patches.shape[:2] == (1, height * width)
        assert height * width <= 64
        assert (width > height) == (size[0] > size[1]) or width == height
