"""The training loop, one visible function."""

import json
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from siglip2.data.captioned import CaptionedImages
from siglip2.errors import Siglip2Error
from siglip2.recipes.recipe import Recipe
from siglip2.train.batches import Tokenize, make_views
from siglip2.train.checkpoints import load_state, save_state
from siglip2.train.curation_step import curate
from siglip2.train.objective import Objective, stage_config
from siglip2.train.optimizer import build_optimizers, carry_over, schedule_factor, set_learning_rate
from siglip2.train.sampling import draw_batch, draw_super_batch
from siglip2.train.sanity import check_true_pairs

logger = logging.getLogger("siglip2")

MOST_SKIPPED = 3
"""Steps in a row whose gradients are not finite before the run stops."""


class NotFinite(Siglip2Error):
    """Gradients stayed infinite or NaN; names the samples."""


def train(
    recipe: Recipe,
    data: Sequence[CaptionedImages],
    tokenize: Tokenize,
    run: Path,
    *,
    device: str = "cpu",
    stop_after: int | None = None,
    initial: Mapping[str, Tensor] | None = None,
    checked: bool = True,
) -> dict[str, Tensor]:
    """Train to the end of the recipe, or resume a run that was stopped; returns the averaged weights.

    A run that was killed and resumed gives the same losses to the bit as one that was not: what a step draws
    follows from the seed and the step alone, and the state holds everything that learns.

    Args:
        recipe: what to train.
        data: one data set for each of the recipe's sources.
        tokenize: texts to (T, context_length) ids.
        run: folder of the run's state and of its log, `log.jsonl`.
        device: where to train.
        stop_after: save and stop at this step, as SIGTERM does.
        initial: weights to begin from.
        checked: stop where initial weights do not tell true pairs from shuffled ones.

    Raises:
        NotSane: initial weights do not fit the data.
        NotFinite: three steps in a row had gradients that are not finite.
    """
    # ---- model, optimisers, state ------------------------------------------------------------------
    run.mkdir(parents=True, exist_ok=True)
    objective = Objective(recipe).to(device)
    if initial is not None:
        objective.model.load_state_dict(initial)
    for name, parameter in objective.model.named_parameters():
        parameter.requires_grad_(not name.startswith(recipe.locked or ("no parameter",)))
    average = {name: value.detach().clone() for name, value in objective.model.state_dict().items()}
    optimizers: list[torch.optim.Optimizer] = []
    start = 0
    if (state := load_state(run)) is not None:
        start = state["step"]
        _enter_up_to(objective, recipe.stage_at(max(0, start - 1)), average)
        objective.load_state_dict(state["objective"])
        average = {name: value.to(device) for name, value in state["average"].items()}
        optimizers = build_optimizers(objective, recipe.optimizer)
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        logger.info("resumed %s at step %d", run, start)

    def save(step: int) -> None:
        save_state(
            run,
            {
                "step": step,
                "objective": objective.state_dict(),
                "average": average,
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            },
        )

    def draw(step: int):
        """The samples of a step; with curation, of several at once."""
        curation = recipe.stages[recipe.stage_at(min(step, recipe.schedule.num_steps - 1))].curation
        if curation is None:
            return draw_batch(recipe.sources, data, seed=recipe.seed, step=step)
        parts = round(1 / (1 - curation.filter_ratio))
        return draw_super_batch(recipe.sources, data, seed=recipe.seed, step=step, parts=parts)

    stopping = _stop_on_sigterm()
    num_images = sum(source.images_per_batch for source in recipe.sources)
    began, logged, waited, skipped = time.perf_counter(), start, 0.0, 0
    last = min(recipe.schedule.num_steps, stop_after or recipe.schedule.num_steps)
    with ThreadPoolExecutor(1) as prefetch, (run / "log.jsonl").open("a") as log:
        # ---- the loop ------------------------------------------------------------------------------
        upcoming = prefetch.submit(draw, start)
        for step in range(start, last):
            # -- stage
            if (index := recipe.stage_at(step)) != objective.stage:
                _enter_up_to(objective, index, average)
                optimizers = carry_over(optimizers, build_optimizers(objective, recipe.optimizer))
                logger.info("stage %s begins at step %d", recipe.stages[index].name, step)
            stage = objective.current

            # -- data
            waiting = time.perf_counter()
            batch = upcoming.result()
            waited += time.perf_counter() - waiting
            upcoming = prefetch.submit(draw, step + 1)
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            shape = stage_config(recipe, index)
            views = make_views(batch, recipe, stage, shape, tokenize, generator, device)
            if step == 0 and initial is not None and checked:
                logger.info(
                    "initial weights on true and shuffled pairs: %s", check_true_pairs(objective.model, views)
                )
            if stage.curation is not None:
                views = curate(objective, views, num_images, stage.curation, generator)

            # -- forward and backward
            with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                parts = objective(views, generator)
            loss = torch.stack(list(parts.values())).sum()
            loss.backward()
            learning = [each for each in objective.parameters() if each.requires_grad]
            norm = nn.utils.clip_grad_norm_(learning, recipe.optimizer.clip_norm)

            # -- update
            factor = schedule_factor(recipe.schedule, step)
            set_learning_rate(optimizers, factor * stage.learning_rate, stage.weight_decay)
            if torch.isfinite(norm):
                skipped = 0
                for optimizer in optimizers:
                    optimizer.step()
                objective.after_step()
                _update_average(average, objective.model, min(recipe.ema_decay, (step + 1) / (step + 10)))
            else:
                skipped += 1
                _stop_if_hopeless(run, step, skipped, batch.keys)
            for optimizer in optimizers:
                optimizer.zero_grad()

            # -- log and save
            if (step + 1) % recipe.log_every == 0 or step + 1 == last:
                now = time.perf_counter()
                entry: dict[str, Any] = {
                    "step": step + 1,
                    "stage": stage.name,
                    "loss": loss.item(),
                    "parts": {name: part.item() for name, part in parts.items()},
                    "gradient_norm": norm.item(),
                    "learning_rate_factor": factor,
                    "scale": objective.model.logit_scale.exp().item(),
                    "bias": objective.model.logit_bias.item(),
                    "images_per_second": (step + 1 - logged) * num_images / (now - began),
                    "waiting_share": waited / (now - began),
                }
                began, logged, waited = now, step + 1, 0.0
                log.write(json.dumps(entry) + "\n")
                log.flush()
                logger.info("%s", entry)
            if (step + 1) % recipe.checkpoint_every == 0 or stopping:
                save(step + 1)
            if stopping:
                logger.info("stopped at step %d; run the same command to go on", step + 1)
                break
        else:
            save(last)
    return average


def _enter_up_to(objective: Objective, index: int, average: dict[str, Tensor]) -> None:
    for each in range(objective.stage + 1, index + 1):
        objective.enter(each, average)
    if objective.recipe.compile:
        towers = (objective.model.vision_model, objective.model.text_model)
        for layer in (layer for tower in towers for layer in tower.encoder.layers):
            layer.compile()


def _stop_if_hopeless(run: Path, step: int, skipped: int, keys: Sequence[str]) -> None:
    logger.warning("step %d is skipped: its gradients are not finite", step)
    path = run / "not_finite.txt"
    with path.open("a") as file:
        file.write(f"step {step}: {' '.join(keys)}\n")
    if skipped == MOST_SKIPPED:
        raise NotFinite(
            f"gradients were not finite for {skipped} steps in a row, up to step {step}; "
            f"the samples of these steps are listed in {path}. A lower learning rate usually helps"
        )


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)


def _stop_on_sigterm() -> list[int]:
    """A list that fills when the process is asked to stop."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    return received
