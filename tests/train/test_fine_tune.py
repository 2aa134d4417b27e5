"""Fine-tuning from given weights: on a folder of captioned photos, with checks before the first step."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

import siglip2
from siglip2.cli.main import run
from siglip2.config import Preprocessing
from siglip2.data.folder import captioned_folder
from siglip2.errors import InvalidInput
from siglip2.recipes.fine_tune import fine_tune
from siglip2.train.loop import train
from siglip2.train.sanity import NotSane
from siglip2.weights.load import load_checkpoint, save_checkpoint

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "grey": (128, 128, 128)}


def write_folder(folder, *, count: int = 24):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = ["path,caption"]
    for index in range(count):
        name = list(COLOURS)[index % len(COLOURS)]
        noise = rng.integers(-20, 20, (40, 48, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        rows.append(f"{index}.png,a {name} thing")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


def test_a_folder_of_photos_becomes_a_model_that_classifies(tmp_path, capsys):
    photos = write_folder(tmp_path / "photos")
    arguments = [
        "train",
        "fine_tune",
        "--model",
        "nano",
        "--data",
        str(photos),
        "--run",
        str(tmp_path / "run"),
    ]
    arguments += ["--steps", "30", "--unchecked", "--optimizer.learning_rate", "3e-4"]
    assert run([*arguments, "--sources.0.images_per_batch", "16"]) == 0
    folder = capsys.readouterr().out.strip()
    tuned = siglip2.load(folder)
    classifier = siglip2.ZeroShotClassifier(tuned, [f"a {name} thing" for name in COLOURS], templates="{}")
    paths = sorted(photos.glob("*.png"), key=lambda path: int(path.stem))
    found = [each[0].label for each in classifier.classify(paths)]
    ids = AutoTokenizer.from_pretrained(folder)(
        ["A Red thing", "blue"], padding="max_length", truncation=True, return_tensors="np"
    )["input_ids"]
    assert np.array_equal(ids, tuned.tokenize(["A Red thing", "blue"]))
    right = [label == f"a {list(COLOURS)[index % 4]} thing" for index, label in enumerate(found)]
    assert np.mean(right) > 0.7


def test_a_model_keeps_its_preprocessing(tmp_path, capsys):
    """Trained on texts as it lower-cases them, and exported with both of its settings."""
    checkpoint = load_checkpoint("nano")
    base = dataclasses.replace(
        checkpoint, preprocessing=Preprocessing(image_preset="timm", lowercase="unicode")
    )
    save_checkpoint(base, tmp_path / "base")
    write_folder(tmp_path / "photos")
    arguments = ["train", "fine_tune", "--model", str(tmp_path / "base"), "--data", str(tmp_path / "photos")]
    arguments += ["--run", str(tmp_path / "run"), "--steps", "1", "--unchecked"]
    assert run([*arguments, "--sources.0.images_per_batch", "4"]) == 0
    tuned = load_checkpoint(capsys.readouterr().out.strip())
    assert tuned.preprocessing == base.preprocessing


def nano_weights():
    checkpoint = load_checkpoint("nano")
    weights = {name: torch.from_numpy(checkpoint.read(name).copy()) for name in checkpoint.tensors}
    return checkpoint, weights


def ids_of(checkpoint):
    encoder = siglip2.load("nano")
    return lambda texts: encoder.tokenize(texts)


def test_a_step_without_learning_changes_nothing(tmp_path):
    """No clamp and no rounding on the way: learning rate 0 leaves every tensor as it was loaded."""
    checkpoint, weights = nano_weights()
    data = [captioned_folder(write_folder(tmp_path / "photos"), 64)]
    recipe = fine_tune(checkpoint.config, "nano", num_steps=2, batch_size=4, learning_rate=0.0)
    recipe = dataclasses.replace(recipe, ema_decay=0.0)
    result = train(recipe, data, ids_of(checkpoint), tmp_path / "run", initial=weights, checked=False)
    assert all(torch.equal(result[name], weights[name].float()) for name in weights)


def test_locked_images_stay_and_texts_move(tmp_path):
    checkpoint, weights = nano_weights()
    data = [captioned_folder(write_folder(tmp_path / "photos"), 64)]
    recipe = fine_tune(checkpoint.config, "nano", num_steps=2, batch_size=4, lock_images=True)
    recipe = dataclasses.replace(recipe, ema_decay=0.0)
    result = train(recipe, data, ids_of(checkpoint), tmp_path / "run", initial=weights, checked=False)
    moved = {name for name in weights if not torch.equal(result[name], weights[name].float())}
    assert moved
    assert not any(name.startswith("vision_model") for name in moved)


def test_weights_that_do_not_know_the_data_stop_the_run(tmp_path, shared_data):
    from siglip2.data.research import flickr8k_captions

    checkpoint, weights = nano_weights()
    photographs, captions = flickr8k_captions(shared_data, "test")
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = {"true": ["path,caption"], "shuffled": ["path,caption"]}
    for index in range(96):
        (folder / f"{index}.jpg").write_bytes(photographs[index])
        for kind, shift in (("true", 0), ("shuffled", 31)):
            text = captions[(index + shift) % 96]["en"][0].replace('"', "").lower()
            rows[kind].append(f'{index}.jpg,"{text}"')
    recipe = fine_tune(checkpoint.config, "nano", num_steps=1, batch_size=96)
    (folder / "captions.csv").write_text("\n".join(rows["true"]))
    train(recipe, [captioned_folder(folder, 64)], ids_of(checkpoint), tmp_path / "a", initial=weights)
    (folder / "captions.csv").write_text("\n".join(rows["shuffled"]))
    with pytest.raises(NotSane, match="do not tell true pairs from shuffled ones"):
        train(recipe, [captioned_folder(folder, 64)], ids_of(checkpoint), tmp_path / "b", initial=weights)


def test_broken_pictures_are_named_counted_and_capped(tmp_path, caplog):
    folder = write_folder(tmp_path / "photos", count=40)
    (folder / "7.png").write_bytes(b"no picture")
    data = captioned_folder(folder, 32)
    assert len(data) == 39
    assert "7.png is left out" in caplog.text
    for index in range(5):
        (folder / f"{index}.png").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"6 of 40 pictures of .* cannot be used, such as 0\.png"):
        captioned_folder(folder, 32)
    (folder / "captions.csv").write_text("file,text\na,b\n")
    with pytest.raises(InvalidInput, match="row 1 of the table: expected the columns path and caption"):
        captioned_folder(folder, 32)
    (folder / "captions.csv").unlink()
    with pytest.raises(InvalidInput, match=r"neither captions\.csv nor captions\.jsonl"):
        captioned_folder(folder, 32)
