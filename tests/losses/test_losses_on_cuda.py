"""What the losses do otherwise on a GPU: compiled, and with products that add to a float32 sum."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.losses.self_distillation import DistillationLoss
from siglip2.losses.vocabulary import vocabulary_loss

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    # torch 2.11's compiler warns of torch's own use of what it deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_the_vocabulary_in_parts_is_the_plain_formula():
    torch.manual_seed(0)
    hidden, weight = torch.randn(37, 64), 0.3 * torch.randn(1000, 64)
    targets = torch.randint(0, 1000, (37,))
    right = [each.double().requires_grad_() for each in (hidden, weight)]
    loss = F.cross_entropy(right[0] @ right[1].T, targets)
    loss.backward()
    ours = [each.cuda().requires_grad_() for each in (hidden, weight)]
    with torch.autocast("cuda", torch.bfloat16):
        found = vocabulary_loss(ours[0], ours[1], targets.cuda(), chunk_logits=10_000)
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-2)
    for mine, theirs in zip(ours, right, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad.cpu().double() - theirs.grad).norm() / theirs.grad.norm() < 2e-2


def test_distillation_is_that_of_the_processor():
    torch.manual_seed(0)
    student, teacher = torch.randn(8, 5, 300, requires_grad=True), torch.randn(5, 300)
    here, there = DistillationLoss(300), DistillationLoss(300).cuda()
    right = here(student, teacher)
    right.backward()
    moved = student.detach().cuda().requires_grad_()
    found = there(moved, teacher.cuda())
    found.backward()
    assert found.item() == pytest.approx(right.item(), rel=1e-5)
    assert moved.grad is not None
    assert student.grad is not None
    assert torch.allclose(moved.grad.cpu(), student.grad, atol=1e-6)
    for each in (here, there):
        each.move_centre()
    assert torch.allclose(there.centre.cpu(), here.centre, atol=1e-6)
