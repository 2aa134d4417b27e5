"""Self-distillation, masking, the softmax loss and distillation from embeddings, against plain forms."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.config import VisionConfig
from siglip2.losses.embedding_distillation import pair_distillation_loss
from siglip2.losses.masked_prediction import draw_mask, masked_patches
from siglip2.losses.self_distillation import DistillationLoss
from siglip2.losses.softmax import softmax_loss
from siglip2.network.projection_head import ProjectionHead
from siglip2.network.vision import VisionTower


def test_distillation_equals_the_formula_written_out():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 5, 12, generator=generator)
    teacher = torch.randn(5, 12, generator=generator)
    loss = DistillationLoss(12)
    loss.centre += torch.randn(12, generator=generator)
    centre = loss.centre.clone()
    total = 0.0
    for view in range(3):
        for image in range(5):
            p = F.softmax((teacher[image] - centre) / 0.04, dim=0)
            total -= (p * F.log_softmax(student[view, image] / 0.1, dim=0)).sum().item()
    assert loss(student, teacher).item() == pytest.approx(total / 15, rel=1e-5)
    loss.move_centre()
    assert torch.allclose(loss.centre, 0.9 * centre + 0.1 * teacher.mean(0))


def test_no_gradient_reaches_the_teacher():
    student, teacher = (torch.randn(2, 4, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True))
    DistillationLoss(8)(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_centre_spreads_a_teacher_that_always_says_the_same():
    """Without a centre every image would be given to one prototype; with it the shares even out."""
    loss = DistillationLoss(6)
    teacher = torch.zeros(32, 6)
    teacher[:, 2] = 1.0
    for _ in range(200):
        loss(torch.zeros(1, 32, 6), teacher)
        loss.move_centre()
    shares = F.softmax((teacher - loss.centre) / loss.teacher_temperature, dim=-1)
    assert shares.max() < 0.2


def tower():
    return VisionTower(
        VisionConfig(width=16, depth=1, mlp_dim=32, num_heads=2, patch_size=4, image_size=16, position_grid=4)
    )


def test_masks_hide_exactly_half_at_random_places():
    mask = draw_mask(torch.rand(50, 16, generator=torch.Generator().manual_seed(0)))
    assert (mask.sum(dim=1) == 8).all()
    assert (mask[0] != mask[1]).any()
    assert mask.float().sum(dim=0).min() > 10


def test_masked_patches_do_not_reach_the_student():
    student = tower()
    patches = torch.randn(2, 16, 48)
    mask = draw_mask(torch.rand(2, 16, generator=torch.Generator().manual_seed(1)))
    token = torch.randn(16)
    changed = torch.where(mask[..., None], patches + 5, patches)
    assert torch.equal(
        masked_patches(student, patches, mask, token), masked_patches(student, changed, mask, token)
    )
    nothing = torch.zeros_like(mask)
    assert torch.allclose(masked_patches(student, patches, nothing, token), student(patches).patches)


def test_head_gives_cosines():
    head = ProjectionHead(16, hidden=8, bottleneck=4, prototypes=10)
    head.init_weights(torch.Generator().manual_seed(0))
    scores = head(torch.randn(3, 16))
    assert scores.shape == (3, 10)
    assert scores.abs().max() <= 1 + 1e-5


def test_softmax_loss_equals_two_cross_entropies():
    images, texts = (F.normalize(torch.randn(6, 5), dim=-1) for _ in range(2))
    scale = torch.tensor([1.5])
    logits = torch.exp(scale) * images @ texts.T
    rows = -logits.log_softmax(1).diagonal().mean()
    columns = -logits.log_softmax(0).diagonal().mean()
    assert softmax_loss(images, texts, scale).item() == pytest.approx((rows + columns).item() / 2, rel=1e-5)


def test_pair_distillation_is_least_at_the_teacher_and_sigmoid_loss_where_it_is_certain():
    teacher = torch.randn(4, 6)
    same = pair_distillation_loss(teacher, teacher)
    assert same < pair_distillation_loss(teacher + 0.3 * torch.randn(4, 6), teacher)
    certain = torch.full((4, 4), -50.0).fill_diagonal_(50.0)
    logits = torch.randn(4, 4)
    signs = 2 * torch.eye(4) - 1
    expected = -F.logsigmoid(signs * logits).sum(dim=1).mean()
    assert pair_distillation_loss(logits, certain).item() == pytest.approx(expected.item(), rel=1e-5)
