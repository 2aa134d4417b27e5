"""Multimodal models of `transformers`, unmodified, with our exported image tower in the place of theirs.

Three conventions are in use: the last features after the final norm (PaliGemma, Gemma 3, SmolVLM, LFM2-VL),
the last block before it, and the one before the last block (LLaVA).
"""

import numpy as np
import pytest
import torch
from tests.tiny_model import tiny_checkpoint

from siglip2.network.vision import VisionTower
from siglip2.runtime.torch import load_model
from siglip2.weights.hf import write_hf

transformers = pytest.importorskip("transformers")

TEXT = dict(
    vocab_size=100, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=2, head_dim=12, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
    eos_token_id=2,
)  # fmt: skip


@pytest.fixture
def exported(tmp_path):
    """Our tower, their tower with our weights, and its configuration."""

    def make(naflex: bool = False):
        checkpoint = tiny_checkpoint(tmp_path, naflex=naflex)
        write_hf(checkpoint, tmp_path / "model")
        theirs = transformers.AutoModel.from_pretrained(tmp_path / "model").vision_model.eval()
        ours = load_model(checkpoint).vision_model.eval()
        return ours, theirs, theirs.config

    return make


def features_of(tower: VisionTower, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Ours, from pixels (B, 3, S, S), under the names of the three conventions."""
    patch, grid = tower.config.patch_size, tower.config.position_grid
    x = pixels.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    output = tower(x.reshape(len(pixels), grid * grid, -1), return_intermediates=True)
    assert output.intermediates is not None
    blocks = [output.intermediates[name] for name in sorted(output.intermediates) if name.startswith("block")]
    return {"last": output.patches, "before_norm": blocks[-1], "penultimate": blocks[-2]}


def pixels_of(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def install(model, theirs) -> None:
    """Put the exported weights where the model keeps its image tower; heads that it drops are left out."""
    tower = model.model.vision_tower if hasattr(model.model, "vision_tower") else model.model.vision_model
    state = {name.removeprefix("vision_model."): value for name, value in theirs.state_dict().items()}
    wanted = tower.state_dict()
    renamed = {name: state[name.removeprefix("vision_model.")] for name in wanted}
    tower.load_state_dict(renamed)
    model.eval()


def pooled(found) -> torch.Tensor:
    """Image features of any generation of the interface, as one tensor (tokens, width)."""
    found = getattr(found, "pooler_output", found)
    if isinstance(found, (list, tuple)):
        found = torch.cat(list(found))
    return found.flatten(0, -2)


@torch.no_grad()
def test_llava_takes_the_layer_before_the_last(exported):
    ours, theirs, config = exported()
    settings = transformers.LlavaConfig(
        vision_config=config, text_config=transformers.LlamaConfig(**TEXT), image_token_index=99,
        vision_feature_layer=-2, vision_feature_select_strategy="full",
    )  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(settings)
    install(model, theirs)
    expected = model.model.multi_modal_projector(features_of(ours, pixels_of())["penultimate"])
    found = pooled(model.get_image_features(pixel_values=pixels_of()))
    np.testing.assert_allclose(found, expected.flatten(0, 1), atol=1e-5)


@torch.no_grad()
def test_paligemma_takes_the_last_features(exported):
    ours, theirs, config = exported()
    settings = transformers.PaliGemmaConfig(
        vision_config=config,
        text_config=transformers.GemmaConfig(**TEXT),
        projection_dim=24,
        image_token_index=99,
    )
    model = transformers.PaliGemmaForConditionalGeneration(settings)
    install(model, theirs)
    expected = model.model.multi_modal_projector(features_of(ours, pixels_of())["last"])
    found = pooled(model.get_image_features(pixels_of()))
    # PaliGemma scales its image tokens by the root of the text width, or leaves that to the text model.
    scaled = [found * factor for factor in (1.0, TEXT["hidden_size"] ** 0.5, TEXT["hidden_size"] ** -0.5)]
    assert any(torch.allclose(each, expected.flatten(0, 1), atol=1e-4) for each in scaled)


@torch.no_grad()
def test_gemma3_pools_the_last_features(exported):
    ours, theirs, config = exported()
    settings = transformers.Gemma3Config(
        vision_config=config, text_config=transformers.Gemma3TextConfig(**TEXT), mm_tokens_per_image=4
    )
    model = transformers.Gemma3ForConditionalGeneration(settings)
    install(model, theirs)
    expected = model.model.multi_modal_projector(features_of(ours, pixels_of())["last"])
    found = pooled(model.get_image_features(pixels_of()))
    np.testing.assert_allclose(found, expected.flatten(0, 1), atol=1e-5)


@torch.no_grad()
def test_lfm2_vl_takes_naflex_features_of_mixed_grids(exported):
    ours, theirs, config = exported(naflex=True)
    settings = transformers.Lfm2VlConfig(
        vision_config=config,
        text_config=transformers.Lfm2Config(
            vocab_size=100, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, layer_types=["conv", "full_attention"], pad_token_id=0,
        ),
        downsample_factor=2, image_token_id=99, projector_hidden_size=16,
    )  # fmt: skip
    model = transformers.Lfm2VlForConditionalGeneration(settings)
    install(model, theirs)
    grids = torch.tensor([[4, 4], [2, 6]])
    patches = torch.rand(2, 16, 192, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.arange(16)[None] < grids.prod(1, keepdim=True)
    ours_out = ours(patches, grids=grids, mask=mask).patches
    expected = []
    for row, (height, width) in zip(ours_out, grids.tolist(), strict=True):
        feature = row[: height * width].reshape(1, height, width, -1)
        expected.append(model.model.multi_modal_projector(feature).reshape(-1, 24))
    found = pooled(
        model.get_image_features(pixel_values=patches, spatial_shapes=grids, pixel_attention_mask=mask.long())
    )
    np.testing.assert_allclose(found, torch.cat(expected), atol=1e-5)


@torch.no_grad()
def test_smolvlm_copies_the_tower_and_takes_the_last_features(exported):
    ours, theirs, _ = exported()
    settings = transformers.SmolVLMConfig(
        vision_config=dict(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32,
            patch_size=8, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
        text_config=transformers.LlamaConfig(**TEXT), scale_factor=2, image_token_id=99,
    )  # fmt: skip
    model = transformers.SmolVLMForConditionalGeneration(settings)
    install(model, theirs)
    expected = model.model.connector(features_of(ours, pixels_of())["last"])
    found = pooled(model.model.get_image_features(pixels_of()[None]))
    np.testing.assert_allclose(found, expected.flatten(0, 1), atol=1e-5)


@torch.no_grad()
def test_every_hidden_state_is_theirs(exported):
    ours, theirs, _ = exported()
    mine = features_of(ours, pixels_of())
    found = theirs(pixel_values=pixels_of(), output_hidden_states=True)
    np.testing.assert_allclose(found.last_hidden_state, mine["last"], atol=1e-5)
    np.testing.assert_allclose(found.hidden_states[-1], mine["before_norm"], atol=1e-5)
    np.testing.assert_allclose(found.hidden_states[-2], mine["penultimate"], atol=1e-5)


@torch.no_grad()
def test_a_deleted_last_layer_gives_the_penultimate_features(exported):
    ours, _, _ = exported()
    before = features_of(ours, pixels_of())["penultimate"]
    del ours.encoder.layers[-1]
    output = ours(_patches(ours), return_intermediates=True)
    assert output.intermediates is not None
    np.testing.assert_allclose(output.intermediates["block00"], before, atol=1e-6)


def _patches(tower: VisionTower) -> torch.Tensor:
    pixels = pixels_of()
    patch, grid = tower.config.patch_size, tower.config.position_grid
    x = pixels.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(len(pixels), grid * grid, -1)
