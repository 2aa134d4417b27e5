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

    All changes are made before the recipe is looked at, so that their order does not matter.

    Raises:
        InvalidInput: a path leads nowhere, or its value does not fit.
    """
    tree: dict[str, Any] = {}
    for path, value in changes.items():
        *above, last = path.replace("-", "_").split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise InvalidInput(f"--{path}: {name} is changed as a whole as well")
        if isinstance(node.get(last), dict):
            raise InvalidInput(f"--{path}: fields of {last} are changed as well")
        node[last] = value
    return _changed(recipe, tree, ())


def _changed(node: Any, changes: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    """A node with all of its changes at once: fields that have to fit each other can be changed together."""
    paths = {name: ".".join((*above, name)) for name in changes}
    if isinstance(node, tuple):
        places = list(node)
        for name, change in changes.items():
            if not name.isdecimal() or int(name) >= len(node):
                raise InvalidInput(f"--{paths[name]}: {name} is not one of the places 0 to {len(node) - 1}")
            place = int(name)
            places[place] = _value(node[place], type(node[place]), change, (*above, name))
        return tuple(places)
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        raise InvalidInput(f"--{next(iter(paths.values()))}: there is nothing below {'.'.join(above)}")
    fields = {each.name: each for each in dataclasses.fields(node)}
    for name in changes:
        if name not in fields:
            close = get_close_matches(name, fields, n=1)
            hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(fields)}"
            raise InvalidInput(f"--{paths[name]}: a recipe has no {name}{hint}")
    kinds = typing.get_type_hints(type(node))
    new = {
        name: _value(getattr(node, name), kinds[name], change, (*above, name))
        for name, change in changes.items()
    }
    try:
        return dataclasses.replace(node, **new)
    except (ValueError, ZeroDivisionError) as error:
        given = " ".join(f"--{paths[name]} {each}" for name, each in changes.items() if isinstance(each, str))
        raise InvalidInput(f"{given or '.'.join(above)}: {error}") from error


def _value(current: Any, kind: Any, change: Any, names: tuple[str, ...]) -> Any:
    if isinstance(change, dict):
        return _changed(current, change, names)
    return _parsed(change, kind, ".".join(names))


def _parsed(value: str, kind: Any, path: str) -> Any:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        if value not in options:
            raise InvalidInput(f"--{path} {value}: it must be one of {', '.join(options)}")
        return value
    if typing.get_origin(kind) is tuple:
        found = tuple(_parsed(part, options[0], path) for part in value.split(",") if part)
        if Ellipsis not in options and len(found) != len(options):
            raise InvalidInput(f"--{path} {value}: it takes {len(options)} values with commas between them")
        return found
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
