"""The check before the first step says what is off: normalisation, case, padding, scale, bias, pairs."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from siglip2.train.batches import Views
from siglip2.train.parallel import Ranks
from siglip2.train.sanity import NotSane, check_true_pairs

COUNT = 32
TEXTS = [f"caption {number}" for number in range(COUNT)]


def tokenize(texts):
    """Letters, one end token, padding; keeps the case."""
    rows = [[2 + ord(letter) for letter in text[:14]] + [1] for text in texts]
    return torch.tensor([row + [0] * (16 - len(row)) for row in rows]).numpy()


class Knows(nn.Module):
    """Stands in for weights that know every pair, with a scale and bias of one's choice."""

    def __init__(self, scale: float = 110.0, bias: float = -16.0, shift: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        images = F.normalize(torch.randn(COUNT, 256, generator=generator), dim=1)
        noise = F.normalize(torch.randn(COUNT, 256, generator=generator), dim=1)
        self.found = images, F.normalize(0.25 * images + noise, dim=1).roll(shift, 0)
        self.scalars = torch.tensor([scale]).log(), torch.tensor([bias])

    def forward(self, views, task):
        return *self.found, *self.scalars


def views(**changes):
    numbers = torch.arange(COUNT)
    patches = torch.linspace(-1, 1, COUNT * 4 * 12).view(COUNT, 4, 12)
    ids = torch.from_numpy(tokenize(TEXTS))
    made = Views(patches=patches, positions=numbers, ids=ids, text_numbers=numbers, text_of_image=numbers)
    return dataclasses.replace(made, **changes)


def check(module, seen, texts=TEXTS):
    return check_true_pairs(module, seen, Ranks(), texts=texts, tokenize=tokenize)


def test_sound_weights_pass():
    found = check(Knows(), views())
    assert found["true"] > found["shuffled"] + 0.15


@pytest.mark.parametrize(
    ("module", "changes", "texts", "message"),
    [
        (
            Knows(),
            {"patches": views().patches / 2 + 0.5},
            TEXTS,
            "normalisation: pixels go from 0.00 to 1.00",
        ),
        (Knows(), {"patches": views().patches * 127.5}, TEXTS, "normalisation: pixels go from -127"),
        (Knows(), {"ids": views().ids.roll(3, 1)}, TEXTS, "padding"),
        (Knows(), {"ids": views().ids.masked_fill(views().ids == 0, 1)}, TEXTS, "padding"),
        (Knows(), {}, [text.upper() for text in TEXTS], "case: captions are not lower-cased"),
        (Knows(scale=4.7), {}, TEXTS, "the scale of the initial weights, 4.7, does not fit"),
        (Knows(bias=0.0), {}, TEXTS, "the bias of the initial weights, 0, does not fit"),
        (Knows(shift=1), {}, TEXTS, "do not tell true pairs from shuffled ones"),
    ],
)
def test_each_fault_is_named(module, changes, texts, message):
    with pytest.raises(NotSane, match=message):
        check(module, views(**changes), texts)
