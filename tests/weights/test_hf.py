"""Folders of transformers: read, written, and read again by transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_models import FIXED, NAFLEX, ODD_SIZE, assert_same_tensors, random_checkpoint

from siglip2.config import PUBLISHED, Preprocessing, PublishedCheckpoint
from siglip2.errors import InvalidCheckpoint
from siglip2.inputs.tokenizer_training import train_tokenizer
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import INDEX, WEIGHTS, read_hf, write_hf
from siglip2.weights.hf_config import parse_config, write_config
from siglip2.weights.load import load_checkpoint, save_checkpoint

torch = pytest.importorskip("torch", reason="needs torch to build a model of transformers")
transformers = pytest.importorskip("transformers", reason="needs transformers to compare with")


def their_model(config):
    """A random model of transformers, every parameter off its initial value."""
    content = write_config(config, "float32")
    siglip2 = content["model_type"] == "siglip2"
    kind = transformers.Siglip2Config if siglip2 else transformers.SiglipConfig
    model_kind = transformers.Siglip2Model if siglip2 else transformers.SiglipModel
    model = model_kind(kind(text_config=content["text_config"], vision_config=content["vision_config"]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return model.eval()


def logits(model, config):
    generator = torch.Generator().manual_seed(1)
    vision, text = config.vision, config.text
    ids = torch.randint(text.vocab_size, (3, text.context_length), generator=generator)
    if not vision.naflex:
        pixels = torch.rand(2, 3, vision.image_size, vision.image_size, generator=generator)
        return model(input_ids=ids, pixel_values=pixels).logits_per_image
    return model(
        input_ids=ids,
        pixel_values=torch.rand(2, 6, vision.patch_dim, generator=generator),
        pixel_attention_mask=torch.tensor([[1] * 6, [1] * 4 + [0] * 2]),
        spatial_shapes=torch.tensor([[2, 3], [4, 1]]),
    ).logits_per_image


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", [FIXED, NAFLEX, ODD_SIZE], ids=["fixed", "naflex", "odd_size"])
def test_transformers_to_us_and_back(config, dtype, tmp_path: Path) -> None:
    theirs = their_model(config).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = read_hf(tmp_path / "theirs")
    assert ours.config.text == config.text
    assert {tensor.dtype for tensor in ours.tensors.values()} == {str(dtype).removeprefix("torch.")}
    write_hf(ours, tmp_path / "ours")
    back = transformers.AutoModel.from_pretrained(tmp_path / "ours")
    assert type(back) is type(theirs)
    assert back.dtype == dtype
    expected = theirs.state_dict()
    found = back.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    with torch.no_grad():
        assert torch.equal(logits(back.float(), config), logits(theirs.float(), config))


def test_the_patch_embedding_is_that_of_the_convolution(tmp_path: Path) -> None:
    theirs = their_model(FIXED)
    theirs.save_pretrained(tmp_path)
    checkpoint = read_hf(tmp_path)
    pixels = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    convolution = theirs.vision_model.embeddings.patch_embedding
    with torch.no_grad():
        expected = convolution(pixels).flatten(2).transpose(1, 2)[0].numpy()
    image = pixels[0].permute(1, 2, 0).numpy()
    patches = image.reshape(3, 4, 3, 4, 3).transpose(0, 2, 1, 3, 4).reshape(9, 48)
    weight = checkpoint.read("vision_model.embeddings.patch_embedding.weight")
    bias = checkpoint.read("vision_model.embeddings.patch_embedding.bias")
    np.testing.assert_allclose(patches @ weight.T + bias, expected, atol=1e-5)


def test_shards_of_transformers_are_read(tmp_path: Path) -> None:
    theirs = their_model(FIXED)
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    assert_same_tensors(read_hf(tmp_path / "one"), read_hf(tmp_path / "many"))


def test_written_shards_are_read_by_transformers(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(FIXED)
    write_hf(checkpoint, tmp_path)
    write_hf(checkpoint, tmp_path, max_shard_bytes=20_000)
    assert not (tmp_path / WEIGHTS).exists()
    assert_same_tensors(checkpoint, read_hf(tmp_path))
    model = transformers.AutoModel.from_pretrained(tmp_path)
    head = model.state_dict()["text_model.head.weight"].numpy()
    np.testing.assert_array_equal(head, checkpoint.read("text_model.head.weight"))
    write_hf(read_hf(tmp_path), tmp_path)
    assert not (tmp_path / INDEX).exists()
    assert_same_tensors(checkpoint, read_hf(tmp_path))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_round_trip_changes_no_bit(checkpoint: Checkpoint, dtype, tmp_path: Path) -> None:
    saved = checkpoint.cast(dtype)
    save_checkpoint(saved, tmp_path / "first")
    first = load_checkpoint(tmp_path / "first")
    assert_same_tensors(saved, first)
    assert first.config == checkpoint.config
    save_checkpoint(first, tmp_path / "second")
    for name in (WEIGHTS, "config.json", "preprocessor_config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_folder_may_be_written_over_itself(tmp_path: Path) -> None:
    train_tokenizer(["a cat"], 300, tmp_path / "tokenizer.json")
    write_hf(random_checkpoint(FIXED), tmp_path)
    before = read_hf(tmp_path)
    save_checkpoint(before, tmp_path, dtype="bfloat16")
    after = read_hf(tmp_path)
    assert_same_tensors(random_checkpoint(FIXED).cast("bfloat16"), after)
    assert after.tokenizer == tmp_path / "tokenizer.json"


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_config_of_every_released_model(published: PublishedCheckpoint) -> None:
    written = write_config(published.config, "float32")
    assert written["model_type"] == published.model_type
    assert parse_config(json.loads(json.dumps(written)), "here") == published.config


def test_minimal_published_configs() -> None:
    """The hub's files state only what differs from the classes' defaults."""
    configs = {published.name: published.config for published in PUBLISHED}
    base = {"model_type": "siglip", "text_config": {"vocab_size": 256000}, "vision_config": {}}
    assert parse_config(base, "here") == configs["base-patch16-224"]
    base["vision_config"] = {"image_size": 256, "patch_size": 32}
    assert parse_config(base, "here") == configs["base-patch32-256"]
    naflex = {"model_type": "siglip2", "text_config": {"vocab_size": 256000}}
    assert parse_config(naflex, "here") == configs["base-patch16-naflex"]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    so400m = dict(zip(names, (1152, 4304, 27, 16), strict=True))
    giant = dict(zip(names, (1536, 6144, 40, 16), strict=True))
    content = {
        "model_type": "siglip",
        "text_config": {**so400m, "vocab_size": 256000, "projection_size": 1536},
        "vision_config": {**giant, "image_size": 384},
    }
    assert parse_config(content, "here") == configs["giant-opt-patch16-384"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "clip"}, "model_type 'clip'"),
        ({"vision_config": {"hidden_act": "gelu"}}, "hidden_act is 'gelu'"),
        ({"vision_config": {"vision_use_head": False}}, "vision_use_head"),
        ({"vision_config": {"hidden_size": 1536}}, "projected to 768, images to 1536"),
        ({"text_config": {"layer_norm_eps": 1e-5}}, "layer_norm_eps"),
        ({"vision_config": {"num_attention_heads": 7}}, "not a multiple"),
        ({"vision_config": {"num_attention_heads": 0}}, "num_attention_heads is 0, expected a whole number"),
        ({"vision_config": {"patch_size": 0}}, "patch_size is 0"),
        ({"text_config": {"hidden_size": "768"}}, "hidden_size is '768'"),
        ({"text_config": {"num_hidden_layers": 3_000_000}}, "num_hidden_layers is 3000000, expected 1000"),
        ({"vision_config": [1]}, r"vision_config is \[1\], expected an object"),
        ({"model_type": "siglip2", "vision_config": {"num_patches": 200}}, "num_patches 200"),
    ],
)
def test_configs_that_are_no_siglip2(change: dict, message: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=message):
        parse_config({"model_type": "siglip"} | change, "here")


@pytest.mark.parametrize("config", [FIXED, NAFLEX], ids=["fixed", "naflex"])
def test_inputs_load_in_transformers(config, tmp_path: Path) -> None:
    train_tokenizer(["a photo of a cat"] * 3, 300, tmp_path / "tokenizer.json")
    preprocessing = Preprocessing(image_preset="timm", lowercase="none")
    checkpoint = random_checkpoint(config)
    checkpoint = Checkpoint(
        config=config,
        tensors=checkpoint.tensors,
        preprocessing=preprocessing,
        tokenizer=tmp_path / "tokenizer.json",
    )
    write_hf(checkpoint, tmp_path / "model")
    back = read_hf(tmp_path / "model")
    assert back.preprocessing == preprocessing
    assert back.tokenizer == tmp_path / "model" / "tokenizer.json"
    assert back.config == config
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    images = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model", use_fast=False)
    assert images.resample == 3
    assert "Siglip2" in type(images).__name__ if config.vision.naflex else images.size["height"] == 12


def test_resample_of_a_published_preprocessor_is_kept(tmp_path: Path) -> None:
    write_hf(random_checkpoint(FIXED), tmp_path)
    path = tmp_path / "preprocessor_config.json"
    for resample, preset in ((2, "transformers"), (3, "timm")):
        path.write_text(json.dumps({"resample": resample, "image_mean": [0.5] * 3}))
        assert read_hf(tmp_path).preprocessing.image_preset == preset
    path.write_text(json.dumps({"size": 16, "image_mean": 0.5}))
    assert read_hf(tmp_path).config.vision.image_size == FIXED.vision.image_size
    for broken in (
        {"resample": 0},
        {"image_mean": [0.48, 0.45, 0.4]},
        {"image_mean": 0.48},
        {"size": {"height": "16"}},
        {"siglip2_preprocessing": [1]},
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(InvalidCheckpoint, match=next(iter(broken))):
            read_hf(tmp_path)


def test_position_ids_of_old_files_are_no_weights(tmp_path: Path) -> None:
    theirs = their_model(FIXED)
    state = dict(theirs.state_dict())
    state["text_model.embeddings.position_ids"] = torch.zeros(1, 8)
    theirs.save_pretrained(tmp_path)
    from safetensors.torch import save_file

    save_file(state, tmp_path / WEIGHTS)
    assert "text_model.embeddings.position_ids" not in read_hf(tmp_path).tensors


def test_shards_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_hf(random_checkpoint(FIXED), tmp_path)
    for weight_map, message in (
        ({"logit_scale": "../secret.safetensors"}, "outside of its folder"),
        (None, "has no model.safetensors"),
        ([1], r"weight_map is \[1\], expected an object"),
    ):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(InvalidCheckpoint, match=message):
            read_hf(tmp_path)
