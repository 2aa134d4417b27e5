"""Everything that learns in a run, stage by stage: the model, the decoder, the heads, the teacher.

`enter` brings in what a stage needs and resizes what it changes; replaying it for every stage begun gives the
modules into which a saved state is read.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from siglip2.config import ModelConfig
from siglip2.losses.locca import LocCaLoss
from siglip2.losses.masked_prediction import masked_patches
from siglip2.losses.self_distillation import DistillationLoss
from siglip2.network.decoder import CaptionDecoder
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2, normalize
from siglip2.network.packed import encode_in_one_sequence
from siglip2.network.patch_kernel import resize_patch_kernel
from siglip2.network.positions import resize_positions
from siglip2.network.projection_head import ProjectionHead
from siglip2.network.vision import VisionOutput, VisionTower
from siglip2.recipes.recipe import Recipe, Stage
from siglip2.train.batches import Views
from siglip2.train.cached_pairs import CachedPairs
from siglip2.train.pairs import weighted_pair_losses
from siglip2.train.teacher import make_teacher, update_teacher

Task = Literal["losses", "embed", "curator"]
POSITIONS = "vision_model.embeddings.position_embedding.weight"
PATCH_KERNEL = "vision_model.embeddings.patch_embedding.weight"


class Distilled(nn.Module):
    """The part that has a teacher: the image tower and the two heads."""

    def __init__(self, tower: VisionTower, image_head: ProjectionHead, patch_head: ProjectionHead):
        super().__init__()
        self.tower = tower
        self.image_head = image_head
        self.patch_head = patch_head


class Objective(nn.Module):
    """Model and losses of a run.

    Attributes:
        model: the two towers, which are exported.
        decoder: LocCa's, once a stage trains it.
        student: the image tower with its heads, once a stage distils.
        teacher: its running average.
        curator: weights that curation compares with.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.stage = -1
        self.model = build_initialised(recipe.model, seed=recipe.seed)
        with torch.no_grad():
            self.model.logit_bias.fill_(recipe.initial_bias)
        self.decoder: CaptionDecoder | None = None
        self.student: Distilled | None = None
        self.teacher: nn.Module | None = None
        self.curator: SigLIP2 | None = None
        self.mask_token: nn.Parameter | None = None

    @property
    def current(self) -> Stage:
        """The stage that was entered last."""
        return self.recipe.stages[self.stage]

    def enter(self, index: int, average: dict[str, Tensor]) -> None:
        """Begin a stage: new modules are fresh, the teacher starts as the student, positions are resized.

        Args:
            index: of the stage; stages are entered one after the other.
            average: averaged weights of the model, resized in place where the model is.
        """
        self.stage = index
        stage = self.current
        generator = torch.Generator().manual_seed(self.recipe.seed * 7919 + index)
        device = self.model.logit_bias.device
        config = stage_config(self.recipe, index)
        if config != self.model.config:
            self._reshape(config, average)
        if stage.losses.locca and self.decoder is None:
            self.decoder = CaptionDecoder(config.text, config.vision.width)
            self.decoder.init_weights(generator)
        if self.decoder is not None:
            self.decoder.requires_grad_(bool(stage.losses.locca))
        if stage.losses.self_distillation or stage.losses.masked_prediction:
            if self.student is None:
                self._add_heads(config, generator)
        else:
            self.student = self.teacher = self.mask_token = None
        own_teacher = stage.curation is not None and stage.curation.teacher == "average"
        if own_teacher:
            self.curator = deepcopy(self.model)
            self.curator.load_state_dict(average)
            self.curator.requires_grad_(False)
        self.to(device)

    def forward(
        self,
        views: Views,
        task: Task = "losses",
        pairs: CachedPairs | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> Any:
        """Everything that runs through the modules comes in here, which is where wrappers listen.

        Args:
            views: of one batch, or of a part of it.
            task: `losses`, each loss of the stage, weighted, whose sum is minimised; `embed`, what the towers
                say of images and texts; `curator`, the same of the weights that curation compares with.
            pairs: gradients of the sigmoid loss, where `views` are a part of a batch.
            counts: what the losses of a part are divided by, `whole_counts`.
        """
        if task != "losses":
            model = self.curator if task == "curator" else self.model
            assert model is not None
            scalars = [each.detach().clone() for each in (model.logit_scale, model.logit_bias)]
            return (
                normalize(self._see(model, views).pooled),
                model.embed_texts(views.ids),
                *scalars,
            )
        counts = counts or {}
        weights, model = self.current.losses, self.model
        output = self._see(model, views)
        arguments = (
            normalize(output.pooled),
            model.embed_texts(views.ids),
            model.logit_scale,
            model.logit_bias,
        )
        if pairs is None:
            parts = weighted_pair_losses(*arguments, views, weights)
        else:
            parts = pairs.losses_of_part(*arguments)
        if weights.locca:
            targets = views.targets
            assert targets is not None
            assert self.decoder is not None
            arguments = (
                self.decoder,
                output.patches,
                targets.ids,
                targets.image,
                targets.parallel,
                views.mask,
            )
            parts["locca"] = weights.locca * LocCaLoss()(*arguments, count=counts.get("tokens"))
        if self.student is not None:
            parts |= self._distil(views, counts.get("images"))
        return parts

    def _see(self, model: SigLIP2, views: Views) -> VisionOutput:
        if views.grids is None or views.mask is None:
            return model.vision_model(views.patches)
        shape = {"grids": views.grids, "mask": views.mask}
        if not self.current.packed:
            return model.vision_model(views.patches, **shape)
        multiple = self.current.packed
        return encode_in_one_sequence(model.vision_model, views.patches, **shape, multiple=multiple)

    def after_step(self) -> None:
        """Move the teacher and its centres."""
        if self.teacher is not None and self.student is not None:
            update_teacher(self.teacher, self.student, self.recipe.self_supervision.momentum)
            self.image_loss.move_centre()
            self.patch_loss.move_centre()

    def after_skipped_step(self) -> None:
        """Leave teacher and centres where they are."""
        if self.student is not None:
            self.image_loss.forget()
            self.patch_loss.forget()

    def _distil(self, views: Views, count: int | None) -> dict[str, Tensor]:
        weights = self.current.losses
        student, teacher = self.student, self.teacher
        assert isinstance(student, Distilled)
        assert isinstance(teacher, Distilled)
        assert views.global_view is not None
        assert views.local_views is not None
        assert views.hidden is not None
        assert self.mask_token is not None
        with torch.no_grad():
            seen = teacher.tower(views.global_view)
        parts = {}
        if weights.self_distillation:
            local = views.local_views.flatten(0, 1)
            pooled = student.tower(local, grids=torch.tensor(views.local_grid).expand(len(local), 2)).pooled
            scores = student.image_head(pooled).unflatten(0, views.local_views.shape[:2])
            loss = self.image_loss(scores, teacher.image_head(seen.pooled), count=count)
            parts["self_distillation"] = weights.self_distillation * loss
        if weights.masked_prediction:
            patches = masked_patches(student.tower, views.global_view, views.hidden, self.mask_token)
            scores = student.patch_head(patches[views.hidden])[None]
            # As many in every image, of which a part of a batch may have none.
            each = round(self.recipe.self_supervision.masked_share * views.hidden.shape[1])
            masked = None if count is None else count * each
            loss = self.patch_loss(scores, teacher.patch_head(seen.patches[views.hidden]), count=masked)
            parts["masked_prediction"] = weights.masked_prediction * loss
        return parts

    def _add_heads(self, config: ModelConfig, generator: torch.Generator) -> None:
        settings, width = self.recipe.self_supervision, config.vision.width
        heads = [
            ProjectionHead(
                width,
                hidden=settings.hidden,
                bottleneck=settings.bottleneck,
                prototypes=settings.prototypes,
            )
            for _ in range(2)
        ]
        for head in heads:
            head.init_weights(generator)
        # The tower is the model's own: both names lead to the same parameters.
        self.student = Distilled(self.model.vision_model, *heads)
        self.teacher = make_teacher(self.student)
        self.mask_token = nn.Parameter(torch.randn(width, generator=generator) * 0.02)
        temperatures = {
            "student_temperature": settings.student_temperature,
            "teacher_temperature": settings.teacher_temperature,
            "centre_momentum": settings.centre_momentum,
        }
        self.image_loss = DistillationLoss(settings.prototypes, **temperatures)
        self.patch_loss = DistillationLoss(settings.prototypes, **temperatures)

    @torch.no_grad()
    def _reshape(self, config: ModelConfig, average: dict[str, Tensor]) -> None:
        """Another resolution or patch: position table and patch kernel resized, all else the same."""
        before, after = self.model.config.vision, config.vision
        towers = [self.model.vision_model]
        if isinstance(self.teacher, Distilled):
            towers.append(self.teacher.tower)
        for tower in towers:
            tower.config = tower.embeddings.config = after
        self.model.config = config
        if after.position_grid != before.position_grid:
            grids = before.position_grid, after.position_grid
            for tower in towers:
                table = tower.embeddings.position_embedding
                table.weight = _like(table.weight, _resized(table.weight, *grids))
                table.num_embeddings = after.num_positions
            average[POSITIONS] = _resized(average[POSITIONS], *grids)
        if after.patch_size != before.patch_size:
            for tower in towers:
                linear = tower.embeddings.patch_embedding
                linear.weight = _like(linear.weight, resize_patch_kernel(linear.weight, after.patch_size))
                linear.in_features = after.patch_dim
            average[PATCH_KERNEL] = resize_patch_kernel(average[PATCH_KERNEL], after.patch_size)


def _like(before: Tensor, tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=before.requires_grad)


def _resized(table: Tensor, before: int, grid: int) -> Tensor:
    return resize_positions(table.detach().unflatten(0, (before, before)), (grid, grid)).contiguous()


def stage_config(recipe: Recipe, index: int) -> ModelConfig:
    """Shape of the model in a stage: the last sizes named up to it, NaFlex where it has lengths."""
    config = recipe.model
    for stage in recipe.stages[: index + 1]:
        if stage.image_size is not None or stage.patch_size is not None:
            size = stage.image_size or config.vision.image_size
            patch = stage.patch_size or config.vision.patch_size
            grid = config.vision.position_grid if size is None else size // patch
            vision = replace(config.vision, image_size=size, patch_size=patch, position_grid=grid)
            config = replace(config, vision=vision)
    lengths = recipe.stages[index].sequence_lengths
    if lengths:
        vision = replace(config.vision, image_size=None, max_num_patches=max(lengths))
        config = replace(config, vision=vision)
    return config
