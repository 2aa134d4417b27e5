"""What a recipe is made of: frozen data, so that it can be printed, compared and saved with the weights."""

from dataclasses import dataclass
from typing import Literal

from siglip2.config import ModelConfig

Parallel = Literal["ddp", "fsdp"]


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
class LossWeights:
    """What is added up; a weight of zero leaves a loss out altogether."""

    sigmoid: float = 1.0
    locca: float = 0.0
    self_distillation: float = 0.0
    masked_prediction: float = 0.0
    softmax: float = 0.0
    """CLIP's loss, to compare the sigmoid one with."""
    distillation: float = 0.0
    """From the pairs' probabilities of `Recipe.distil_from`."""


@dataclass(frozen=True, kw_only=True)
class SelfSupervision:
    """Teacher, views and heads of the self-supervised losses.

    Attributes:
        local_views: of every image; the paper has 8.
        local_share: side of a local view as a share of the global one, rounded to whole patches.
        momentum: of the teacher, fixed.
        hidden: width of the heads' hidden layers.
        bottleneck: width before the prototypes.
        prototypes: K.
        student_temperature: of the softmax.
        teacher_temperature: of the softmax.
        centre_momentum: of the running centre.
        masked_share: of the patches; the paper has half.
    """

    local_views: int = 8
    local_share: float = 0.375
    momentum: float = 0.996
    hidden: int = 2048
    bottleneck: int = 256
    prototypes: int = 65_536
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    masked_share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Curation:
    """ACID: which part of a super-batch is dropped, and how it is chosen.

    Attributes:
        filter_ratio: dropped share; the paper has 0.5 for B/16 and 0.75 for B/32.
        chunks: draws of the joint selection.
        teacher: `average`, the run's own averaged weights as the stage begins, or a model's folder.
            Differs from the paper: its teacher is a So400m model fine-tuned on curated data, which nobody
            outside has.
    """

    filter_ratio: float = 0.5
    chunks: int = 16
    teacher: str = "average"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run.

    Attributes:
        name: for logs and the time line.
        begin: share of the run's steps at which it starts.
        losses: what is trained.
        image_size: pixels a side from here on; None keeps what was before. The position table is resized.
        patch_size: pixels a side of a patch from here on; None keeps what was before. The kernel of the patch
            embedding is resized by the pseudo-inverse of resizing a patch, and so is the position table.
        sequence_lengths: NaFlex: one of these is drawn for each batch, and aspect ratios are kept; empty for
            square images.
        shape_variety: NaFlex: parts of other shapes are cut from the pictures, up to so many times as wide or
            as high as the picture is; 1 keeps its shape.
            Differs from the paper, whose pictures have all shapes; many small data sets are of squares.
        packed: NaFlex: images of a batch follow each other in one sequence, filled up to a multiple of so
            many patches, in place of being padded to one length; 0 pads. Values and gradients are the same.
        halved_from: NaFlex: batches of sequences so long or longer are taken in two steps of half the images
            each, as the paper's are at 1,024; 0 halves none.
        curation: super-batches and their selection; None trains on everything.
        learning_rate: factor on the schedule.
        weight_decay: factor on the decay.
    """

    name: str
    begin: float
    losses: LossWeights = LossWeights()
    image_size: int | None = None
    patch_size: int | None = None
    sequence_lengths: tuple[int, ...] = ()
    shape_variety: float = 1.0
    packed: int = 0
    halved_from: int = 0
    curation: Curation | None = None
    learning_rate: float = 1.0
    weight_decay: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Where a run begins that does not begin from nothing.

    Attributes:
        recipe: the run whose weights and optimiser state are taken.
        share: at which share of its steps; 1 takes the weights of a finished run, with a schedule of its own.
        steps_stretch: the remaining schedule is stretched by this; the paper has 3.75 for NaFlex.
    """

    recipe: str
    share: float
    steps_stretch: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """LoRA: what is trained in place of the weights.

    Attributes:
        rank: of each product of two matrices.
        alpha: the product is scaled by alpha / rank.
        layers: endings of the names of the linear layers that get one.
    """

    rank: int = 8
    alpha: float = 16.0
    layers: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole training run.

    Attributes:
        branch: the run that this one goes on from; None for one from nothing.
        initial_weights: a model that `siglip2.load` would take, to fine-tune.
        distil_from: a model that `siglip2.load` would take, usually larger, whose scores are learned.
        locked: beginnings of the names of parameters that stay as they are.
        low_rank: train small matrices beside frozen weights (LoRA).
        expected: scores that the run is to reach, as its source states them.
    """

    name: str
    model: ModelConfig
    sources: tuple[Source, ...]
    optimizer: Optimizer
    schedule: Schedule
    stages: tuple[Stage, ...] = (Stage(name="sigmoid", begin=0.0),)
    self_supervision: SelfSupervision = SelfSupervision()
    branch: Branch | None = None
    initial_weights: str | None = None
    distil_from: str | None = None
    locked: tuple[str, ...] = ()
    low_rank: LowRank | None = None
    expected: str = ""
    initial_bias: float = -10.0
    """The paper's -10 is the prior of one pair in a batch of 32,768; a small batch wants log(1 / T)."""
    min_crop_area: float = 0.4
    colour_jitter: float = 0.0
    """Share of the pictures whose brightness, contrast and saturation are changed, a quarter of them to grey.
    Differs from the paper, which has pictures enough; small data is learned by heart without."""
    mixed: float = 0.0
    """Share of the pictures into which a part of another is laid (CutMix): both texts are then true of it,
    which the sigmoid loss can say. For square pictures, one process, and stages without curation.
    Differs from the paper, for the same reason."""
    ema_decay: float = 0.998
    """Of the exported weights. The paper exports the last weights; an average suits a short run better."""
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    parallel: Parallel = "ddp"
    """Over the ranks of torchrun: a copy on each (`ddp`), or every tensor sharded (`fsdp`, FSDP2)."""
    accumulate: int = 1
    """Parts in which a rank's batch goes through the towers; the loss still sees all of it (GradCache)."""
    activation_checkpointing: bool = False
    """Compute blocks again in the backward pass in place of keeping what is in them."""
    spike_factor: float = 10.0
    """A step whose gradient norm is so many times the running mean is skipped; 0 skips none."""
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    keep_at: tuple[float, ...] = ()
    """Shares of the run at which a state is saved that stays on disk, for branches to go on from."""
    log_every: int = 20

    @property
    def branch_step(self) -> int:
        """The step at which a branch leaves the run that it goes on from; 0 for a run of its own."""
        share = 0.0 if self.branch is None else self.branch.share
        return round(share * self.schedule.num_steps) if share < 1 else 0

    @property
    def last_step(self) -> int:
        """How many steps there are, those before a branch included; a branch may stretch the others."""
        stretch = 1.0 if self.branch is None else self.branch.steps_stretch
        return self.branch_step + round(stretch * (self.schedule.num_steps - self.branch_step))

    @property
    def kept_steps(self) -> frozenset[int]:
        """Steps whose states stay on disk."""
        return frozenset(round(share * self.schedule.num_steps) for share in self.keep_at)

    def progress(self, step: int) -> float:
        """A step in those of the schedule and the stages, which a branch may stretch from where it begins."""
        if self.branch is None or step < self.branch_step:
            return step
        return self.branch_step + (step - self.branch_step) / self.branch.steps_stretch

    def stage_at(self, step: int) -> int:
        """Index of the stage that a step belongs to."""
        done = self.progress(step)
        begun = [index for index, stage in enumerate(self.stages) if self.first_step(index) <= done]
        return begun[-1]

    def first_step(self, stage: int) -> int:
        """The step of the schedule at which a stage begins."""
        return round(self.stages[stage].begin * self.schedule.num_steps)
