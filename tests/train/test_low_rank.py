"""LoRA: little is trained, the merged weights are what was trained, and peft reads the adapter."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from siglip2.data.augment import patchify
from siglip2.errors import InvalidInput
from siglip2.network.model import SigLIP2
from siglip2.recipes.fine_tune import IMAGE_TOWER
from siglip2.recipes.recipe import LowRank, Optimizer
from siglip2.train.checkpoints import load_tensors
from siglip2.train.loop import train
from siglip2.train.lora import add_low_rank, merged

pytest.importorskip("peft", reason="low-rank fine-tuning needs peft")

SETTINGS = LowRank(rank=2, alpha=4.0)
ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def tuned(tiny_recipe, tiny_data, tokenize, tmp_path):
    base = train(tiny_recipe, tiny_data, tokenize, tmp_path / "base", stop_after=1)
    recipe = dataclasses.replace(
        tiny_recipe,
        low_rank=SETTINGS,
        optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.0),
        ema_decay=0.0,
        initial_weights="base",
    )
    arguments = {"initial": base, "checked": False}
    return (
        base,
        train(recipe, tiny_data, tokenize, tmp_path / "run", **arguments),
        tmp_path / "run",
        arguments,
    )


def test_only_the_named_layers_move_and_by_low_rank(tuned):
    base, found, _, _ = tuned
    assert found.keys() == base.keys()
    moved = {name for name in base if not torch.equal(base[name], found[name])}
    expected = {n for n in base if n.endswith(tuple(f"{layer}.weight" for layer in SETTINGS.layers))}
    assert moved == expected | {"logit_scale", "logit_bias"}
    for name in expected:
        values = torch.linalg.svdvals(found[name] - base[name])
        assert values[2] < 1e-5 * values[0]


def test_what_is_locked_gets_no_matrices(tuned, tiny_recipe, tiny_data, tokenize, tmp_path):
    base, _, _, arguments = tuned
    recipe = dataclasses.replace(
        tiny_recipe, low_rank=SETTINGS, locked=IMAGE_TOWER, ema_decay=0.0, initial_weights="base"
    )
    found = train(recipe, tiny_data, tokenize, tmp_path / "locked", stop_after=2, **arguments)
    moved = {name for name in base if not torch.equal(base[name], found[name])}
    assert moved
    assert not any(name.startswith("vision_model.") for name in moved)
    assert not any("vision_model." in name for name in load_file(tmp_path / "locked/adapter" / ADAPTER))


@pytest.mark.parametrize(
    ("layers", "locked", "message"),
    [
        (("qproj",), (), "no linear layer called qproj; there are q_proj"),
        (("fc1",), ("vision_model.", "text_model."), "no linear layer called fc1 that is not locked"),
    ],
)
def test_layers_that_are_not_there_are_refused(tiny_recipe, layers, locked, message):
    with pytest.raises(InvalidInput, match=message):
        add_low_rank(SigLIP2(tiny_recipe.model), LowRank(rank=2, layers=layers), locked)


def test_merged_weights_compute_what_was_trained(tuned, tiny_recipe):
    _, found, run, _ = tuned
    saved = load_tensors(run / "checkpoints" / "step-00000012")["average"]
    trained = SigLIP2(tiny_recipe.model)
    add_low_rank(trained, SETTINGS)
    trained.load_state_dict(saved)
    plain = SigLIP2(tiny_recipe.model)
    plain.load_state_dict(found)
    patches = torch.randn(3, 4, 192)
    torch.testing.assert_close(trained.embed_images(patches), plain.embed_images(patches))
    assert merged(saved, SETTINGS).keys() == found.keys()


def test_a_run_resumes(tuned, tiny_recipe, tiny_data, tokenize, tmp_path):
    _, found, _, arguments = tuned
    recipe = dataclasses.replace(
        tiny_recipe,
        low_rank=SETTINGS,
        optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.0),
        ema_decay=0.0,
        initial_weights="base",
    )
    train(recipe, tiny_data, tokenize, tmp_path / "parts", stop_after=5, **arguments)
    again = train(recipe, tiny_data, tokenize, tmp_path / "parts", **arguments)
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_reads_the_adapter_over_the_checkpoint_in_transformers(tuned, tiny_recipe, tmp_path):
    """The whole point of the names: base model of ours in `transformers`, adapter of ours in `peft`."""
    transformers = pytest.importorskip("transformers")
    from peft import PeftModel

    from siglip2.weights.checkpoint import Checkpoint
    from siglip2.weights.hf import write_hf

    base, found, run, _ = tuned
    tensors = {name: value.numpy() for name, value in base.items()}
    write_hf(Checkpoint.from_tensors(tiny_recipe.model, tensors), tmp_path / "hf")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "hf")
    adapter = PeftModel.from_pretrained(theirs, run / "adapter").eval()
    inside: Any = adapter.base_model.model
    plain = SigLIP2(tiny_recipe.model)
    plain.load_state_dict(found)
    pixels, ids = torch.randn(3, 3, 16, 16), torch.randint(0, 64, (3, 8))
    with torch.no_grad():
        ours = plain.vision_model(patchify(pixels, 8)).pooled, plain.text_model(ids).pooled
        beside = (
            inside.vision_model(pixel_values=pixels).pooler_output,
            inside.text_model(ids).pooler_output,
        )
    torch.testing.assert_close(beside, ours, atol=1e-5, rtol=1e-5)
    names = dict(adapter.merge_and_unload().named_parameters())
    for name in (n for n in found if n.endswith(("q_proj.weight", "out_proj.weight"))):
        torch.testing.assert_close(names[name].detach(), found[name])
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert len(load_file(run / "adapter" / ADAPTER)) == 2 * 4 * 2 + 2
