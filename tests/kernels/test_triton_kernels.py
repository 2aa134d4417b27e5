"""The Triton kernels, on a GPU or in Triton's interpreter, against what the processor computes."""

import importlib.util

import pytest
import torch

from siglip2.kernels.bias_gelu import bias_gelu, bias_gelu_backward
from siglip2.kernels.split_projections import join_gradients

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton, which torch for CUDA brings"
)
SHAPES = [(3, 180, 300), (1, 1, 8), (2, 0, 8)]
"""Rows and columns that are no multiples of a block, one row, and none."""


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    return importlib.import_module("siglip2.kernels.triton_kernels")


def same(found: torch.Tensor, right: torch.Tensor, most: float) -> bool:
    return bool((found.cpu().double() - right.double()).norm() <= most * right.double().norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_they_compute_what_the_processor_does(kernels, shape, dtype, most):
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, slope, third = (torch.randn(shape).to(dtype) for _ in range(3))
    bias = torch.randn(shape[-1])
    there = [each.to(device) for each in (x, bias, slope, third)]
    assert same(kernels.launch_bias_gelu(*there[:2]), bias_gelu(x, bias), most)
    found = kernels.launch_bias_gelu_backward(there[2], *there[:2])
    for ours, theirs in zip(found, bias_gelu_backward(slope, x, bias), strict=True):
        assert same(ours, theirs, most)
    joint, sums = kernels.launch_join(there[0], there[2], there[3])
    right_joint, right_sums = join_gradients(x, slope, third)
    assert torch.equal(joint.cpu(), right_joint)
    assert same(sums, right_sums, 1e-5)
