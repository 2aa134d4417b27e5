"""ACID: scores by hand, a selection that finds the learnable pairs, and agreement between ranks."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.train.curation import pair_losses, select_jointly


def unit(count, generator):
    return F.normalize(torch.randn(count, 8, generator=generator), dim=-1)


def test_pair_losses_by_hand():
    generator = torch.Generator().manual_seed(0)
    images, texts = unit(5, generator), unit(5, generator)
    scale, bias = torch.tensor([2.0]), torch.tensor([-3.0])
    found = pair_losses(images, texts, scale, bias)
    for i in range(5):
        for j in range(5):
            logit = torch.exp(scale) * (images[i] @ texts[j]) + bias
            sign = 1 if i == j else -1
            assert found[i, j].item() == pytest.approx(-F.logsigmoid(sign * logit).item(), rel=1e-4)
    same = torch.eye(5, dtype=torch.bool)
    same[0, 1] = True
    assert pair_losses(images, texts, scale, bias, same)[0, 1] != found[0, 1]


def test_learnable_pairs_are_chosen_and_hopeless_ones_are_not():
    """A third learnable, a third learned already, a third noise that the teacher cannot do either."""
    learnability = torch.zeros(96, 96)
    learnability.diagonal()[:32] = 8.0
    learnability.diagonal()[64:] = -8.0
    kept = select_jointly(learnability, 32, torch.Generator().manual_seed(1))
    assert len(kept) == len(set(kept.tolist())) == 32
    assert (kept < 32).float().mean() > 0.9
    assert (kept >= 64).sum() == 0


def test_choice_is_joint():
    """Pairs that are hard only together, not each by itself, are found together."""
    size = 64
    learnability = torch.zeros(size, size)
    learnability[:16, :16] = 2.0
    learnability.diagonal()[:] = 0.0
    alone = together = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        alone += (select_jointly(learnability, 16, generator, chunks=1) < 16).sum().item()
        together += (select_jointly(learnability, 16, generator, chunks=8) < 16).sum().item()
    assert together > 1.8 * alone


def test_the_same_seed_selects_the_same_on_every_rank():
    learnability = torch.randn(40, 40)
    first, second = (select_jointly(learnability, 10, torch.Generator().manual_seed(5)) for _ in range(2))
    other = select_jointly(learnability, 10, torch.Generator().manual_seed(6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(select_jointly(learnability, 40, torch.Generator()), torch.arange(40))
