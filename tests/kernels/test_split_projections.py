"""One product's queries, keys and values, and their gradients side by side."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.kernels.split_projections import join_gradients, split_projections


def project(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    q, k, v = split_projections(F.linear(x, weight, bias.detach()), bias)
    return q.sin() + 2 * k.transpose(1, 2).contiguous().transpose(1, 2).cos() * v


# Torch's compiler warns of what torch itself does.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_gradients_are_those_of_a_linear_layer(backend):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 8), torch.randn(24, 8), torch.randn(24)
    right = [each.double().requires_grad_() for each in (x, weight, bias)]
    q, k, v = F.linear(*right).chunk(3, dim=-1)
    (q.sin() + 2 * k.cos() * v).square().sum().backward()
    ours = [each.clone().requires_grad_() for each in (x, weight, bias)]
    function = torch.compile(project, backend=backend, fullgraph=True) if backend else project
    function(*ours).square().sum().backward()
    for mine, theirs in zip(ours, right, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad.double() - theirs.grad).norm() / theirs.grad.norm() < 1e-6


def test_one_of_the_three_may_go_unused():
    joint, bias = torch.randn(2, 5, 24, requires_grad=True), torch.zeros(24, requires_grad=True)
    split_projections(joint, bias)[1].sum().backward()
    assert joint.grad is not None
    assert bias.grad is not None
    assert joint.grad.sum(dim=(0, 1)).tolist() == bias.grad.tolist() == [0.0] * 8 + [10.0] * 8 + [0.0] * 8


def test_the_operator_keeps_what_it_promises_the_compiler():
    torch.library.opcheck(join_gradients, tuple(torch.randn(2, 5, 8) for _ in range(3)))
