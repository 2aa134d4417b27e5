"""Bias and GELU as one operation: what the processor's own version of it computes, eager and compiled."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.kernels.bias_gelu import bias_gelu, bias_gelu_backward


def draw(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    x, bias, slope = torch.randn(3, 7, 10), torch.randn(10), torch.randn(3, 7, 10)
    return x.to(dtype), bias, slope.to(dtype)


@pytest.mark.parametrize("backend", [None, "aot_eager"])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_values_and_gradients_are_those_of_torch(backend, dtype, most):
    x, bias, slope = draw(dtype)
    right_x, right_bias = (each.double().requires_grad_() for each in (x, bias))
    right = F.gelu(right_x + right_bias, approximate="tanh")
    right.backward(slope.double())
    ours_x, ours_bias = (each.clone().requires_grad_() for each in (x, bias))
    function = torch.compile(bias_gelu, backend=backend, fullgraph=True) if backend else bias_gelu
    found = function(ours_x, ours_bias)
    found.backward(slope)
    assert found.dtype == dtype
    for mine, theirs in ((found, right), (ours_x.grad, right_x.grad), (ours_bias.grad, right_bias.grad)):
        assert mine is not None
        assert theirs is not None
        assert (mine.double() - theirs).norm() / theirs.norm() < most


def test_the_operators_keep_what_they_promise_the_compiler():
    x, bias, slope = draw()
    torch.library.opcheck(bias_gelu, (x.requires_grad_(), bias.requires_grad_()))
    torch.library.opcheck(bias_gelu_backward, (slope, x.detach(), bias.detach()))
