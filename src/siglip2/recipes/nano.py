"""`nano`: a small SigLIP 2 trained with the sigmoid loss on the research data.

    siglip2 train nano --data DATA --run RUN

Expected on two CPU cores: see docs/nano.md, which states what was measured.
"""

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.recipes.recipe import Optimizer, Recipe, Schedule, Source

VOCAB_SIZE = 12_000


def nano(*, num_steps: int = 1_700) -> Recipe:
    """The first version: one stage, sigmoid loss only, 64-pixel images in patches of 16."""
    model = ModelConfig(
        vision=VisionConfig(
            width=192, depth=8, mlp_dim=768, num_heads=3, patch_size=16, image_size=64, position_grid=4
        ),
        text=TextConfig(
            width=192, depth=2, mlp_dim=768, num_heads=3, vocab_size=VOCAB_SIZE, context_length=24
        ),
    )
    return Recipe(
        name="nano",
        model=model,
        sources=(
            Source(name="tiny_imagenet", images_per_batch=320),
            Source(name="flickr8k", images_per_batch=48),
            Source(name="emoji", images_per_batch=16, flip=False),
        ),
        optimizer=Optimizer(name="muon", learning_rate=2e-3),
        initial_bias=-5.0,
        schedule=Schedule(num_steps=num_steps, warmup_steps=min(100, num_steps // 10)),
    )
