"""The torch towers against `transformers`, in every shape family, and the traps of the architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.errors import InvalidInput
from siglip2.inputs.naflex import position_table
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2
from siglip2.network.positions import resize_positions
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import write_hf

TEXT = TextConfig(width=48, depth=2, mlp_dim=96, num_heads=4, vocab_size=300, context_length=16)


def vision(**changes) -> VisionConfig:
    shape = dict(width=48, depth=2, mlp_dim=112, num_heads=4, patch_size=16, image_size=64, position_grid=4)
    return VisionConfig(**(shape | changes))  # type: ignore[arg-type]


FAMILIES = {
    "patch 16": vision(),
    "patch 32": vision(patch_size=32, image_size=96, position_grid=3),
    "patch 14, pixels left over": vision(patch_size=14, image_size=61),
    "head width 72": vision(width=144, num_heads=2, mlp_dim=269),
    "image tower wider than text": vision(width=96, num_heads=3),
}
NAFLEX = vision(image_size=None, position_grid=16)


def perturbed(config: VisionConfig, seed: int = 0) -> SigLIP2:
    """Fresh weights moved off their initial values, so that no bias or norm can hide."""
    model = build_initialised(ModelConfig(vision=config, text=TEXT), seed=seed).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def as_transformers(model: SigLIP2, folder: Path):
    write_hf(Checkpoint.from_tensors(model.config, model.state_dict()), folder)
    return AutoModel.from_pretrained(folder).eval().requires_grad_(False)


def to_patches(pixels: torch.Tensor, patch: int) -> torch.Tensor:
    unfolded = torch.nn.functional.unfold(pixels, patch, stride=patch).transpose(1, 2)
    return unfolded.unflatten(-1, (3, -1)).transpose(-1, -2).flatten(-2)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor):
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_resolution_equals_transformers(family, tmp_path):
    model = perturbed(FAMILIES[family])
    theirs = as_transformers(model, tmp_path)
    config = model.config.vision
    assert config.image_size is not None
    pixels = torch.randn(3, 3, config.image_size, config.image_size).clamp(-1, 1)
    ids = torch.randint(0, 300, (4, 16))
    ours = model.vision_model(to_patches(pixels, config.patch_size))
    expected = theirs.vision_model(pixel_values=pixels)
    assert_close(ours.patches, expected.last_hidden_state)
    assert_close(ours.pooled, expected.pooler_output)
    both = theirs(pixel_values=pixels, input_ids=ids)
    embeddings = model.embed_images(to_patches(pixels, config.patch_size)), model.embed_texts(ids)
    assert_close(embeddings[0], both.image_embeds)
    assert_close(embeddings[1], both.text_embeds)
    assert_close(model.logits(*embeddings), both.logits_per_image)


GRIDS = torch.tensor([[3, 5], [16, 1], [2, 2], [4, 4]])


def naflex_batch(grids: torch.Tensor, seed: int = 3):
    """Patches of each image depend on its grid alone, so that a batch can be taken apart."""
    num_patches = int(grids.prod(1).max())
    patches = torch.zeros(len(grids), num_patches, 768)
    for row, grid in zip(patches, grids, strict=True):
        count = int(grid.prod())
        row[:count] = torch.randn(count, 768, generator=torch.Generator().manual_seed(seed + count))
    return patches, torch.arange(num_patches) < grids.prod(1)[:, None]


def test_naflex_equals_transformers_with_mixed_grids(tmp_path):
    model = perturbed(NAFLEX)
    theirs = as_transformers(model, tmp_path)
    patches, mask = naflex_batch(GRIDS)
    ours = model.vision_model(patches, grids=GRIDS, mask=mask)
    expected = theirs.vision_model(
        pixel_values=patches, pixel_attention_mask=mask.int(), spatial_shapes=GRIDS
    )
    assert_close(ours.patches[mask], expected.last_hidden_state[mask])
    assert_close(ours.pooled, expected.pooler_output)


def test_naflex_alone_padded_and_in_any_order_is_the_same():
    model = perturbed(NAFLEX)
    patches, mask = naflex_batch(GRIDS)
    together = model.vision_model(patches, grids=GRIDS, mask=mask).pooled
    order = torch.tensor([2, 0, 3, 1])
    shuffled = model.vision_model(patches[order], grids=GRIDS[order], mask=mask[order]).pooled
    torch.testing.assert_close(shuffled, together[order], rtol=1e-5, atol=1e-5)
    for index, grid in enumerate(GRIDS):
        count = int(grid.prod())
        alone = model.vision_model(patches[index : index + 1, :count], grids=GRIDS[index : index + 1]).pooled
        torch.testing.assert_close(alone[0], together[index], rtol=1e-5, atol=1e-5)


def test_padding_is_never_nan_and_never_matters():
    model = perturbed(NAFLEX)
    patches, mask = naflex_batch(GRIDS)
    expected = model.vision_model(patches, grids=GRIDS, mask=mask)
    disturbed = torch.where(mask[..., None], patches, torch.tensor(1e3))
    output = model.vision_model(disturbed, grids=GRIDS, mask=mask)
    assert output.patches.isfinite().all()
    torch.testing.assert_close(output.pooled, expected.pooled)


def test_more_than_64_patches_a_side_is_an_error_and_not_nan():
    table = torch.randn(16, 16, 8)
    with pytest.raises(InvalidInput, match="65x1"):
        resize_positions(table, (65, 1))
    assert resize_positions(table, (80, 1), max_side=80).isfinite().all()


@pytest.mark.parametrize(
    "grid", [(1, 1), (5, 1), (1, 5), (20, 1), (64, 1), (1, 64), (3, 40), (16, 16), (9, 7)]
)
def test_positions_equal_those_of_the_runtime_without_torch(grid):
    table = torch.randn(16, 16, 8, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(resize_positions(table, grid), position_table(table.numpy(), grid), atol=1e-5)


def test_intermediates_are_named():
    model = perturbed(FAMILIES["patch 16"])
    images = model.vision_model(torch.randn(1, 16, 768), return_intermediates=True)
    texts = model.text_model(torch.zeros(1, 16, dtype=torch.long), return_intermediates=True)
    assert images.intermediates is not None
    assert texts.intermediates is not None
    assert list(images.intermediates) == ["stem", "block00", "block01", "patches", "pooled"]
    assert list(texts.intermediates) == ["stem", "block00", "block01", "tokens", "pooled"]


def test_texts_of_another_length_are_refused():
    with pytest.raises(ValueError, match="padded to 16 tokens, these have 12"):
        perturbed(FAMILIES["patch 16"]).embed_texts(torch.zeros(1, 12, dtype=torch.long))


def test_gradient_checkpointing_changes_nothing():
    model = perturbed(FAMILIES["patch 16"]).requires_grad_(True)
    patches = torch.randn(2, 16, 768)
    gradients = []
    for checkpointing in (False, True):
        model.vision_model.encoder.gradient_checkpointing = checkpointing
        model.zero_grad()
        model.vision_model(patches).pooled.square().sum().backward()
        gradients.append(model.vision_model.embeddings.patch_embedding.weight.grad)
    torch.testing.assert_close(*gradients)
