"""Which optimiser each tensor has and whether it decays, as a list that shows every change."""

from pathlib import Path

import torch
from tests.train.tiny_recipes import all_recipes, tiny

from siglip2.train.objective import Objective
from siglip2.train.optimizer import build_optimizers, set_learning_rate

GOLDEN = Path(__file__).parent / "golden_groups.txt"


def groups() -> str:
    recipe = tiny(all_recipes()["nano"])
    objective = Objective(recipe)
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    for index in range(2):
        objective.enter(index, average)
    names = {parameter: name for name, parameter in objective.named_parameters()}
    optimizers = build_optimizers(objective, recipe.optimizer)
    set_learning_rate(optimizers, 0.5)
    lines = [
        f"{names[parameter]} {type(optimizer).__name__} rate {group['lr']:g} decay {group['weight_decay']:g}"
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    still = [
        f"{name} does not learn" for name, each in objective.named_parameters() if not each.requires_grad
    ]
    return "\n".join(sorted(lines + still)) + "\n"


def test_optimisers_rates_and_decay_of_every_tensor():
    """To accept a change, write what is printed over the file."""
    assert groups() == GOLDEN.read_text()


def test_decay_is_big_visions():
    """Decoupled, times the schedule: p -= schedule * wd * p, wd = 0.1 * 1e-3 (`big_vision/optax.py`)."""
    weight = torch.nn.Linear(3, 3, bias=False)
    before = weight.weight.detach().clone()
    optimizers = build_optimizers(weight, all_recipes()["base_patch16_256"].optimizer)
    set_learning_rate(optimizers, 0.25)
    weight.weight.grad = torch.zeros(3, 3)
    optimizers[0].step()
    torch.testing.assert_close(weight.weight.detach(), before * (1 - 0.25 * 1e-4))
