"""Attributions add up to what they explain, point at the patches that matter, and leave weights alone."""

import pytest
import torch

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.errors import InvalidInput
from siglip2.network.attribution import attribute, grad_cam, gradient_x_input, integrated_gradients
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2

TEXT = TextConfig(width=32, depth=1, mlp_dim=48, num_heads=2, vocab_size=50, context_length=4)
IDS = torch.tensor([3, 4, 5, 1])
METHODS = ("gradient-x-input", "integrated-gradients", "grad-cam")


def make_model(*, naflex: bool = False) -> SigLIP2:
    size = None if naflex else 16
    shape = VisionConfig(
        width=32, depth=2, mlp_dim=48, num_heads=2, patch_size=4, image_size=size, position_grid=4
    )
    model = build_initialised(ModelConfig(vision=shape, text=TEXT), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def random(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_linear_score_is_shared_out_exactly():
    inputs, weight, baseline = random(6, 5), random(6, 5, seed=3), random(6, 5, seed=4)

    def score(x):
        return (x * weight).sum((1, 2)) + 7

    torch.testing.assert_close(gradient_x_input(score, inputs), (inputs * weight).sum(1))
    found = integrated_gradients(score, inputs, baseline, steps=3)
    torch.testing.assert_close(found, ((inputs - baseline) * weight).sum(1))
    torch.testing.assert_close(found.sum(), score(inputs[None])[0] - score(baseline[None])[0])


def test_grad_cam_of_a_mean_is_the_positive_part_of_its_terms():
    inputs, weight = random(6, 5), random(5, seed=3)
    found = grad_cam(lambda x: x.mean(1) @ weight, inputs)
    torch.testing.assert_close(found, (inputs @ weight / 6).clamp(min=0))
    assert (found == 0).any()
    assert (found > 0).any()


def test_integrated_gradients_of_a_square_need_no_more_than_the_middle():
    inputs = random(4, 3)
    found = integrated_gradients(lambda x: (x**2).sum((1, 2)), inputs, steps=5, batch_size=2)
    torch.testing.assert_close(found, (inputs**2).sum(1))
    assert not torch.allclose(gradient_x_input(lambda x: (x**2).sum((1, 2)), inputs), found)


@pytest.mark.parametrize("layer", [None, 0, -1])
@torch.no_grad()
def test_integrated_gradients_add_up_to_the_cosine(layer):
    model, patches = make_model(), random(16, 48).clamp(-1, 1)
    found = attribute(model, patches, IDS, grid=(4, 4), method="integrated-gradients", layer=layer, steps=200)
    text = model.embed_texts(IDS[None])[0]
    start = model.embed_images(torch.zeros_like(patches)[None])[0]
    difference = (model.embed_images(patches[None])[0] - start) @ text
    assert abs(difference) > 0.01
    assert float(found.sum()) == pytest.approx(float(difference), abs=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_shape_of_the_grid_and_weights_get_no_gradient(method):
    model = make_model(naflex=True)
    with torch.no_grad():
        found = attribute(model, random(15, 48).clamp(-1, 1), IDS, grid=(3, 5), method=method, steps=3)
    assert found.shape == (3, 5)
    assert not found.requires_grad
    assert found.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_patch_the_head_ignores_gets_nothing():
    """With the blocks made to do nothing, a patch of zeros gives a token that no method may blame."""
    model = make_model()
    with torch.no_grad():
        for layer in model.vision_model.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()  # type: ignore[union-attr]
            layer.mlp.fc2.weight.zero_()  # type: ignore[union-attr]
    patches = random(16, 48).clamp(-1, 1)
    patches[5] = 0
    for method in ("gradient-x-input", "integrated-gradients"):
        found = attribute(model, patches, IDS, grid=(4, 4), method=method).flatten()
        assert found[5] == 0
        assert (found.abs() > 1e-9).sum() == 15


def test_the_text_matters():
    model, patches = make_model(), random(16, 48).clamp(-1, 1)
    maps = [attribute(model, patches, ids, grid=(4, 4)) for ids in (IDS, IDS.flip(0))]
    assert not torch.allclose(maps[0], maps[1])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "rise"}, "unknown method 'rise'"),
        ({"grid": (3, 4)}, "a grid of 3x4 does not hold 16 patches"),
        ({"layer": 2}, "there is no block 2"),
    ],
)
def test_wrong_arguments_are_named(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        attribute(make_model(), random(16, 48), IDS, **({"grid": (4, 4)} | changes))


def test_no_steps_are_refused():
    with pytest.raises(InvalidInput, match="at least one step"):
        integrated_gradients(lambda x: x.sum((1, 2)), random(4, 3), steps=0)
