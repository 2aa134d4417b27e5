"""Packed images give what padded ones give: values and gradients, in any order of sizes."""

import pytest
import torch
from torch import Tensor

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.errors import InvalidInput
from siglip2.network import attention
from siglip2.network.attention import Segments
from siglip2.network.attention import attend_packed as attend
from siglip2.network.init import build_initialised
from siglip2.network.packed import encode_in_one_sequence, encode_packed
from siglip2.network.vision import VisionTower

TEXT = TextConfig(width=32, depth=1, mlp_dim=48, num_heads=2, vocab_size=50, context_length=4)
GRIDS = [(3, 5), (3, 5), (1, 1), (2, 7), (7, 2), (4, 4)]


def make_tower(*, naflex: bool = True) -> VisionTower:
    size = None if naflex else 16
    shape = VisionConfig(
        width=32, depth=2, mlp_dim=48, num_heads=2, patch_size=4, image_size=size, position_grid=4
    )
    model = build_initialised(ModelConfig(vision=shape, text=TEXT), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.vision_model


def make_images(grids) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(h * w, 48, generator=generator, dtype=torch.float64) for h, w in grids]


def padded(images: list[Tensor], grids) -> dict[str, Tensor]:
    patches = torch.nn.utils.rnn.pad_sequence(images, batch_first=True)
    lengths = torch.tensor([len(each) for each in images])
    mask = torch.arange(patches.shape[1]) < lengths[:, None]
    return {"patches": patches, "grids": torch.tensor(grids), "mask": mask}


def gradients(tower: VisionTower, pooled: Tensor, patches: Tensor) -> dict[str, Tensor]:
    """Of a score that weighs every number of the output differently."""
    weight = torch.linspace(-1, 2, patches.numel(), dtype=patches.dtype).view_as(patches)
    score = (patches * weight).sum() + (pooled * torch.linspace(1, 3, pooled.shape[1])).sum()
    names, parameters = zip(*tower.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(score, parameters), strict=True))


def test_values_and_gradients_equal_the_padded_ones():
    tower, images = make_tower(), make_images(GRIDS)
    ours = encode_packed(tower, torch.cat(images), GRIDS)
    inputs = padded(images, GRIDS)
    theirs = tower(**inputs)
    torch.testing.assert_close(ours.pooled, theirs.pooled)
    real = theirs.patches[inputs["mask"]]
    torch.testing.assert_close(ours.patches, real)
    assert ours.lengths == tuple(len(each) for each in images)
    expected = gradients(tower, theirs.pooled, real)
    for name, gradient in gradients(tower, ours.pooled, ours.patches).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
        # Adding one number to every key changes no attention, so that only their biases go without.
        assert gradient.abs().max() > 1e-6 or name.endswith("k_proj.bias"), name


@pytest.mark.parametrize("multiple", [1, 32, 100])
def test_a_padded_batch_in_one_sequence_gives_the_same(multiple):
    """Sequences are filled up to a multiple, and what fills them up is seen by nobody."""
    tower, images = make_tower(), make_images(GRIDS)
    inputs = padded(images, GRIDS)
    lengths = []
    tower.encoder.register_forward_pre_hook(lambda module, arguments: lengths.append(arguments[0].shape[1]))
    ours = encode_in_one_sequence(tower, **inputs, multiple=multiple)
    theirs = tower(**inputs)
    assert lengths == [-(-75 // multiple) * multiple, 16]
    torch.testing.assert_close(ours.pooled, theirs.pooled)
    mask = inputs["mask"]
    torch.testing.assert_close(ours.patches[mask], theirs.patches[mask])
    expected = gradients(tower, theirs.pooled, theirs.patches[mask])
    for name, gradient in gradients(tower, ours.pooled, ours.patches[mask]).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_a_fixed_tower_packs_its_own_grid():
    tower, images = make_tower(naflex=False), make_images([(4, 4)] * 2)
    ours = encode_packed(tower, torch.cat(images), [(4, 4)] * 2)
    torch.testing.assert_close(ours.pooled, tower(torch.stack(images)).pooled)
    with pytest.raises(InvalidInput, match="4x4 patches only"):
        encode_packed(tower, torch.cat(images)[:15], [(3, 5)])


@torch.no_grad()
def test_images_do_not_see_each_other():
    tower, images = make_tower(), make_images(GRIDS)
    before = encode_packed(tower, torch.cat(images), GRIDS)
    images[3] = images[3] + 1
    after = encode_packed(tower, torch.cat(images), GRIDS)
    changed = (before.pooled != after.pooled).any(1).tolist()
    assert changed == [False, False, False, True, False, False]


def test_neighbours_of_one_length_share_a_call(monkeypatch):
    """(3, 5) twice, then one patch, then (2, 7) and (7, 2), then (4, 4): four calls, not six."""
    lengths = tuple(h * w for h, w in GRIDS)
    assert Segments(lengths, torch.device("cpu")).runs == ((2, 15), (1, 1), (2, 14), (1, 16))
    called = []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F,
        "scaled_dot_product_attention",
        lambda *a, **k: called.append(a[0].shape) or kernel(*a, **k),
    )
    q = torch.randn(sum(lengths), 2, 4)
    attend(q, q, q, Segments(lengths, q.device))
    assert [shape[0] for shape in called] == [2, 1, 2, 1]


@pytest.mark.parametrize("one_query", [False, True])
def test_the_flash_kernel_gives_the_same(one_query):
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    segments = Segments((70, 3, 3, 130), torch.device("cuda"))
    k, v = (torch.randn(206, 4, 64, device="cuda") for _ in range(2))
    q = torch.randn(4 if one_query else 206, 4, 64, device="cuda")
    exact = attend(q, k, v, segments, one_query=one_query)
    ours = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), segments, one_query=one_query)
    assert (ours.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("grids", [[], [(3, 5)], [(4, 4), (0, 1)]])
def test_grids_that_do_not_fit_are_refused(grids):
    with pytest.raises(InvalidInput, match="every image needs a grid"):
        encode_packed(make_tower(), make_images([(4, 4)])[0], grids)
