"""What `--dry-run` prints: the expanded recipe, its stages on a time line, and what they cost."""

import json
from dataclasses import asdict

from siglip2.recipes.cost import H100_FLOPS, UTILISATION, stage_costs, state_bytes
from siglip2.recipes.recipe import Recipe

_LINE = 60


def expanded(recipe: Recipe) -> str:
    """Every field of a recipe as JSON."""
    return json.dumps(asdict(recipe), indent=2) + "\n"


def time_line(recipe: Recipe) -> str:
    """A bar for each stage over the run's steps."""
    lines = []
    for index, stage in enumerate(recipe.stages):
        end = recipe.stages[index + 1].begin if index + 1 < len(recipe.stages) else 1.0
        first, last = round(stage.begin * _LINE), max(round(end * _LINE), round(stage.begin * _LINE) + 1)
        bar = " " * first + "=" * (last - first)
        lines.append(f"{bar:<{_LINE + 1}} {stage.begin:5.0%} to {end:4.0%}  {stage.name}")
    return "\n".join(lines)


def plan(recipe: Recipe) -> str:
    """The whole page."""
    parts = [expanded(recipe), time_line(recipe), ""]
    if recipe.branch is not None:
        stretch = recipe.branch.steps_stretch
        note = f", the rest stretched {stretch:g} times" if stretch != 1 else ""
        parts.append(f"goes on from {recipe.branch.recipe} at {recipe.branch.share:.0%}{note}")
    parts += [
        f"parameters       {recipe.model.num_parameters:>18,}",
        f"training state   {state_bytes(recipe) / 2**30:>14.1f} GiB  (float32, without activations)",
    ]
    costs = stage_costs(recipe)
    for cost in costs:
        parts.append(
            f"{cost.stage:34} {cost.steps:>11,} steps {cost.examples:>16,} images "
            f"{cost.flops:10.2e} FLOP {cost.gpu_hours:>12,.1f} H100 hours"
        )
    hours = sum(cost.gpu_hours for cost in costs)
    parts.append(
        f"all stages: {hours:,.1f} H100 hours at {UTILISATION:.0%} of {H100_FLOPS / 1e12:.0f} TFLOP/s"
    )
    if recipe.expected:
        parts.append(f"expected (paper): {recipe.expected}")
    return "\n".join(parts) + "\n"
