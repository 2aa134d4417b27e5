"""The paper's own runs, as data: B/16 at 256 pixels, its branches, and the curated stage.

Nobody runs these here: 40 billion image-text pairs of WebLI are not public. They are expanded and printed by
`siglip2 train RECIPE --dry-run`, and what they expand to is tested.
Source: paper Sections 2.1 to 2.5. Step marks follow from 40 billion examples in batches of 32,768.
"""

from dataclasses import replace

from siglip2.config import PUBLISHED, ModelConfig
from siglip2.recipes.recipe import (
    Branch,
    Curation,
    LossWeights,
    Optimizer,
    Recipe,
    Schedule,
    SelfSupervision,
    Source,
    Stage,
)

BATCH = 32_768
EXAMPLES = 40_000_000_000
STEPS = EXAMPLES // BATCH
SIZE_FACTORS = {"base": 0.25, "large": 0.5, "so400m": 1.0, "giant-opt": 0.5}
"""Of the self-supervised losses (paper Section 2.3)."""

NAFLEX_LENGTHS = (128, 256, 576, 784, 1024)
NAFLEX_STRETCH = 3.75

WEBLI = (
    # 90 % of the pairs from English pages, 10 % from others.
    Source(name="webli_english", images_per_batch=29_491, flip=False),
    Source(name="webli_other_languages", images_per_batch=3_277, flip=False),
)


def _model(name: str) -> ModelConfig:
    return next(item.config for item in PUBLISHED if item.name == name)


def _weights(size: str) -> tuple[LossWeights, LossWeights]:
    factor = SIZE_FACTORS[size]
    captions = LossWeights(sigmoid=1.0, locca=1.0)
    return captions, replace(captions, self_distillation=factor, masked_prediction=0.25 * factor)


def base_patch16_256() -> Recipe:
    """40 billion examples: sigmoid and captions, from 80 % on self-distillation and masking too.

    The paper does not say: the second beta of Adam; 0.95 is the first SigLIP's.
    """
    captions, dense = _weights("base")
    return Recipe(
        name="base_patch16_256",
        model=_model("base-patch16-256"),
        sources=WEBLI,
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.1, betas=(0.9, 0.95)),
        schedule=Schedule(num_steps=STEPS, warmup_steps=20_000),
        stages=(
            Stage(name="sigmoid and captions", begin=0.0, losses=captions),
            Stage(name="with self-distillation and masking", begin=0.8, losses=dense),
        ),
        self_supervision=SelfSupervision(),
        min_crop_area=1.0,
        ema_decay=0.0,
        precision="bfloat16",
        compile=True,
        checkpoint_every=5_000,
        keep_at=(0.9, 0.95),
        log_every=100,
        expected="after curation: ImageNet 79.1, COCO hit@1 53.2 text to image, 69.7 image to text",
    )


def base_patch16_512() -> Recipe:
    """The same at 512 pixels: from 95 % on, all losses, positions resized."""
    _, dense = _weights("base")
    return replace(
        base_patch16_256(),
        name="base_patch16_512",
        branch=Branch(recipe="base_patch16_256", share=0.95),
        stages=(
            *base_patch16_256().stages,
            Stage(name="at 512 pixels", begin=0.95, losses=dense, image_size=512),
        ),
        expected="after curation: ImageNet 81.2, COCO hit@1 55.2 text to image, 71.2 image to text",
    )


def base_patch16_naflex() -> Recipe:
    """Native aspect ratios: from 90 % of a run without self-supervision, the rest stretched 3.75 times.

    At 1,024 tokens the batch is halved and twice as many steps are taken, so that the examples stay the same.
    """
    captions, _ = _weights("base")
    return replace(
        base_patch16_256(),
        name="base_patch16_naflex",
        branch=Branch(recipe="base_patch16_256", share=0.9, steps_stretch=NAFLEX_STRETCH),
        stages=(
            Stage(name="sigmoid and captions", begin=0.0, losses=captions),
            Stage(
                name="NaFlex",
                begin=0.9,
                losses=captions,
                sequence_lengths=NAFLEX_LENGTHS,
                halved_from=max(NAFLEX_LENGTHS),
            ),
        ),
        expected="ImageNet zero-shot 78.5 at 256 tokens, 80.4 at 1,024",
    )


def base_patch32_256() -> Recipe:
    """Patches of 32 pixels: from 95 % on, all losses, kernel and positions resized.

    The paper does not say: how the B/32 weights come about. All main runs are with patches of 16, and the
    other sizes are branches at 95 %.
    """
    _, dense = _weights("base")
    return replace(
        base_patch16_256(),
        name="base_patch32_256",
        branch=Branch(recipe="base_patch16_256", share=0.95),
        stages=(
            *base_patch16_256().stages,
            Stage(name="patches of 32 pixels", begin=0.95, losses=dense, patch_size=32),
        ),
        expected="",
    )


def _curated(name: str, parent: str, model: str, filter_ratio: float) -> Recipe:
    examples = 4_000_000_000
    return replace(
        base_patch16_256(),
        name=name,
        model=_model(model),
        branch=Branch(recipe=parent, share=1.0),
        optimizer=Optimizer(name="adamw", learning_rate=1e-5, weight_decay=0.0, betas=(0.9, 0.95)),
        schedule=Schedule(num_steps=examples // BATCH, warmup_steps=0),
        stages=(
            Stage(
                name="curated",
                begin=0.0,
                curation=Curation(filter_ratio=filter_ratio, teacher="so400m fine-tuned on curated data"),
            ),
        ),
    )


def base_patch16_256_curated() -> Recipe:
    """4 billion examples more, half of each super-batch of 65,536 dropped."""
    return _curated("base_patch16_256_curated", "base_patch16_256", "base-patch16-256", 0.5)


def base_patch32_256_curated() -> Recipe:
    """4 billion examples more, three quarters of each super-batch of 131,072 dropped."""
    recipe = _curated("base_patch32_256_curated", "base_patch32_256", "base-patch32-256", 0.75)
    return replace(recipe, expected="ImageNet zero-shot 74.0, COCO hit@1 47.2 and 63.7")
