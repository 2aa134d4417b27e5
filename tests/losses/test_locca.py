"""LocCa: targets, the decoder's masks, and the chunked vocabulary loss against the plain one."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.config import TextConfig
from siglip2.losses.locca import (
    LocCaLoss,
    Region,
    caption_target,
    draw_parallel,
    grounded_target,
    referring_target,
)
from siglip2.losses.vocabulary import _fused_slope, _slope, chunked_cross_entropy, vocabulary_loss
from siglip2.network.decoder import CaptionDecoder

CONFIG = TextConfig(width=32, depth=3, mlp_dim=64, num_heads=2, vocab_size=50, context_length=8)


@pytest.fixture
def decoder():
    built = CaptionDecoder(CONFIG, 24)
    built.init_weights(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(built.output.weight, std=0.3)
    return built.eval()


def test_targets_as_text():
    region = Region((0.1, 0.25, 0.5, 1.0), "a red bus")
    assert caption_target("two dogs") == "cap: two dogs"
    assert referring_target(region) == "aref: a red bus : 125 50 500 250"
    assert grounded_target(region) == "gcap: 125 50 500 250 : a red bus"
    assert referring_target(Region((-0.2, 0, 1.3, 1), "x")).endswith("0 0 500 500")


def test_half_of_the_layers_rounded_up(decoder):
    assert len(decoder.layers) == 2


def test_causal_positions_see_the_past_alone_and_parallel_ones_no_text(decoder):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 50, (1, 8), generator=generator)
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % 50
    memory = torch.randn(1, 6, 24, generator=generator)
    for parallel, first in ((False, 6), (True, 8)):
        flag = torch.tensor([parallel])
        before, after = (decoder(each, memory, flag) for each in (ids, changed))
        assert torch.equal(before[0, :first], after[0, :first])
        if not parallel:
            assert not torch.allclose(before[0, 6:], after[0, 6:])


def test_masked_patches_are_not_seen(decoder):
    memory = torch.randn(1, 6, 24)
    ids, flag = torch.arange(3, 11)[None], torch.tensor([False])
    mask = torch.tensor([[True] * 4 + [False] * 2])
    other = memory.clone()
    other[:, 4:] += 1
    assert torch.equal(decoder(ids, memory, flag, mask), decoder(ids, other, flag, mask))
    assert not torch.equal(decoder(ids, memory, flag), decoder(ids, other, flag))


def test_chunked_vocabulary_loss_equals_the_plain_one():
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(37, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(90, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(90, (37,), generator=generator)
    plain = F.cross_entropy(hidden @ weight.T, targets)
    expected = torch.autograd.grad(plain, (hidden, weight))
    # Torch's own where it has one, and ours, which older versions and bfloat16 take.
    for loss in (
        vocabulary_loss(hidden, weight, targets, chunk_logits=90 * 5),
        chunked_cross_entropy(hidden, weight, targets, 5) / 37,
    ):
        found = torch.autograd.grad(loss, (hidden, weight))
        assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-7)


def test_what_a_gpu_compiles_is_what_a_processor_computes():
    scores = torch.randn(7, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([0, 29, 3, 3, 11, 5, 6])
    for ours, theirs in zip(
        _fused_slope(scores, targets, torch.float64), _slope(scores, targets, torch.float64), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_vocabulary_loss_in_bfloat16_stays_near_and_adds_up_in_float32():
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(600, 16, generator=generator, requires_grad=True)
    weight = torch.randn(90, 16, generator=generator, requires_grad=True)
    targets = torch.randint(90, (600,), generator=generator)
    plain = F.cross_entropy(hidden @ weight.T, targets)
    expected = torch.autograd.grad(plain, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss = vocabulary_loss(hidden, weight, targets, chunk_logits=90 * 50)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=1e-3)
    for ours, theirs in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.9999


def test_vocabulary_loss_of_no_tokens_is_zero_with_gradients():
    weight = torch.randn(5, 3, requires_grad=True)
    loss = vocabulary_loss(torch.zeros(0, 3), weight, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None


def test_vocabulary_loss_holds_few_logits():
    """Saved for the backward pass: the states, not tokens times vocabulary."""
    saved = 0

    def count(tensor):
        nonlocal saved
        saved += tensor.numel()
        return tensor

    hidden, weight = torch.randn(400, 8, requires_grad=True), torch.randn(3000, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda each: each):
        vocabulary_loss(hidden, weight, torch.zeros(400, dtype=torch.long), chunk_logits=3000 * 20)
    assert saved < 400 * 3000 / 2


def test_padding_and_absent_regions_cost_nothing(decoder):
    patches = torch.randn(2, 6, 24)
    ids = torch.tensor([[5, 6, 1, 0, 0, 0, 0, 0], [7, 8, 9, 1, 0, 0, 0, 0]])

    def loss(targets, owners):
        causal = torch.zeros(len(targets), dtype=torch.bool)
        return LocCaLoss()(decoder, patches, targets, owners, causal)

    both = loss(ids, torch.tensor([0, 1]))
    one, two = (loss(ids[i : i + 1], torch.tensor([i])) for i in (0, 1))
    assert both.item() == pytest.approx((3 * one.item() + 4 * two.item()) / 7, rel=1e-5)


def test_half_of_the_captions_and_no_region_is_parallel():
    captions = torch.arange(1000) % 2 == 0
    parallel = draw_parallel(captions, torch.rand(1000, generator=torch.Generator().manual_seed(3)))
    assert not parallel[~captions].any()
    assert 0.44 < parallel[captions].float().mean() < 0.56


def test_gradients_of_pictures_with_several_targets_are_the_same_each_time(decoder):
    """Indexing adds gradients up in whatever order threads come: two runs differed in their bits."""
    torch.manual_seed(0)
    count = 96
    patches = torch.randn(count, 128, 24, requires_grad=True)
    targets = torch.randint(2, decoder.config.vocab_size, (4 * count, decoder.config.context_length))
    image, parallel = torch.arange(4 * count) % count, torch.arange(4 * count) % 3 == 0
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(8):
            patches.grad = None
            LocCaLoss()(decoder, patches, targets, image, parallel).backward()
            assert patches.grad is not None
            found.append(patches.grad.clone())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)
