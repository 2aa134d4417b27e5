"""Attention weights are those that the fused kernels use: values weighed by them give the tower's output."""

import numpy as np
import pytest
import torch
from tests.tiny_model import tiny_encoder

from siglip2.heatmap import attention_map
from siglip2.network.attention_maps import all_attentions
from siglip2.network.transformer import merge_heads, split_heads
from siglip2.runtime.torch import load_model

GRIDS = torch.tensor([[3, 4], [2, 2]])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("naflex"), naflex=True)


@pytest.fixture(scope="module")
def tower(encoder):
    return load_model(encoder.checkpoint).vision_model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def looked(tower):
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(2, 12, tower.config.patch_dim, generator=generator) * 2 - 1
    mask = torch.arange(12) < GRIDS.prod(1, keepdim=True)
    output = tower(patches, grids=GRIDS, mask=mask, return_intermediates=True)
    return output, mask, *all_attentions(tower, output, mask)


def test_rows_add_up_to_one_and_leave_padding_out(tower, looked):
    _, mask, blocks, pooling = looked
    heads = tower.config.num_heads
    assert [each.shape for each in blocks] == [(2, heads, 12, 12)] * tower.config.depth
    assert pooling.shape == (2, heads, 12)
    for each in (*blocks, pooling[:, :, None]):
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:-1]))
        assert (each * ~mask[:, None, None, :]).abs().max() == 0


def test_the_first_block_is_what_its_weights_make_of_its_values(tower, looked):
    output, mask, blocks, _ = looked
    layer, x = tower.encoder.layers[0], output.intermediates["stem"]
    attention = layer.self_attn
    values = split_heads(attention.v_proj(layer.layer_norm1(x)), attention.num_heads)
    x = x + attention.out_proj(merge_heads(blocks[0] @ values))
    x = x + layer.mlp(layer.layer_norm2(x))
    torch.testing.assert_close(x[mask], output.intermediates["block00"][mask], atol=1e-5, rtol=1e-5)


def test_the_pooled_vector_is_what_the_heads_weights_make_of_the_patches(tower, looked):
    output, _, _, pooling = looked
    head, width = tower.head, tower.config.width
    attention = head.attention
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    values = split_heads(torch.nn.functional.linear(output.patches, weight, bias), attention.num_heads)
    x = attention.out_proj(merge_heads(pooling[:, :, None] @ values))[:, 0]
    torch.testing.assert_close(x + head.mlp(head.layernorm(x)), output.pooled, atol=1e-5, rtol=1e-5)


def test_the_map_without_torch_is_the_mean_over_heads(encoder, looked):
    output, _, _, pooling = looked
    for index, (height, width) in enumerate(GRIDS.tolist()):
        features = output.patches[index, : height * width].unflatten(0, (height, width)).numpy()
        found = attention_map(encoder.checkpoint, features)
        expected = pooling[index, :, : height * width].mean(0).unflatten(0, (height, width))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.sum() == pytest.approx(1, abs=1e-5)


def test_towers_name_their_dtype_and_device(tower):
    assert (tower.dtype, tower.device.type) == (torch.float32, "cpu")
