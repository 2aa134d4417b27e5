"""Commands and recipes that people's scripts name: a list that shows every change."""

import inspect
from pathlib import Path

from siglip2.cli.data import data
from siglip2.cli.train import train
from siglip2.recipes.registry import RECIPES

GOLDEN = Path(__file__).parent / "frozen_training.txt"


def options(command) -> list[str]:
    signature = inspect.signature(command)
    return [
        f"{command.__name__} {'' if each.default is each.empty else '--'}{name}"
        f"{'' if each.default is each.empty else f' {each.default!r}'}"
        for name, each in signature.parameters.items()
    ]


def test_options_and_recipes_are_those_that_were_published():
    """To accept a change, write what is found over the file, and name it in the changelog."""
    found = [*options(train), *options(data), *(f"recipe {name}" for name in (*RECIPES, "fine_tune"))]
    assert "\n".join(found) + "\n" == GOLDEN.read_text()
