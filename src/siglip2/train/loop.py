"""The training loop, one visible function."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from siglip2.data.source import CaptionedSource
from siglip2.errors import Siglip2Error
from siglip2.kernels.availability import HAS_TRITON, check_kernels
from siglip2.recipes.recipe import Recipe
from siglip2.recipes.validate import validate
from siglip2.train.ahead import Preparation, prepare_ahead, workers_for
from siglip2.train.batches import Tokenize, finish_views
from siglip2.train.cached_pairs import backward_in_parts
from siglip2.train.callbacks import Callback, JsonLines
from siglip2.train.curation_step import curate
from siglip2.train.larger_model import LargerModel, teacher_name
from siglip2.train.lora import merged, save_adapter
from siglip2.train.meters import Meters
from siglip2.train.objective import stage_config
from siglip2.train.optimizer import schedule_factor, set_learning_rate
from siglip2.train.parallel import Ranks, whole
from siglip2.train.resident import ResidentPictures
from siglip2.train.run_state import RunState
from siglip2.train.sanity import check_true_pairs
from siglip2.train.split import halves, is_halved
from siglip2.train.stopping import Stopped, asked_to_stop

logger = logging.getLogger("siglip2")

MOST_SKIPPED = 3
"""Steps in a row that are skipped before the run stops."""


class NotFinite(Siglip2Error):
    """Gradients stayed infinite, NaN or far too large; names the samples."""


def train(
    recipe: Recipe,
    data: Sequence[CaptionedSource],
    tokenize: Tokenize,
    run: Path,
    *,
    device: str = "cpu",
    ranks: Ranks | None = None,
    stop_after: int | None = None,
    initial: Mapping[str, Tensor] | None = None,
    checked: bool = True,
    data_folder: Path | None = None,
    branch_from: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Tensor]:
    """Train to the end of the recipe, or resume a run that was stopped; returns the averaged weights.

    A run that was killed and resumed gives the same losses to the bit as one that was not, with as many
    threads on the same kind of processor: what a step draws follows from the seed and the step alone, and the
    state holds everything that learns. SIGTERM or Ctrl-C ends the step, saves and raises `Stopped`.

    Args:
        recipe: what to train.
        data: one data set for each of the recipe's sources.
        tokenize: texts to (T, context_length) ids.
        run: folder of the run's states and of its log, `log.jsonl`.
        device: where to train.
        ranks: this process among its peers, `join_ranks`; None for a run of one process.
        stop_after: save and stop at this step.
        initial: weights to begin from.
        checked: stop where initial weights do not tell true pairs from shuffled ones.
        data_folder: where the data come from, so that the run does not go on with others.
        branch_from: folder of the run that a branch goes on from.
        callbacks: see log entries, beside the log itself.

    Raises:
        NotSane: initial weights do not fit the data.
        InvalidInput: the recipe does not hold together, or is not what the run was begun with; a stage is
            taught by a model that is not named or not usable.
        NotFinite: three steps in a row had gradients that are not finite, or stand out by far.
        Stopped: the process was asked to stop.
        KernelsDisagree: this GPU computes something else than a processor does.
    """
    # ---- model, optimisers, state ------------------------------------------------------------------
    # Set to what it is: until then MKL takes fewer threads when the machine is busy, and sums of other parts
    # differ in their last bits.
    torch.set_num_threads(torch.get_num_threads())
    validate(recipe, to_train=True)
    ranks = ranks or Ranks(device=device)
    if HAS_TRITON and ranks.device.startswith("cuda"):
        check_kernels(ranks.device)
    run.mkdir(parents=True, exist_ok=True)
    state = RunState(recipe, run, ranks, initial, data_folder, branch_from)
    if state.step and ranks.first:
        logger.info("%s goes on at step %d", run, state.step)

    num_images = sum(source.images_per_batch for source in recipe.sources)
    last = min(recipe.last_step, stop_after or recipe.last_step)
    listeners = [JsonLines(run / "log.jsonl"), *callbacks] if ranks.first else []
    meters, skipped = Meters(recipe, ranks.device, state.step), 0
    teachers: dict[str, LargerModel] = {}
    stopped = False
    with ExitStack() as closing:
        signals = closing.enter_context(asked_to_stop())
        resident = ResidentPictures.where_they_fit(data, ranks)
        place = ranks.rank, ranks.world
        preparation = Preparation(recipe, data, tokenize, *place, pictures=resident is None)
        ahead = prepare_ahead(preparation, range(state.step, last), workers_for(data, ranks))
        closing.callback(ahead.close)
        closing.callback(state.checkpoints.finish)
        for listener in listeners:
            closing.callback(listener.close)
        # ---- the loop ------------------------------------------------------------------------------
        for step in range(state.step, last):
            # -- stage
            if (index := recipe.stage_at(step)) != state.stage:
                state.enter(index)
                if ranks.first:
                    logger.info("stage %s begins at step %d", recipe.stages[index].name, step)
            stage, objective, module = recipe.stages[index], state.objective, state.module

            # -- data
            with meters.waiting():
                drawn = next(ahead)
            if resident is not None:
                drawn = resident.look_up(drawn)
            generator = torch.Generator()
            generator.set_state(drawn.random)
            shape, name = stage_config(recipe, index), teacher_name(recipe, stage)
            if name is not None and name not in teachers:
                teachers = {name: LargerModel(name, ranks.device)}
            teacher = None if name is None else teachers[name]
            views = finish_views(drawn, recipe, stage, shape, generator, ranks.device, teacher=teacher)
            if step == 0 and initial is not None and checked:
                found = check_true_pairs(module, views, ranks, texts=drawn.texts, tokenize=tokenize)
                logger.info("initial weights on true and shuffled pairs: %s", found)
            narrow = torch.autocast(
                ranks.device.split(":")[0], torch.bfloat16, enabled=recipe.precision == "bfloat16"
            )
            if stage.curation is not None:
                with narrow:
                    views = curate(module, views, num_images, stage.curation, generator, ranks)

            factor = schedule_factor(recipe.schedule, recipe.progress(step))
            set_learning_rate(state.optimizers, factor * stage.learning_rate, stage.weight_decay)
            for batch in halves(views, ranks) if is_halved(views, stage) else [views]:
                # -- forward and backward
                if recipe.accumulate > 1:
                    parts = backward_in_parts(module, batch, recipe.accumulate, ranks, stage.losses, narrow)
                else:
                    with narrow:
                        parts = module(batch)
                    # Not in there: gradients of what is computed in float32 would be rounded.
                    torch.stack(list(parts.values())).sum().backward()
                learning = [each for each in objective.parameters() if each.requires_grad]
                norm = whole(nn.utils.clip_grad_norm_(learning, recipe.optimizer.clip_norm)).item()

                # -- update
                finite = norm < float("inf")
                if finite and not state.is_spike(norm, recipe.spike_factor):
                    skipped = 0
                    for optimizer in state.optimizers:
                        optimizer.step()
                    objective.after_step()
                    state.update_average(min(recipe.ema_decay, (step + 1) / (step + 10)))
                else:
                    skipped += 1
                    objective.after_skipped_step()
                    _skip(run, step, skipped, "far above their mean" if finite else "not finite", drawn.keys)
                for optimizer in state.optimizers:
                    optimizer.zero_grad()
            state.step = step + 1

            # -- log and save
            if state.step % recipe.log_every == 0 or state.step == last:
                entry = {
                    "step": state.step,
                    "stage": stage.name,
                    **_losses(ranks.mean(parts)),
                    "gradient_norm": norm,
                    "learning_rate_factor": factor,
                    "scale": whole(objective.model.logit_scale).exp().item(),
                    "bias": whole(objective.model.logit_bias).item(),
                    **meters.read(state.step, stage),
                }
                for listener in listeners:
                    listener.log(entry)
                if ranks.first:
                    logger.info("%s", entry)
            stopped = ranks.any(bool(signals)) and state.step < last
            kept = state.step % recipe.checkpoint_every == 0 or state.step in state.checkpoints.always
            if kept or state.step == last or stopped:
                state.save()
            if stopped:
                break
    if stopped:
        where = f"step {state.step} of {recipe.last_step}"
        raise Stopped(f"stopped at {where} and saved; the same command goes on from there")
    weights = state.averaged()
    if recipe.low_rank is None:
        return weights
    if ranks.first:
        save_adapter(weights, recipe.low_rank, recipe.initial_weights or "", run / "adapter")
    return merged(weights, recipe.low_rank)


def _losses(parts: dict[str, float]) -> dict:
    return {"loss": sum(parts.values()), "parts": parts}


def _skip(run: Path, step: int, skipped: int, why: str, keys: Sequence[str]) -> None:
    """Note a step whose gradients were not used; norms are of all ranks, so that all of them skip it."""
    logger.warning("step %d is skipped: its gradients are %s", step, why)
    path = run / "skipped.txt"
    with path.open("a") as file:
        file.write(f"step {step}: {why}: {' '.join(keys)}\n")
    if skipped == MOST_SKIPPED:
        raise NotFinite(
            f"gradients were {why} for {skipped} steps in a row, up to step {step}; "
            f"the samples of these steps are listed in {path}. A lower learning rate usually helps"
        )
