"""Whole models through `transformers`' Auto classes: the same numbers with and without our package."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_model import random_photo, tiny_encoder
from transformers import (
    AutoModel,
    AutoModelForZeroShotImageClassification,
    Siglip2Config,
    SiglipConfig,
    SiglipModel,
)

import siglip2
from siglip2.errors import InvalidInput
from siglip2.interop.transformers import SiglipVisionTower
from siglip2.weights.load import load_checkpoint, save_checkpoint

TEXTS = ["a dog", "a red square", "two dogs on a beach"]


def batch_of(encoder):
    """The same three pictures and texts as our encoder makes them of files, under `transformers`' names."""
    photos = [random_photo(seed, 30 + 9 * seed, 50) for seed in range(3)]
    batch = encoder.image_preprocessor(photos)
    patches = torch.from_numpy(batch.patches.astype(np.float32) / 127.5 - 1)
    inputs = {"input_ids": torch.from_numpy(encoder.tokenize(TEXTS)).long()}
    vision = encoder.checkpoint.config.vision
    if vision.naflex:
        mask = torch.from_numpy(batch.mask).long()
        grids = torch.from_numpy(batch.grids).long()
        inputs |= {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": grids}
    else:
        grid, side = vision.position_grid, vision.patch_size
        whole = patches.unflatten(1, (grid, grid)).unflatten(3, (side, side, 3))
        inputs["pixel_values"] = whole.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
    return photos, inputs


@pytest.mark.parametrize("kind", ["nano", "fixed", "naflex"])
def test_folders_saved_by_us(kind, tmp_path, request):
    encoder = (
        siglip2.load("nano", precision="float32")
        if kind == "nano"
        else tiny_encoder(tmp_path, naflex=kind == "naflex")
    )
    save_checkpoint(encoder.checkpoint, tmp_path / "saved")
    without = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    assert type(without).__module__.startswith("transformers.")
    request.getfixturevalue("registered")
    with_us, info = AutoModel.from_pretrained(
        tmp_path / "saved", dtype=torch.float32, output_loading_info=True
    )
    assert type(with_us).__module__.startswith("siglip2.")
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    photos, inputs = batch_of(encoder)
    expected = encoder.embed_images(photos), encoder.embed_texts(TEXTS)
    scores = encoder.score(photos, TEXTS).logit
    with torch.no_grad():
        outputs = [model.eval()(**inputs, return_loss=True) for model in (without, with_us)]
    for output in outputs:
        np.testing.assert_allclose(output.image_embeds, expected[0], atol=1e-4)
        np.testing.assert_allclose(output.text_embeds, expected[1], atol=1e-4)
        np.testing.assert_allclose(output.logits_per_image, scores, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss, atol=1e-3, rtol=1e-4)
    with_us.save_pretrained(tmp_path / "again")
    again = load_checkpoint(str(tmp_path / "again"))
    assert set(again.tensors) == set(encoder.checkpoint.tensors)
    for name in again.tensors:
        np.testing.assert_array_equal(again.read(name), encoder.checkpoint.read(name))


def test_features_of_each_tower_and_their_shapes(registered, tmp_path):
    encoder = tiny_encoder(tmp_path)
    save_checkpoint(encoder.checkpoint, tmp_path / "saved")
    ours = AutoModel.from_pretrained(tmp_path / "saved").eval()
    theirs: Any = SiglipModel.from_pretrained(tmp_path / "saved").eval()
    _, inputs = batch_of(encoder)
    with torch.no_grad():
        for model in (ours, theirs):
            images = model.get_image_features(inputs["pixel_values"], output_hidden_states=True)
            texts = model.get_text_features(inputs["input_ids"])
            assert len(images.hidden_states) == 3
            assert images.pooler_output.shape == (3, 32)
            assert texts.last_hidden_state.shape == (3, 48, 16)
        torch.testing.assert_close(
            ours.get_text_features(inputs["input_ids"]).last_hidden_state, texts.last_hidden_state,
            atol=1e-5, rtol=1e-5,
        )  # fmt: skip
        assert ours(**inputs, return_dict=False)[0].shape == (3, 3)
        other = AutoModelForZeroShotImageClassification.from_pretrained(tmp_path / "saved").eval()
        assert torch.equal(other(**inputs).logits_per_image, ours(**inputs).logits_per_image)
    with pytest.raises(InvalidInput, match="pad them to 48"):
        ours.get_text_features(inputs["input_ids"][:, :5])
    with pytest.raises(InvalidInput, match="leave the mask out"):
        ours.get_text_features(inputs["input_ids"], attention_mask=torch.zeros(3, 48))


def test_gradients_with_checkpointing_reach_both_towers(registered, tmp_path):
    encoder = tiny_encoder(tmp_path)
    save_checkpoint(encoder.checkpoint, tmp_path / "saved")
    model = AutoModel.from_pretrained(tmp_path / "saved").train()
    _, inputs = batch_of(encoder)
    gradients = []
    for enabled in (False, True):
        if enabled:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
            assert model.text_model.encoder.gradient_checkpointing
            assert model.vision_model.encoder.gradient_checkpointing
        model.zero_grad()
        model(**inputs, return_loss=True).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize("config", [SiglipConfig, Siglip2Config])
def test_new_models_start_where_the_paper_does(config, registered):
    small = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    sizes = {"patch_size": 8} | ({"image_size": 16} if config is SiglipConfig else {"num_patches": 4})
    model = AutoModel.from_config(config(text_config=small | {"vocab_size": 9}, vision_config=small | sizes))
    assert model.logit_scale.exp().item() == pytest.approx(10)
    assert model.logit_bias.item() == pytest.approx(-10)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_names_of_timm(tmp_path):
    encoder = tiny_encoder(tmp_path)
    save_checkpoint(encoder.checkpoint, tmp_path / "saved")
    tower = SiglipVisionTower.from_pretrained(tmp_path / "saved").eval()
    pixels = batch_of(encoder)[1]["pixel_values"]
    output = tower(pixels, output_hidden_states=True)
    assert tower.num_features == tower.embed_dim == 32
    features = tower.forward_features(pixels)
    assert torch.equal(features, output.last_hidden_state)
    assert torch.equal(tower.forward_head(features), output.pooler_output)
    last, (first, second) = tower.forward_intermediates(pixels)
    assert torch.equal(last, features)
    assert first.shape == second.shape == (3, 32, 4, 4)
    assert torch.equal(second.flatten(2).transpose(1, 2), output.hidden_states[2])
    only = tower.forward_intermediates(pixels, 1, norm=True, output_fmt="NLC", intermediates_only=True)
    assert torch.equal(only[0], features)
    assert torch.equal(tower.forward_intermediates(pixels, [-2], intermediates_only=True)[0], first)
    with pytest.raises(InvalidInput, match="tower with 2"):
        tower.forward_intermediates(pixels, [2])
    tower.reset_classifier(0)
    with pytest.raises(InvalidInput, match="linear layer"):
        tower.reset_classifier(10)
