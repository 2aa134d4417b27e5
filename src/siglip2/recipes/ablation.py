"""What each loss adds: the same weights trained on for the same number of images, with more and more losses.

The paper's story is that captions help localisation and self-supervision helps dense features, without harm
to classification and retrieval (Section 2.2, 2.3; Tables 1 and 2).

Differs from the paper: these runs go on from the bundled model in place of beginning from nothing, since at
the budget of a small machine a fresh model learns little of anything.
"""

from dataclasses import replace
from typing import Literal, get_args

from siglip2.config import ModelConfig
from siglip2.recipes.nano import SIZE_FACTOR, nano_sigmoid
from siglip2.recipes.recipe import LossWeights, Recipe, Schedule, SelfSupervision, Source, Stage

Arm = Literal["sigmoid", "captions", "dense"]
ARMS: tuple[Arm, ...] = get_args(Arm)

_LOSSES = {
    "sigmoid": LossWeights(),
    "captions": LossWeights(locca=1.0),
    "dense": LossWeights(locca=1.0, self_distillation=SIZE_FACTOR, masked_prediction=0.25 * SIZE_FACTOR),
}


def ablation(
    arm: Arm, *, seed: int, model: ModelConfig, initial_weights: str = "nano", num_steps: int = 100
) -> Recipe:
    """One run of the comparison.

    Args:
        arm: `sigmoid` alone, with `captions` (LocCa), or `dense`: captions, self-distillation and masking.
        seed: of the order of samples, the crops and the new modules.
        model: shape of the initial weights.
        initial_weights: what every arm begins from.
        num_steps: of 192 images.
    """
    base = nano_sigmoid(num_steps=num_steps)
    return replace(
        base,
        name=f"ablation_{arm}",
        model=model,
        initial_weights=initial_weights,
        seed=seed,
        sources=(
            Source(name="tiny_imagenet", images_per_batch=128),
            Source(name="flickr8k", images_per_batch=48),
            Source(name="coco_mini", images_per_batch=16),
        ),
        # A third of the rates from nothing: the weights were annealed before.
        optimizer=replace(base.optimizer, learning_rate=6e-4, muon_learning_rate=1e-3),
        schedule=Schedule(num_steps=num_steps, warmup_steps=min(10, num_steps)),
        stages=(Stage(name=arm, begin=0.0, losses=_LOSSES[arm]),),
        self_supervision=SelfSupervision(local_share=0.5, hidden=512, bottleneck=128, prototypes=4096),
        ema_decay=0.95,
        checkpoint_every=20,
        log_every=5,
    )
