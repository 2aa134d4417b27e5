"""Fine-tune a model on captioned photos of one's own."""

from siglip2.config import ModelConfig
from siglip2.recipes.recipe import LowRank, Optimizer, Recipe, Schedule, Source, Stage

IMAGE_TOWER = ("vision_model.",)
"""What LiT keeps as it is (Zhai et al. 2022, arXiv 2111.07991): the texts learn to meet the images."""


def fine_tune(
    model: ModelConfig,
    initial_weights: str,
    *,
    num_steps: int = 200,
    batch_size: int = 32,
    learning_rate: float = 1e-5,
    lock_images: bool = False,
    low_rank: int = 0,
) -> Recipe:
    """Sigmoid loss on one source, from given weights, at a low constant-to-zero learning rate.

    The scale and bias are the checkpoint's, and nothing clamps them.

    Args:
        model: shape of the weights.
        initial_weights: what `siglip2.load` takes.
        num_steps: of the run.
        batch_size: pairs a step.
        learning_rate: highest of the schedule.
        lock_images: train the text tower only.
        low_rank: rank of LoRA's matrices; 0 trains the weights themselves.
    """
    return Recipe(
        name="fine_tune",
        model=model,
        sources=(Source(name="folder", images_per_batch=batch_size),),
        optimizer=Optimizer(name="adamw", learning_rate=learning_rate, weight_decay=0.0),
        schedule=Schedule(num_steps=num_steps, warmup_steps=max(1, num_steps // 20)),
        stages=(Stage(name="fine-tuning", begin=0.0),),
        initial_weights=initial_weights,
        locked=IMAGE_TOWER if lock_images else (),
        low_rank=LowRank(rank=low_rank, alpha=2.0 * low_rank) if low_rank else None,
        min_crop_area=0.7,
        ema_decay=0.98,
        checkpoint_every=max(10, num_steps // 4),
        log_every=max(1, num_steps // 50),
    )
