"""The blockwise loss equals the plain formula, and saves no more for bigger batches."""

import pytest
import torch
from torch.nn import functional as F

from siglip2.losses.sigmoid import sigmoid_loss
from siglip2.losses.sigmoid_blockwise import blockwise_sigmoid_loss


def inputs(num_images: int, num_texts: int, dtype=torch.float64, width: int = 16):
    generator = torch.Generator().manual_seed(num_images + num_texts)
    rows = torch.randn(num_images + num_texts, width, generator=generator, dtype=dtype)
    images, texts = torch.nn.functional.normalize(rows, dim=1).split([num_images, num_texts])
    scale, bias = torch.tensor([1.7], dtype=dtype), torch.tensor([-3.0], dtype=dtype)
    return [each.clone().requires_grad_() for each in (images, texts, scale, bias)]


def gradients(loss, arguments):
    loss.backward()
    return [taken(each) for each in arguments]


def taken(argument) -> torch.Tensor:
    assert argument.grad is not None
    return argument.grad


@pytest.mark.parametrize("block", [1, 5, 12, 100])
def test_equals_the_formula(block):
    ours, plain = inputs(12, 12, torch.float32), inputs(12, 12, torch.float32)
    loss, expected = blockwise_sigmoid_loss(*ours, block=block), sigmoid_loss(*plain)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, ours), gradients(expected, plain))


def test_groups_say_what_belongs_together():
    ours, plain = inputs(9, 4, torch.float32), inputs(9, 4, torch.float32)
    image_groups, text_groups = torch.tensor([0, 1, 2, 0, 1, 7, 7, 3, 0]), torch.tensor([0, 1, 2, 7])
    loss = blockwise_sigmoid_loss(*ours, image_groups=image_groups, text_groups=text_groups, block=3)
    expected = sigmoid_loss(*plain, positives=image_groups[:, None] == text_groups)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, ours), gradients(expected, plain))


def test_gradients_in_float64_by_differences():
    def loss(images, texts, scale, bias):
        return blockwise_sigmoid_loss(images, texts, scale, bias, block=4)

    assert torch.autograd.gradcheck(loss, inputs(6, 6))


def test_an_outer_factor_reaches_every_gradient():
    once, twice = inputs(6, 6), inputs(6, 6)
    single = gradients(blockwise_sigmoid_loss(*once), once)
    double = gradients(2 * blockwise_sigmoid_loss(*twice), twice)
    torch.testing.assert_close([2 * each for each in single], double)


def saved_bytes(loss_function, num_texts: int) -> int:
    saved = []
    arguments = inputs(8, num_texts)
    groups = {"image_groups": torch.arange(8), "text_groups": torch.arange(num_texts)}
    positives = groups["image_groups"][:, None] == groups["text_groups"]
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor.numel() * tensor.element_size()) or tensor, lambda tensor: tensor
    )
    with hooks:
        if loss_function is blockwise_sigmoid_loss:
            images, texts, scale, bias = arguments
            blockwise_sigmoid_loss(images, texts, scale, bias, **groups, block=16)
        else:
            sigmoid_loss(*arguments, positives=positives)
    return sum(saved)


def test_what_is_saved_for_backward_is_as_large_as_the_embeddings():
    for num_texts in (64, 4096):
        embeddings = 8 * (8 * 16 + num_texts * 16 + 2)
        assert saved_bytes(blockwise_sigmoid_loss, num_texts) == embeddings
    # The plain formula keeps matrices of logits on top, so that the check above can fail.
    assert saved_bytes(sigmoid_loss, 4096) > 8 * 4096 * 4 * 2 + 8 * 4096 * 16


def test_mistakes_are_named():
    images, texts, scale, bias = inputs(4, 3)
    with pytest.raises(ValueError, match="4 images and 3 texts"):
        blockwise_sigmoid_loss(images, texts, scale, bias)
    with pytest.raises(ValueError, match="or of neither"):
        blockwise_sigmoid_loss(images, texts, scale, bias, image_groups=torch.arange(4))


def test_an_image_with_two_texts_is_a_pair_with_both():
    torch.manual_seed(0)
    images, texts = (F.normalize(torch.randn(count, 8, dtype=torch.double), dim=-1) for count in (4, 5))
    scale, bias = torch.tensor([0.7], dtype=torch.double), torch.tensor([-1.0], dtype=torch.double)
    groups = torch.tensor([[0, 3], [1, 1], [2, 4], [3, 3]])
    found = blockwise_sigmoid_loss(
        images, texts, scale, bias, image_groups=groups, text_groups=torch.arange(5), block=2
    )
    positives = torch.zeros(4, 5, dtype=torch.bool)
    positives[[0, 0, 1, 2, 2, 3], [0, 3, 1, 2, 4, 3]] = True
    signs = torch.where(positives, 1.0, -1.0).double()
    right = -F.logsigmoid(signs * (scale.exp() * (images @ texts.T) + bias)).sum() / 4
    assert torch.allclose(found, right)
