"""Every recipe at a size that trains in a second: its stages, losses, optimiser and switches, tiny towers."""

import dataclasses

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.recipes.ablation import ARMS, ablation
from siglip2.recipes.fine_tune import fine_tune
from siglip2.recipes.nano import nano
from siglip2.recipes.recipe import Recipe, Schedule, SelfSupervision, Source, Stage
from siglip2.recipes.registry import RECIPES

MODEL = ModelConfig(
    vision=VisionConfig(
        width=32, depth=1, mlp_dim=64, num_heads=2, patch_size=8, image_size=16, position_grid=2
    ),
    text=TextConfig(width=32, depth=1, mlp_dim=64, num_heads=2, vocab_size=64, context_length=8),
)
SIZES = {None: None, 80: 24, 512: 24}
PATCHES = {None: None, 32: 16}
STEPS = 20


def all_recipes() -> dict[str, Recipe]:
    """By name; of `nano` the small form, whose stages are spread over few steps."""
    found = {name: make() for name, make in RECIPES.items()} | {"nano": nano(small=True)}
    found["fine_tune"] = fine_tune(MODEL, "given")
    found["fine_tune_lit"] = fine_tune(MODEL, "given", lock_images=True)
    found["fine_tune_lora"] = fine_tune(MODEL, "given", low_rank=2)
    return found | {f"ablation_{arm}": ablation(arm, seed=0, model=MODEL) for arm in ARMS}


def tiny(recipe: Recipe) -> Recipe:
    """The same on two made-up sources, 17 images a step; branches from the beginning."""
    flips = [source.flip for source in recipe.sources]
    return dataclasses.replace(
        recipe,
        branch=None,
        model=MODEL,
        sources=(
            Source(name="classes", images_per_batch=12, flip=flips[0]),
            Source(name="pairs", images_per_batch=5, flip=flips[-1]),
        ),
        schedule=Schedule(num_steps=STEPS, warmup_steps=2),
        stages=tuple(_stage(stage) for stage in recipe.stages),
        self_supervision=SelfSupervision(
            local_views=2, local_share=0.5, hidden=16, bottleneck=8, prototypes=32
        ),
        precision="float32",
        compile=False,
        checkpoint_every=STEPS,
        log_every=1,
    )


def _stage(stage: Stage) -> Stage:
    curation = stage.curation and dataclasses.replace(stage.curation, chunks=4, teacher="average")
    return dataclasses.replace(
        stage,
        image_size=SIZES[stage.image_size],
        patch_size=PATCHES[stage.patch_size],
        sequence_lengths=(4, 9) if stage.sequence_lengths else (),
        curation=curation,
    )
