"""What every recipe has to satisfy, and one sentence for whatever does not."""

import math

from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import LossWeights, Recipe, Stage


def validate(recipe: Recipe, *, to_train: bool) -> None:
    """Look at a whole recipe before anything is read or computed for it.

    Args:
        recipe: with all its changes.
        to_train: whether it is to be trained, and not only expanded and counted.

    Raises:
        InvalidInput: names the field, its value and what would be right.
    """
    _check_numbers(recipe)
    _check_stages(recipe)
    for index, stage in enumerate(recipe.stages):
        _check_losses(stage.losses, f"stages.{index}.losses", recipe.accumulate)
        _check_curation(stage, f"stages.{index}.curation")
    if to_train and recipe.branch is not None and recipe.branch.share == 1:
        raise InvalidInput(
            f"{recipe.name} begins with the weights of a finished {recipe.branch.recipe}: name them with "
            "--branch none --initial_weights RUN/model"
        )


def _check_numbers(recipe: Recipe) -> None:
    at_least_one = {
        "schedule.num_steps": recipe.schedule.num_steps,
        "accumulate": recipe.accumulate,
        "checkpoint_every": recipe.checkpoint_every,
        "keep_checkpoints": recipe.keep_checkpoints,
        "log_every": recipe.log_every,
    }
    for index, source in enumerate(recipe.sources):
        at_least_one[f"sources.{index}.images_per_batch"] = source.images_per_batch
    if recipe.low_rank is not None:
        at_least_one["low_rank.rank"] = recipe.low_rank.rank
    for path, value in at_least_one.items():
        if value < 1:
            raise InvalidInput(f"{path} is {value}: it has to be 1 at least")
    optimizer = recipe.optimizer
    not_negative = {
        "schedule.warmup_steps": recipe.schedule.warmup_steps,
        "optimizer.learning_rate": optimizer.learning_rate,
        "optimizer.muon_learning_rate": optimizer.muon_learning_rate,
        "optimizer.weight_decay": optimizer.weight_decay,
        "optimizer.clip_norm": optimizer.clip_norm,
        "spike_factor": recipe.spike_factor,
    }
    for path, value in not_negative.items():
        if not (value >= 0 and math.isfinite(value)):
            raise InvalidInput(f"{path} is {value}: it has to be a number from 0 on")
    below_one = {f"optimizer.betas.{place}": beta for place, beta in enumerate(optimizer.betas)}
    below_one["ema_decay"] = recipe.ema_decay
    for path, value in below_one.items():
        if not 0 <= value < 1:
            raise InvalidInput(f"{path} is {value}: it has to be from 0 to below 1")
    shares = {
        **{f"keep_at.{place}": share for place, share in enumerate(recipe.keep_at)},
        "min_crop_area": recipe.min_crop_area,
        "colour_jitter": recipe.colour_jitter,
        "mixed": recipe.mixed,
    }
    for path, value in shares.items():
        if not 0 <= value <= 1:
            raise InvalidInput(f"{path} is {value}: it is a share, from 0 to 1")
    if (branch := recipe.branch) is not None and not (0 < branch.share <= 1 and branch.steps_stretch > 0):
        raise InvalidInput(
            f"branch.share is {branch.share} and branch.steps_stretch {branch.steps_stretch}: the one has to "
            "be above 0 and at most 1, the other above 0"
        )
    images = sum(source.images_per_batch for source in recipe.sources)
    if recipe.accumulate > images:
        raise InvalidInput(f"accumulate is {recipe.accumulate}: a batch of {images} images has fewer parts")


def _check_stages(recipe: Recipe) -> None:
    vision, before = recipe.model.vision, None
    size, patch = vision.image_size, vision.patch_size
    if not recipe.stages:
        raise InvalidInput(f"{recipe.name} has no stage")
    for index, stage in enumerate(recipe.stages):
        path = f"stages.{index}"
        if before is None and stage.begin != 0:
            raise InvalidInput(f"{path}.begin is {stage.begin}: the first stage begins at 0")
        if before is not None and not before < stage.begin < 1:
            raise InvalidInput(
                f"{path}.begin is {stage.begin}: a stage begins after the one before, here {before}, and "
                "before 1"
            )
        before = stage.begin
        size, patch = stage.image_size or size, stage.patch_size or patch
        if patch < 1 or (size is not None and size < patch):
            raise InvalidInput(f"{path}: an image of {size} pixels a side holds no patch of {patch}")
        if any(length < 1 for length in stage.sequence_lengths):
            raise InvalidInput(f"{path}.sequence_lengths are {stage.sequence_lengths}: each is 1 at least")
        if stage.packed < 0 or (stage.packed and not stage.sequence_lengths):
            raise InvalidInput(
                f"{path}.packed is {stage.packed}: it is a number of patches from 1 on, or 0 for none, and "
                "for stages with sequence_lengths alone"
            )


def _check_losses(weights: LossWeights, path: str, accumulate: int) -> None:
    values = {name: getattr(weights, name) for name in weights.__dataclass_fields__}
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise InvalidInput(f"{path}.{name} is {value}: a weight is a number from 0 on")
    if not any(values.values()):
        raise InvalidInput(f"{path}: all weights are 0, so that nothing would be trained")
    if accumulate > 1 and not (weights.sigmoid or weights.softmax or weights.distillation):
        raise InvalidInput(
            f"accumulate is {accumulate}, but {path} compares no pairs: parts of a batch need a weight for "
            "sigmoid, softmax or distillation"
        )


def _check_curation(stage: Stage, path: str) -> None:
    if stage.curation is None:
        return
    ratio, chunks = stage.curation.filter_ratio, stage.curation.chunks
    batches = 1 / (1 - ratio) if 0 < ratio < 1 else 0.0
    if batches < 1.5 or abs(batches - round(batches)) > 0.01 * batches:
        raise InvalidInput(
            f"{path}.filter_ratio is {ratio}: a super-batch is a whole number n of batches, of which one is "
            "kept, so that it has to be 1 - 1/n, such as 0.5, 0.667, 0.75 or 0.8"
        )
    if chunks < 1:
        raise InvalidInput(f"{path}.chunks is {chunks}: it has to be 1 at least")
