"""Logits stay in float32 while the towers run in bfloat16."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.losses.sigmoid import sigmoid_loss
from siglip2.losses.sigmoid_blockwise import blockwise_sigmoid_loss
from siglip2.losses.softmax import softmax_loss
from siglip2.train.curation import pair_losses


def blockwise(images, texts, log_scale, bias):
    return blockwise_sigmoid_loss(images, texts, log_scale, bias, block=16)


def softmax(images, texts, log_scale, bias):
    return softmax_loss(images, texts, log_scale) + 0 * bias.sum()


def curated(images, texts, log_scale, bias):
    return pair_losses(images, texts, log_scale, bias).mean()


@pytest.mark.parametrize("loss", [sigmoid_loss, blockwise, softmax, curated])
def test_autocast_changes_neither_values_nor_gradients(loss):
    generator = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(48, 64, generator=generator), dim=-1) for _ in range(2))
    values = images, texts, torch.tensor([4.7]), torch.tensor([-16.0])
    found = []
    for narrow in (False, True):
        inputs = [each.clone().requires_grad_() for each in values]
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            value = loss(*inputs)
        value.backward()
        found.append([value, *(each.grad for each in inputs)])
    for plain, under_autocast in zip(*found, strict=True):
        assert torch.equal(plain, under_autocast)
