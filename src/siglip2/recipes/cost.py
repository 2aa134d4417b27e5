"""What a recipe costs before it is run: parameters, floating-point work, memory, GPU hours."""

from dataclasses import dataclass

from siglip2.config import ModelConfig
from siglip2.recipes.recipe import LossWeights, Recipe, SelfSupervision, Stage

H100_FLOPS = 989e12
"""Dense bfloat16 peak of an H100 SXM, as its maker states it."""

UTILISATION = 0.4
"""Share of the peak that the GPU hours assume."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Of one stage.

    Attributes:
        stage: its name.
        steps: how many.
        examples: images seen.
        flops: floating-point operations of all its steps.
    """

    stage: str
    steps: int
    examples: int
    flops: float

    @property
    def gpu_hours(self) -> float:
        """On H100s at 40 % of their peak."""
        return self.flops / (H100_FLOPS * UTILISATION * 3600)


def tower_flops(width: int, depth: int, mlp_dim: int, tokens: int) -> float:
    """Forward operations of one sequence, two for each multiplication with its addition."""
    layer = 2 * tokens * (4 * width * width + 2 * width * mlp_dim) + 4 * tokens * tokens * width
    return depth * layer


def image_flops(model: ModelConfig, tokens: int) -> float:
    """Forward operations of one image: patch embedding, blocks, pooling head."""
    vision = model.vision
    embedding = 2 * tokens * vision.patch_dim * vision.width
    head = 4 * tokens * vision.width**2 + 4 * vision.width * vision.mlp_dim
    return embedding + tower_flops(vision.width, vision.depth, vision.mlp_dim, tokens) + head


def text_flops(model: ModelConfig) -> float:
    """Forward operations of one text."""
    text = model.text
    return tower_flops(text.width, text.depth, text.mlp_dim, text.context_length)


def example_flops(recipe: Recipe, stage: Stage) -> float:
    """Training operations of one image-text pair in a stage: three times the forward ones, and the extras."""
    model, weights = recipe.model, stage.losses
    tokens = _tokens(recipe, stage)
    images, texts = image_flops(model, tokens), text_flops(model)
    forward = images + texts + _decoder_flops(model, weights, tokens)
    total = 3 * forward + _distillation_flops(recipe, weights, tokens)
    if stage.curation is not None:
        # Learner and teacher see the whole super-batch once; the teacher's size is the learner's at least.
        total += 2 * (images + texts) / (1 - stage.curation.filter_ratio)
    return total


def stage_costs(recipe: Recipe) -> list[StageCost]:
    """Of every stage of a recipe, in order; of a branch only what it adds."""
    batch = sum(source.images_per_batch for source in recipe.sources)
    begin = recipe.branch.share if recipe.branch and recipe.branch.share < 1 else 0.0
    stretch = recipe.branch.steps_stretch if recipe.branch else 1.0
    costs = []
    for index, stage in enumerate(recipe.stages):
        end = recipe.stages[index + 1].begin if index + 1 < len(recipe.stages) else 1.0
        share = max(0.0, end - max(begin, stage.begin))
        steps = round(share * stretch * recipe.schedule.num_steps)
        examples = steps * batch
        flops = examples * example_flops(recipe, stage)
        costs.append(StageCost(stage=stage.name, steps=steps, examples=examples, flops=flops))
    return costs


def state_bytes(recipe: Recipe) -> int:
    """What a step needs beside activations, in float32, in the stage that needs most of it.

    Weights, gradients and two moments of all that learns, as if nothing were locked: the model, the
    captioning decoder, the heads of the self-supervised losses. Besides, the model's average, the teacher of
    those losses, and the copy that curation compares with. A larger model that teaches is not counted.
    """
    model = recipe.model
    begun, most = False, 0
    for stage in recipe.stages:
        learning, still = model.num_parameters, model.num_parameters
        if stage.losses.locca:
            learning += _decoder_parameters(model)
        elif begun:
            still += _decoder_parameters(model)
        begun = begun or bool(stage.losses.locca)
        if stage.losses.self_distillation or stage.losses.masked_prediction:
            heads = 2 * _head_parameters(recipe.self_supervision, model.vision.width)
            learning += heads + model.vision.width  # and what stands for a masked patch
            still += heads + model.vision.num_parameters
        if stage.curation is not None and stage.curation.teacher == "average":
            still += model.num_parameters
        most = max(most, 4 * learning + still)
    return 4 * most


def _decoder_parameters(model: ModelConfig) -> int:
    """Of `network/decoder.py`: half the blocks of the text tower, with cross-attention and own tables."""
    width, text = model.text.width, model.text
    attention = 6 * width * width + 2 * model.vision.width * width
    block = attention + 6 * width + 2 * width * text.mlp_dim + text.mlp_dim + width
    tables = (2 * text.vocab_size + 1 + text.context_length) * width
    return (text.depth + 1) // 2 * block + tables + 2 * width


def _head_parameters(settings: SelfSupervision, width: int) -> int:
    """Of one `network/projection_head.py`."""
    hidden, bottleneck = settings.hidden, settings.bottleneck
    layers = (width + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * bottleneck
    return layers + settings.prototypes * bottleneck


def _tokens(recipe: Recipe, stage: Stage) -> int:
    if stage.sequence_lengths:
        return sum(stage.sequence_lengths) // len(stage.sequence_lengths)
    begun, vision = recipe.stages[: recipe.stages.index(stage) + 1], recipe.model.vision
    size = [vision.image_size, *(each.image_size for each in begun if each.image_size)][-1]
    patch = [vision.patch_size, *(each.patch_size for each in begun if each.patch_size)][-1]
    return vision.num_positions if size is None else (size // patch) ** 2


def _decoder_flops(model: ModelConfig, weights: LossWeights, tokens: int) -> float:
    """Three targets an image, each half the text tower with cross-attention, and the vocabulary."""
    if not weights.locca:
        return 0.0
    text = model.text
    layers = (text.depth + 1) // 2
    length = text.context_length
    body = tower_flops(text.width, layers, text.mlp_dim, length)
    cross = layers * (4 * (length + tokens) * text.width**2 + 4 * length * tokens * text.width)
    return 3 * (body + cross + 2 * length * text.width * text.vocab_size)


def _distillation_flops(recipe: Recipe, weights: LossWeights, tokens: int) -> float:
    settings, model = recipe.self_supervision, recipe.model
    if not (weights.self_distillation or weights.masked_prediction):
        return 0.0
    local = max(1, round(tokens**0.5 * settings.local_share)) ** 2
    total = image_flops(model, tokens)  # the teacher, forward only
    if weights.self_distillation:
        total += 3 * settings.local_views * image_flops(model, local)
    if weights.masked_prediction:
        total += 3 * image_flops(model, tokens)
    return total
