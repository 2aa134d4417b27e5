"""Monocular depth and surface normals by a head on frozen patch features (paper Table 2)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.intervals import mean
from siglip2.evals.metrics.depth import depth_errors, normal_errors, normals_from_depth
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet
from siglip2.evals.tasks.segmentation import ReadDense

BINS = 256
NEAREST, FARTHEST = 0.001, 10.0
"""Metres between which the bins lie, as DINOv3's NYUv2 probe has them."""


@dataclass(frozen=True, kw_only=True)
class DepthProbe:
    """RMSE of depth in metres: 256 bins between 1 mm and 10 m, the mean weighted by the head's shares.

    Differs from the paper: an L1 loss of log depth in place of the scale-invariant one, whole images.

    Attributes:
        read: images and depths of a split.
        head: `linear` or `dpt`.
        steps: of fitting.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadDense
    train_split: str = "train"
    test_split: str = "test"
    head: Literal["linear", "dpt"] = "linear"
    steps: int = 1000
    published: str | None = None
    main: str = field(default="rmse", init=False)
    trains: bool = field(default=True, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        from siglip2.evals.probes.dense_head import apply_head, fit_head, with_pooled

        train = self.read(context, self.data[0], self.train_split)
        test = self.read(context, self.data[0], self.test_split)
        test = test.take(context.limited(len(test.images)))
        centres = torch.linspace(NEAREST, FARTHEST, BINS)

        def metres(output: torch.Tensor) -> torch.Tensor:
            shares = torch.relu(output) + 0.1  # DINOv2's linear normalisation: no bin is ever shut out
            return (shares * centres[:, None, None]).sum(1) / shares.sum(1)

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            valid = target > 0
            return (metres(output)[valid].log() - target[valid].log()).abs().mean()

        depths = list(train.depths())
        features = [with_pooled(each) for each in context.patches(train.images)]
        head = fit_head(features, depths, BINS, loss, head=self.head, steps=self.steps, seed=context.seed)
        typical = float(np.concatenate([each[each > 0] for each in depths]).mean())
        errors, constant = [], []
        tested = context.cache.patches(test.images, progress=context.progress)
        for each, target in zip(tested, test.depths(), strict=True):
            output = torch.from_numpy(apply_head(head, with_pooled(each), target.shape)).permute(2, 0, 1)
            errors.append(depth_errors(metres(output[None])[0].numpy(), target))
            constant.append(depth_errors(np.full(target.shape, typical), target)["rmse"])
        return Outcome(
            measures={name: mean(np.array([error[name] for error in errors])) for name in errors[0]},
            sizes={"images": len(test.images), "train_images": len(train.images)},
            chance=float(np.mean(constant)),
            settings={"head": self.head, "steps": self.steps, "bins": BINS},
        )


@dataclass(frozen=True, kw_only=True)
class NormalsProbe:
    """Angular RMSE of surface normals in degrees; normals are derived from the depth pictures.

    Differs from the paper: NYUv2's and NAVI's normals come with the data; here they follow from depth and the
    focal length.

    Attributes:
        read: images and depths of a split.
        focal: focal length in widths of the image; None where the data give one for each.
        head: `linear` or `dpt`.
        steps: of fitting.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadDense
    focal: float | None = None
    train_split: str = "train"
    test_split: str = "test"
    head: Literal["linear", "dpt"] = "linear"
    steps: int = 1000
    published: str | None = None
    main: str = field(default="angular_rmse", init=False)
    trains: bool = field(default=True, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        from siglip2.evals.probes.dense_head import apply_head, fit_head, with_pooled

        train = self.read(context, self.data[0], self.train_split)
        test = self.read(context, self.data[0], self.test_split)
        test = test.take(context.limited(len(test.images)))

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            valid = (target**2).sum(-1) > 0.5
            predicted = torch.nn.functional.normalize(output.permute(0, 2, 3, 1)[valid], dim=-1)
            return (1 - (predicted * target[valid]).sum(-1)).mean()

        normals = list(self._normals(train))
        features = [with_pooled(each) for each in context.patches(train.images)]
        head = fit_head(features, normals, 3, loss, head=self.head, steps=self.steps, seed=context.seed)
        typical = np.concatenate([each[(each**2).sum(-1) > 0.5] for each in normals]).mean(axis=0)
        errors, constant = [], []
        tested = context.cache.patches(test.images, progress=context.progress)
        for each, target in zip(tested, self._normals(test), strict=True):
            errors.append(normal_errors(apply_head(head, with_pooled(each), target.shape[:2]), target))
            constant.append(normal_errors(np.broadcast_to(typical, target.shape), target)["angular_rmse"])
        return Outcome(
            measures={name: mean(np.array([error[name] for error in errors])) for name in errors[0]},
            sizes={"images": len(test.images), "train_images": len(train.images)},
            chance=float(np.mean(constant)),
            settings={"head": self.head, "steps": self.steps, "focal": self.focal},
        )

    def _normals(self, images: DenseImages) -> Iterator[np.ndarray]:
        for index, depth in enumerate(images.depths()):
            focal = self.focal if images.focals is None else float(images.focals[index])
            if focal is None:
                raise InvalidInput(f"{self.name}: neither the task nor the data know the focal length")
            yield normals_from_depth(depth, focal * depth.shape[1]).astype(np.float32)
