"""Recipes by name, and what of them may be changed on the command line."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from siglip2.errors import InvalidInput
from siglip2.recipes import published
from siglip2.recipes.nano import nano, nano_128, nano_main, nano_sigmoid
from siglip2.recipes.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": nano,
    "nano_sigmoid": nano_sigmoid,
    "nano_main": nano_main,
    "nano_128": nano_128,
    "base_patch16_256": published.base_patch16_256,
    "base_patch16_512": published.base_patch16_512,
    "base_patch32_256": published.base_patch32_256,
    "base_patch16_naflex": published.base_patch16_naflex,
    "base_patch16_256_curated": published.base_patch16_256_curated,
    "base_patch32_256_curated": published.base_patch32_256_curated,
}


def find_recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise InvalidInput(f"there is no recipe {name!r}{hint}; there are {', '.join(RECIPES)} and fine_tune")
    return RECIPES[name]()


def override(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """A recipe with fields changed by dotted path, such as `optimizer.learning_rate` or `stages.1.begin`.

    Raises:
        InvalidInput: a path leads nowhere, or its value does not fit.
    """
    for path, value in changes.items():
        recipe = _changed(recipe, path.replace("-", "_").split("."), value, path)
    return recipe


def _changed(node: Any, names: list[str], value: str, path: str) -> Any:
    name, *rest = names
    if isinstance(node, tuple):
        if not name.isdecimal() or int(name) >= len(node):
            raise InvalidInput(f"--{path}: {name} is not one of the places 0 to {len(node) - 1}")
        place = int(name)
        new = _changed(node[place], rest, value, path) if rest else _parsed(value, type(node[place]), path)
        return (*node[:place], new, *node[place + 1 :])
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        raise InvalidInput(f"--{path}: there is nothing below {'.'.join(path.split('.')[: -len(names)])}")
    fields = {each.name: each for each in dataclasses.fields(node)}
    if name not in fields:
        close = get_close_matches(name, fields, n=1)
        hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(fields)}"
        raise InvalidInput(f"--{path}: a recipe has no {name}{hint}")
    current = getattr(node, name)
    if rest:
        new = _changed(current, rest, value, path)
    else:
        new = _parsed(value, typing.get_type_hints(type(node))[name], path)
    try:
        return dataclasses.replace(node, **{name: new})
    except ValueError as error:
        raise InvalidInput(f"--{path} {value}: {error}") from error


def _parsed(value: str, kind: Any, path: str) -> Any:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        if value not in options:
            raise InvalidInput(f"--{path} {value}: it must be one of {', '.join(options)}")
        return value
    if typing.get_origin(kind) is tuple:
        inner = options[0]
        return tuple(_parsed(part, inner, path) for part in value.split(",") if part)
    if type(None) in options:
        return None if value.lower() == "none" else _parsed(value, options[0], path)
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        if kind is int:
            return int(value.replace("_", ""))
        if kind is float:
            return float(value)
    except (ValueError, KeyError):
        raise InvalidInput(f"--{path} {value}: {value!r} is no {kind.__name__}") from None
    if kind is str:
        return value
    raise InvalidInput(f"--{path}: name one of its fields, it is not a single value")
