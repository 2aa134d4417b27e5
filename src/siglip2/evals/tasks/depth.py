"""Monocular depth and surface normals by a head on frozen patch features (paper Table 2)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.intervals import mean
from siglip2.evals.metrics.depth import depth_errors, normal_errors, normals_from_depth
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context
from siglip2.evals.tasks.dense_probe import DenseProbe

BINS = 256
NEAREST, FARTHEST = 0.001, 10.0
"""Metres between which the bins lie, as DINOv3's NYUv2 probe has them."""


class RunningMean:
    """Of what is known in pictures that pass by, so that they need not be held for it."""

    def __init__(self) -> None:
        self.total: np.ndarray | float = 0.0
        self.count = 0

    def over(
        self, pictures: Iterable[np.ndarray], known: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[np.ndarray]:
        """The same pictures; `known` gives the (K, C) values of one that count."""
        for picture in pictures:
            values = known(picture)
            self.total = self.total + values.sum(axis=0, dtype=np.float64)
            self.count += len(values)
            yield picture

    @property
    def mean(self) -> np.ndarray:
        """(C,) of what has passed."""
        return np.asarray(self.total / max(1, self.count))


@dataclass(frozen=True, kw_only=True)
class DepthProbe(DenseProbe):
    """RMSE of depth in metres: 256 bins between 1 mm and 10 m, the mean weighted by the head's shares.

    Differs from the paper: an L1 loss of log depth in place of the scale-invariant one, whole images.
    """

    main: str = field(default="rmse", init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        train, test = self.splits(context)
        centres = torch.linspace(NEAREST, FARTHEST, BINS)

        def metres(output: torch.Tensor) -> torch.Tensor:
            shares = torch.relu(output) + 0.1  # DINOv2's linear normalisation: no bin is ever shut out
            return (shares * centres[:, None, None]).sum(1) / shares.sum(1)

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            valid = target > 0
            return (metres(output)[valid].log() - target[valid].log()).abs().mean()

        known = RunningMean()
        depths = known.over(train.depths(), lambda depth: depth[depth > 0, None])
        head = self.fit(context, train, depths, BINS, loss)
        typical = float(known.mean[0])
        errors, constant = [], []
        for output, target in self.outputs(context, head, test, test.depths()):
            told = metres(torch.from_numpy(output).permute(2, 0, 1)[None])[0].numpy()
            errors.append(depth_errors(told, target))
            constant.append(depth_errors(np.full(target.shape, typical), target)["rmse"])
        return Outcome(
            measures={name: mean(np.array([error[name] for error in errors])) for name in errors[0]},
            sizes={"images": len(test.images), "train_images": len(train.images)},
            chance=float(np.mean(constant)),
            settings={"head": self.head, "steps": self.steps, "bins": BINS},
        )


@dataclass(frozen=True, kw_only=True)
class NormalsProbe(DenseProbe):
    """Angular RMSE of surface normals in degrees; normals are derived from the depth pictures.

    Differs from the paper: NYUv2's and NAVI's normals come with the data; here they follow from depth and the
    focal length.

    Attributes:
        focal: focal length in widths of the image; None where the data give one for each.
    """

    focal: float | None = None
    main: str = field(default="angular_rmse", init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        train, test = self.splits(context)

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            valid = (target**2).sum(-1) > 0.5
            predicted = torch.nn.functional.normalize(output.permute(0, 2, 3, 1)[valid], dim=-1)
            return (1 - (predicted * target[valid]).sum(-1)).mean()

        known = RunningMean()
        normals = known.over(self._normals(train), lambda normal: normal[(normal**2).sum(-1) > 0.5])
        head = self.fit(context, train, normals, 3, loss)
        typical = known.mean.astype(np.float32)
        errors, constant = [], []
        for output, target in self.outputs(context, head, test, self._normals(test)):
            errors.append(normal_errors(output, target))
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
