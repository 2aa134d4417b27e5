"""The training loop, one visible function."""

import json
import logging
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from siglip2.data.augment import patchify, random_crop_and_flip
from siglip2.data.captioned import CaptionedImages
from siglip2.losses.sigmoid import sigmoid_loss
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import Recipe
from siglip2.train.checkpoints import load_state, save_state
from siglip2.train.optimizer import build_optimizers, schedule_factor, set_learning_rate
from siglip2.train.sampling import draw_batch

logger = logging.getLogger("siglip2")

Tokenize = Callable[[Sequence[str]], np.ndarray]


def train(
    recipe: Recipe,
    data: Sequence[CaptionedImages],
    tokenize: Tokenize,
    run: Path,
    *,
    device: str = "cpu",
    stop_after: int | None = None,
) -> dict[str, Tensor]:
    """Train to the end of the recipe, or resume a run that was stopped; returns the averaged weights.

    Args:
        recipe: what to train.
        data: one data set for each of the recipe's sources.
        tokenize: texts to (T, context_length) ids.
        run: folder of the run's state and of its log, `log.jsonl`.
        device: where to train.
        stop_after: save and stop at this step, as SIGTERM does.
    """
    # ---- model, optimisers, state ------------------------------------------------------------------
    run.mkdir(parents=True, exist_ok=True)
    model = build_initialised(recipe.model, seed=recipe.seed).to(device)
    with torch.no_grad():
        model.logit_bias.fill_(recipe.initial_bias)
    optimizers = build_optimizers(model, recipe.optimizer)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    start = 0
    if (state := load_state(run)) is not None:
        model.load_state_dict(state["model"])
        average = {name: value.to(device) for name, value in state["average"].items()}
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start = state["step"]
        logger.info("resumed %s at step %d", run, start)
    if recipe.compile:
        for layer in (*model.vision_model.encoder.layers, *model.text_model.encoder.layers):
            layer.compile()

    def save(step: int) -> None:
        save_state(
            run,
            {
                "step": step,
                "model": model.state_dict(),
                "average": average,
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            },
        )

    stopping = _stop_on_sigterm()
    num_images = sum(source.images_per_batch for source in recipe.sources)
    began, logged = time.perf_counter(), start
    last = min(recipe.schedule.num_steps, stop_after or recipe.schedule.num_steps)
    with ThreadPoolExecutor(1) as prefetch, (run / "log.jsonl").open("a") as log:
        # ---- the loop ------------------------------------------------------------------------------
        upcoming = prefetch.submit(draw_batch, recipe.sources, data, seed=recipe.seed, step=start)
        for step in range(start, last):
            # -- data
            batch = upcoming.result()
            upcoming = prefetch.submit(draw_batch, recipe.sources, data, seed=recipe.seed, step=step + 1)
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            pixels = [
                random_crop_and_flip(
                    torch.from_numpy(images).to(device),
                    generator,
                    min_area=recipe.min_crop_area,
                    flip=source.flip,
                    size=recipe.model.vision.image_size,
                )
                for source, images in zip(recipe.sources, batch.images, strict=True)
            ]
            patches = patchify(torch.cat(pixels), recipe.model.vision.patch_size)
            ids = torch.from_numpy(tokenize(batch.texts)).long().to(device)
            text_of_image = torch.from_numpy(batch.text_of_image).to(device)
            positives = text_of_image[:, None] == torch.arange(len(ids), device=device)

            # -- forward and backward
            with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                image_embeddings = model.embed_images(patches)
                text_embeddings = model.embed_texts(ids)
            loss = sigmoid_loss(
                image_embeddings, text_embeddings, model.logit_scale, model.logit_bias, positives
            )
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.clip_norm)

            # -- update
            factor = schedule_factor(recipe.schedule, step)
            set_learning_rate(optimizers, factor)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            _update_average(average, model, min(recipe.ema_decay, (step + 1) / (step + 10)))

            # -- log and save
            if (step + 1) % recipe.log_every == 0 or step + 1 == last:
                now = time.perf_counter()
                entry = {
                    "step": step + 1,
                    "loss": loss.item(),
                    "gradient_norm": norm.item(),
                    "learning_rate_factor": factor,
                    "scale": model.logit_scale.exp().item(),
                    "bias": model.logit_bias.item(),
                    "images_per_second": (step + 1 - logged) * num_images / (now - began),
                }
                began, logged = now, step + 1
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


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: SigLIP2, decay: float) -> None:
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)


def _stop_on_sigterm() -> list[int]:
    """A list that fills when the process is asked to stop."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    return received
