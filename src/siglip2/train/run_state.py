"""Everything that a step changes: modules, averaged weights, optimisers; entered, spread, saved and read."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import LossWeights, Recipe
from siglip2.train.begun_with import check_begun_with
from siglip2.train.checkpoints import Checkpoints, State
from siglip2.train.lora import add_low_rank
from siglip2.train.objective import Distilled, Objective
from siglip2.train.optimizer import build_optimizers, like, named_state, prime, restore
from siglip2.train.parallel import Ranks, whole


class RunState:
    """A run between two steps.

    Attributes:
        objective: what learns.
        module: the same, spread over the ranks.
        average: averaged weights of the model, which are exported.
        optimizers: of the current stage.
        step: how many are done.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Path,
        ranks: Ranks,
        initial: Mapping[str, Tensor] | None,
        data_folder: Path | None = None,
        branch_from: Path | None = None,
    ):
        """Begin a run, on the state of another one where it is a branch, or read its last state.

        Args:
            recipe: what to train.
            run: folder of the run.
            ranks: of the run.
            initial: weights to begin from.
            data_folder: of the training data, if it is known.
            branch_from: folder of the run that a branch goes on from.

        Raises:
            InvalidInput: the run was begun with something else, has gone further than it is to go, or nothing
                is called as `locked` says; a branch without the state that it goes on from.
        """
        self.recipe, self.ranks, self.step = recipe, ranks, 0
        self.checkpoints = Checkpoints(run, keep=recipe.keep_checkpoints, always=recipe.kept_steps)
        resumed = bool(self.checkpoints.steps)
        check_begun_with(recipe, run, data=data_folder, resumed=resumed, first=ranks.first)
        self.norms = torch.zeros(2)  # running mean of gradient norms in this stage, and how many
        self.objective = _fresh(recipe, ranks, initial)
        self.module: nn.Module = self.objective
        self.average = {
            name: value.detach().clone() for name, value in self.objective.model.state_dict().items()
        }
        self.optimizers: list[torch.optim.Optimizer] = []
        if steps := self.checkpoints.steps:
            if steps[-1] > recipe.last_step:
                raise InvalidInput(
                    f"{run} has gone {steps[-1]} steps already, and {recipe.last_step} were asked "
                    "for: name another folder for a shorter run"
                )
            self._read(self.checkpoints, steps[-1])
        elif recipe.branch_step:
            self._read(_trunk(recipe, branch_from), recipe.branch_step)

    def _read(self, checkpoints: Checkpoints, step: int) -> None:
        self.step = step
        self._enter_up_to(self.recipe.stage_at(max(0, step - 1)))
        state = self.tensors()
        checkpoints.load(step, state)

    @property
    def stage(self) -> int:
        """Index of the stage that was entered last."""
        return self.objective.stage

    def enter(self, index: int) -> None:
        """Begin a stage, carrying over the optimisers' state of every tensor that stays what it was."""
        known = named_state(self.objective, self.optimizers)
        if self.ranks.world == 1 or self.ranks.kind == "ddp":
            self._enter_up_to(index)
        else:
            # Sharded tensors cannot be resized: the modules are built again as one, changed, and sharded.
            tensors = {name: whole(value) for name, value in self.objective.state_dict().items()}
            known = {name: {k: whole(v) for k, v in each.items()} for name, each in known.items()}
            average = {name: whole(value) for name, value in self.average.items()}
            before = self.stage
            self.objective = _fresh(self.recipe, self.ranks, None)
            self.average = {n: v.detach().clone() for n, v in self.objective.model.state_dict().items()}
            for each in range(before + 1):
                self.objective.enter(each, self.average)
            self.objective.load_state_dict(tensors)
            self.average = average
            self._enter_up_to(index)
        restore(self.objective, self.optimizers, known)

    def _enter_up_to(self, index: int) -> None:
        for each in range(self.objective.stage + 1, index + 1):
            self.objective.enter(each, self.average)
        prepare_modules(self.objective, self.recipe)
        unused = _leave_some_unused(self.objective.current.losses, self.recipe.accumulate)
        self.module = self.ranks.spread(self.objective, unused=unused)
        if self.ranks.kind == "fsdp" and self.ranks.world > 1:
            sharded = self.objective.model.state_dict()
            self.average = {name: like(self.average[name], sharded[name]) for name in sharded}
        bfloat16 = self.recipe.precision == "bfloat16"
        self.optimizers = build_optimizers(self.objective, self.recipe.optimizer, bfloat16=bfloat16)
        prime(self.optimizers)
        self.norms.zero_()

    def tensors(self) -> State:
        """What is saved; the tensors are the run's own, so that reading into them restores it."""
        return {
            # The student's tower is the model's own under another name.
            "objective": {
                name: value
                for name, value in self.objective.state_dict().items()
                if not name.startswith("student.tower.")
            },
            "average": self.average,
            "optimizer": {
                f"{name}.{key}": value
                for name, values in named_state(self.objective, self.optimizers).items()
                for key, value in values.items()
            },
            "norms": {"running": self.norms},
        }

    def save(self) -> None:
        """Write the state in the background."""
        self.checkpoints.save(self.step, self.tensors(), first=self.ranks.first)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the averaged weights towards the model's."""
        values = self.objective.model.state_dict()
        if self.ranks.world == 1 or self.ranks.kind == "ddp":
            # All at once: a GPU spends longer on starting 150 kernels than on what they do.
            averages = [self.average[name] for name in values]
            torch._foreach_lerp_(averages, list(values.values()), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
            return
        for name, value in values.items():
            self.average[name].lerp_(value, 1 - decay)

    def is_spike(self, norm: float, factor: float) -> bool:
        """Whether a gradient norm stands out, once there are a hundred to compare it with; remembers it."""
        mean, count = self.norms.tolist()
        if factor and count >= 100 and norm > factor * mean:
            return True
        share = max(0.02, 1 / (count + 1))
        self.norms.copy_(torch.tensor([mean + share * (norm - mean), count + 1]))
        return False

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights, whole; all ranks ask."""
        return {name: whole(value) for name, value in self.average.items()}


def _trunk(recipe: Recipe, run: Path | None) -> Checkpoints:
    """States of the run that a branch goes on from."""
    assert recipe.branch is not None
    step = recipe.branch_step
    what = f"{recipe.name} goes on from {recipe.branch.recipe} at step {step}"
    if run is None:
        raise InvalidInput(f"{what}: name the folder of that run with --branch-from")
    found = Checkpoints(run)
    if step not in found.steps:
        listed = ", ".join(map(str, found.steps)) or "no step"
        raise InvalidInput(
            f"{what}, and {run} holds the states of {listed}: a run with --keep_at {recipe.branch.share:g} "
            "keeps the one that is needed"
        )
    return found


def _fresh(recipe: Recipe, ranks: Ranks, initial: Mapping[str, Tensor] | None) -> Objective:
    objective = Objective(recipe).to(ranks.device)
    names = [name for name, _ in objective.model.named_parameters()]
    for beginning in recipe.locked:
        if not any(name.startswith(beginning) for name in names):
            raise InvalidInput(
                f"locked is {beginning}, with which no parameter's name begins; names begin with "
                "vision_model., text_model., logit_scale and logit_bias"
            )
    if initial is not None:
        objective.model.load_state_dict(initial)
    if recipe.low_rank is not None:
        add_low_rank(objective.model, recipe.low_rank, recipe.locked)
        return objective.to(ranks.device)
    for name, parameter in objective.model.named_parameters():
        parameter.requires_grad_(not name.startswith(recipe.locked or ("no parameter",)))
    return objective


def _leave_some_unused(weights: LossWeights, accumulate: int) -> bool:
    """Whether the losses of a stage leave out parameters that it has: the bias, a tower, a head."""
    one_head_idle = bool(weights.self_distillation) != bool(weights.masked_prediction)
    # In parts of a batch, embeddings, scale and bias are always reached, by gradients that may be zero.
    pairs_idle = not (weights.sigmoid or weights.distillation) and accumulate == 1
    return one_head_idle or pairs_idle


def prepare_modules(objective: Objective, recipe: Recipe) -> None:
    """Checkpoint and compile the blocks of an objective as its recipe asks.

    Args:
        objective: of the current stage.
        recipe: the run's.
    """
    encoders = [objective.model.vision_model.encoder, objective.model.text_model.encoder]
    for encoder in encoders:
        encoder.gradient_checkpointing = recipe.activation_checkpointing
    if not recipe.compile:
        return
    stacks: list[nn.Module] = [encoder.layers for encoder in encoders]
    if objective.decoder is not None:
        stacks.append(objective.decoder.layers)
    if isinstance(objective.teacher, Distilled):
        stacks.append(objective.teacher.tower.encoder.layers)
    for stack in stacks:
        for layer in stack.children():
            layer.compile()
