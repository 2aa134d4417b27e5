"""A patch embedding for other patches says of resized patches what it said of the patches."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.network.patch_kernel import resize_patch_kernel


def embedded(weight, pictures, side):
    """Of patches flattened as (row, column, channel)."""
    resized = F.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).flatten(1) @ weight.T


@pytest.mark.parametrize("side", [17, 24, 32])
def test_larger_patches_lose_nothing(side):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 16 * 16 * 3, generator=generator, dtype=torch.float64)
    pictures = torch.randn(7, 3, 16, 16, generator=generator, dtype=torch.float64)
    ours = embedded(resize_patch_kernel(weight, side), pictures, side)
    torch.testing.assert_close(ours, embedded(weight, pictures, 16))


def test_smaller_patches_lose_the_least_that_is_possible():
    """16 to 14: no other kernel has a smaller squared error over patches of white noise."""
    weight = torch.randn(3, 16 * 16 * 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = resize_patch_kernel(weight, 14).requires_grad_()
    basis = torch.eye(16 * 16 * 3, dtype=torch.float64).view(-1, 3, 16, 16)
    (embedded(ours, basis, 14) - embedded(weight, basis, 16)).square().sum().backward()
    assert ours.grad is not None
    assert ours.grad.abs().max() < 1e-9


def test_the_same_size_is_the_same_tensor():
    weight = torch.randn(2, 48)
    assert resize_patch_kernel(weight, 4) is weight
