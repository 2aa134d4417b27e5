"""`nano`: the bundled model, small enough to train on two processor cores.

`nano` is the whole recipe of the paper scaled down: captioning decoder from the start, self-distillation and
masking from 80 %, a resolution change at 90 %, then NaFlex, then curation. `nano_128` is its main run with
twice the pixels and five times the batch for a GPU, which made the bundled weights; `nano_main` goes on from
them on a processor; `nano_sigmoid` is the sigmoid loss alone.

Differs from the paper: images of one class in a batch share one caption; Muon, an initial bias of -5 and
averaged weights, all of which learn more per example at this size. Resolution, NaFlex and curation are
branches of their own in the paper, each from a checkpoint of the main run; here they follow one another, so
that one run shows all.
"""

from dataclasses import replace
from typing import Any

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.recipes.recipe import (
    Curation,
    LossWeights,
    Optimizer,
    Recipe,
    Schedule,
    SelfSupervision,
    Source,
    Stage,
)

VOCAB_SIZE = 12_000
SIZE_FACTOR = 0.25
"""Of the self-supervised losses; the paper's for B."""


def nano_model(*, image_size: int = 64) -> ModelConfig:
    """Small square images in patches of 16, captions of 24 tokens."""
    return ModelConfig(
        vision=VisionConfig(
            width=192,
            depth=8,
            mlp_dim=768,
            num_heads=3,
            patch_size=16,
            image_size=image_size,
            position_grid=image_size // 16,
        ),
        text=TextConfig(
            width=192, depth=2, mlp_dim=768, num_heads=3, vocab_size=VOCAB_SIZE, context_length=24
        ),
    )


def nano_sigmoid(*, num_steps: int = 1_700) -> Recipe:
    """One stage, sigmoid loss only."""
    return Recipe(
        name="nano_sigmoid",
        model=nano_model(),
        sources=(
            Source(name="tiny_imagenet", images_per_batch=320),
            Source(name="flickr8k", images_per_batch=48),
            Source(name="emoji", images_per_batch=16, flip=False),
        ),
        optimizer=Optimizer(name="muon", learning_rate=2e-3),
        initial_bias=-5.0,
        schedule=Schedule(num_steps=num_steps, warmup_steps=min(100, num_steps // 10)),
    )


def nano_main(*, num_steps: int = 300) -> Recipe:
    """The paper's main run, at one resolution, from weights that the sigmoid loss has trained."""
    recipe = nano(num_steps=num_steps)
    return replace(
        recipe,
        name="nano_main",
        model=nano_model(image_size=128),
        initial_weights="nano",
        stages=recipe.stages[:2],
        # A third of the rates from nothing: the weights were annealed before.
        optimizer=replace(recipe.optimizer, learning_rate=6e-4, muon_learning_rate=1e-3),
        ema_decay=0.98,
        precision="bfloat16",
        compile=True,
        checkpoint_every=100,
    )


def nano_128(*, num_steps: int = 2_818) -> Recipe:
    """The paper's main run from nothing at 128 pixels, which made the bundled weights: minutes of one GPU.

    Expected: 50 % top-1 on Tiny ImageNet's val and 7.6 % text-to-image R@1 on Flickr8k's test split
    (docs/nano.md), after 310 s on one H200.

    Differs from the paper: each photograph is seen a hundred times, so that colours are changed and half of
    the pictures have a part of another in them.
    """
    recipe = nano(num_steps=num_steps)
    return replace(
        recipe,
        name="nano_128",
        model=nano_model(image_size=128),
        sources=(
            Source(name="tiny_imagenet", images_per_batch=1_664),
            Source(name="flickr8k", images_per_batch=320),
            Source(name="coco_mini", images_per_batch=32),
            Source(name="emoji", images_per_batch=32, flip=False),
        ),
        stages=recipe.stages[:2],
        optimizer=replace(recipe.optimizer, weight_decay=0.4),
        min_crop_area=0.2,
        colour_jitter=0.5,
        mixed=0.5,
        ema_decay=0.998,
        precision="bfloat16",
        compile=True,
        checkpoint_every=1_000,
        log_every=50,
    )


def nano(*, num_steps: int = 3_000, small: bool = False) -> Recipe:
    """Every stage.

    Args:
        num_steps: of the whole run.
        small: 30 steps of 32 images: every stage in minutes, to see that all of it runs.
    """
    captions = LossWeights(sigmoid=1.0, locca=1.0)
    dense = replace(captions, self_distillation=SIZE_FACTOR, masked_prediction=0.25 * SIZE_FACTOR)
    # Most of its pictures are squares.
    native: dict[str, Any] = {"sequence_lengths": (9, 16, 25, 36), "shape_variety": 2.0}
    recipe = replace(
        nano_sigmoid(num_steps=num_steps),
        name="nano",
        sources=(
            Source(name="tiny_imagenet", images_per_batch=304),
            Source(name="flickr8k", images_per_batch=48),
            Source(name="coco_mini", images_per_batch=16),
            Source(name="emoji", images_per_batch=16, flip=False),
        ),
        stages=(
            Stage(name="sigmoid and captions", begin=0.0, losses=captions),
            Stage(name="with self-distillation and masking", begin=0.8, losses=dense),
            Stage(name="at 80 pixels", begin=0.9, losses=dense, image_size=80),
            Stage(name="NaFlex", begin=0.95, losses=captions, **native),
            Stage(name="curated", begin=0.98, curation=Curation(filter_ratio=0.5), **native),
        ),
        self_supervision=SelfSupervision(
            local_share=0.5, hidden=512, bottleneck=128, prototypes=4096, local_views=8
        ),
    )
    if not small:
        return recipe
    fewer = {"tiny_imagenet": 24, "flickr8k": 4, "coco_mini": 2, "emoji": 2}
    return replace(
        recipe,
        sources=tuple(replace(source, images_per_batch=fewer[source.name]) for source in recipe.sources),
        schedule=Schedule(num_steps=30, warmup_steps=3),
        stages=tuple(
            replace(stage, begin=begin)
            for stage, begin in zip(recipe.stages, (0.0, 0.3, 0.5, 0.7, 0.85), strict=True)
        ),
        self_supervision=replace(recipe.self_supervision, hidden=128, bottleneck=64, prototypes=256),
        checkpoint_every=5,
        log_every=1,
    )
