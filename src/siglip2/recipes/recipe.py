"""What a recipe is made of: frozen data, so that it can be printed, compared and saved with the weights."""

from dataclasses import dataclass
from typing import Literal

from siglip2.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Source:
    """One part of the data mixture.

    Attributes:
        name: a data set that `siglip2.data` knows.
        images_per_batch: how many images of every batch come from it.
        flip: whether its images may be mirrored.
    """

    name: str
    images_per_batch: int
    flip: bool = True


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW in big_vision's sense, or Muon for the inner matrices with AdamW for the rest.

    Attributes:
        name: `adamw`, or `muon`.
            Differs from the paper: `muon` orthogonalises the update of every inner matrix. It is here for
            small budgets, where it learns more per example.
        learning_rate: of AdamW; the paper has 1e-3.
        muon_learning_rate: of Muon, in units where an update has the root-mean-square of AdamW's.
        weight_decay: in AdamW's terms, times the learning rate each step. 0.1 is the paper's decoupled
            1e-4 at a learning rate of 1e-3. Applied to kernels only.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 3e-3
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, then a cosine to zero."""

    num_steps: int
    warmup_steps: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole training run."""

    name: str
    model: ModelConfig
    sources: tuple[Source, ...]
    optimizer: Optimizer
    schedule: Schedule
    initial_bias: float = -10.0
    """The paper's -10 is the prior of one pair in a batch of 32,768; a small batch wants log(1 / T)."""
    min_crop_area: float = 0.4
    ema_decay: float = 0.998
    """Of the exported weights. The paper exports the last weights; an average suits a short run better."""
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    checkpoint_every: int = 200
    log_every: int = 20
