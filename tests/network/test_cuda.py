"""What the towers do otherwise on a GPU: one product for three projections, GELU inside a product."""

import copy

import pytest
import torch
from torch.nn import functional as F

from siglip2.config import VisionConfig
from siglip2.network.transformer import EncoderLayer, has_training_kernels, linear_gelu
from siglip2.network.vision import VisionTower

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    # torch 2.11's compiler warns of torch's own use of what it deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def make_tower() -> VisionTower:
    torch.manual_seed(0)
    shape = VisionConfig(
        width=128, depth=2, mlp_dim=256, num_heads=2, patch_size=4, image_size=32, position_grid=8
    )
    tower = VisionTower(shape)
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return tower


def test_the_fused_kernel_is_a_linear_layer_and_gelu():
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, device="cuda") for shape in ((3, 50, 64), (256, 64), (256,)))
    right = F.gelu(F.linear(x.double(), weight.double(), bias.double()), approximate="tanh")
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        found = linear_gelu(*(each.to(dtype) for each in (x, weight, bias))).double()
        assert (found - right).norm() / right.norm() < most
    compiled = torch.compile(lambda x: linear_gelu(x + 1, weight, bias))
    assert torch.allclose(compiled(x), linear_gelu(x + 1, weight, bias), atol=1e-3)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_features_are_those_of_the_processor(dtype, most):
    tower = make_tower().eval()
    patches = torch.rand(5, 64, 48) * 2 - 1
    with torch.inference_mode():
        right = tower.double()(patches.double())
        found = copy.deepcopy(tower).to("cuda", dtype)(patches.to("cuda", dtype))
    for ours, theirs in ((found.pooled, right.pooled), (found.patches, right.patches)):
        assert (ours.cpu().double() - theirs).norm() / theirs.norm() < most


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_those_of_the_processor(compiled):
    torch.manual_seed(0)
    layer = EncoderLayer(128, 300, 2, 1e-6)
    torch.nn.init.normal_(layer.mlp.fc1.bias)
    x = torch.randn(43, 16, 128)
    layer(x).square().mean().backward()
    there = copy.deepcopy(layer).cuda()
    there.zero_grad()
    if compiled:
        there.compile()
    there(x.cuda()).square().mean().backward()
    for ours, theirs in zip(there.parameters(), layer.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        # The bias of the keys has no gradient but rounding.
        assert (ours.grad.cpu() - theirs.grad).norm() < 1e-3 * theirs.grad.norm() + 1e-6


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_in_bfloat16_are_those_of_the_processor(compiled):
    """Through `siglip2.kernels`, with rows and columns that are no multiples of a block."""
    torch.manual_seed(0)
    layer = EncoderLayer(192, 300, 3, 1e-6).double()
    torch.nn.init.normal_(layer.mlp.fc1.bias)
    torch.nn.init.normal_(layer.self_attn.v_proj.bias)
    x = torch.randn(43, 16, 192, dtype=torch.float64)
    slope = torch.randn(43, 16, 192, dtype=torch.float64)
    layer(x).backward(slope)
    there = copy.deepcopy(layer).float().cuda()
    there.zero_grad()
    if compiled:
        there.compile()
    assert has_training_kernels(x.cuda().bfloat16())
    with torch.autocast("cuda", torch.bfloat16):
        out = there(x.cuda().bfloat16())
    out.backward(slope.cuda().to(out.dtype))
    for (name, ours), theirs in zip(there.named_parameters(), layer.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        # The bias of the keys has no gradient but rounding.
        error = (ours.grad.cpu().double() - theirs.grad).norm()
        assert error < 4e-2 * theirs.grad.norm() + 0.1 * name.endswith("k_proj.bias"), name
