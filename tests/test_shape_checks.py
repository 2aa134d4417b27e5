"""While tests run, annotations are checked: a wrong shape is an error where it first appears."""

import jaxtyping
import pytest
import torch

from siglip2.losses.sigmoid import sigmoid_loss


def test_a_wrong_shape_is_an_error():
    scale, bias = torch.zeros(1), torch.zeros(1)
    with pytest.raises(jaxtyping.TypeCheckError):
        sigmoid_loss(torch.zeros(2, 8), torch.zeros(2, 7), scale, bias)


def test_a_wrong_type_is_an_error():
    images = torch.zeros(2, 8)
    with pytest.raises(jaxtyping.TypeCheckError):
        sigmoid_loss(images.numpy(), images, torch.zeros(1), torch.zeros(1))  # pyright: ignore[reportArgumentType]
