"""The sigmoid loss against the reference's numbers and against the written formula in float64."""

import numpy as np
import pytest
import torch

from siglip2.losses.sigmoid import sigmoid_loss


def formula(images, texts, log_scale, bias, signs):
    total = 0.0
    for i in range(len(images)):
        for j in range(len(texts)):
            logit = np.exp(log_scale) * images[i] @ texts[j] + bias
            total += np.log1p(np.exp(-signs[i, j] * logit))
    return total / len(images)


def unit_rows(rng, rows, width=8):
    x = rng.standard_normal((rows, width))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_reference_values_and_gradients(golden_dir):
    golden = np.load(golden_dir / "sigmoid_loss.npz")
    names = ("zimg", "ztxt", "log_scale", "bias")
    inputs = [torch.tensor(np.atleast_1d(golden[name]), requires_grad=True) for name in names]
    loss = sigmoid_loss(*inputs)
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-5)
    for tensor, name in zip(inputs, names, strict=True):
        expected = np.atleast_1d(golden[f"grad_{name}"])
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_several_positives_of_one_image_follow_the_formula():
    rng = np.random.default_rng(0)
    images, texts = unit_rows(rng, 5), unit_rows(rng, 3)
    positives = rng.random((5, 3)) < 0.4
    loss = sigmoid_loss(
        torch.tensor(images),
        torch.tensor(texts),
        torch.tensor([1.3]),
        torch.tensor([-2.0]),
        torch.tensor(positives),
    )
    expected = formula(images, texts, 1.3, -2.0, np.where(positives, 1, -1))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_scale_is_not_clamped():
    embedding = torch.eye(4)
    small, large = (
        sigmoid_loss(embedding, embedding, torch.tensor([t]), torch.tensor([-60.0])) for t in (4.6, 4.9)
    )
    assert large < small


def test_unequal_numbers_need_positives():
    with pytest.raises(ValueError, match="4 images and 3 texts"):
        sigmoid_loss(torch.eye(4), torch.eye(4)[:3], torch.zeros(1), torch.zeros(1))
