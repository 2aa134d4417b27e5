"""Fit the scale and bias of the logits to a handful of labelled examples.

The published biases suit web-scale negatives, where a text almost never matches: probabilities of a few
hand-chosen labels come out far too low. The order of labels does not depend on either number.
"""

from dataclasses import dataclass

import numpy as np

from siglip2.errors import InvalidInput

SHIFT_SPREAD = 5.0
"""Standard deviation of the prior on the shift of all logits: published biases are off by several units."""

SCALE_SPREAD = 0.25
"""Standard deviation of the prior on the scale, as a share of the published one."""

_MAX_STEPS = 100
_SMALLEST_STEP = 2.0**-30


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Fitted scale and bias.

    Attributes:
        logit_scale: factor of the cosine.
        logit_bias: added to it.
        num_examples: labelled images it was fitted to.
        loss_before: mean sigmoid cross-entropy of an (image, label) pair, in nats, with the model's own
            numbers.
        loss_after: the same with the fitted ones.
    """

    logit_scale: float
    logit_bias: float
    num_examples: int
    loss_before: float
    loss_after: float


def fit_calibration(
    cosine: np.ndarray, target: np.ndarray, *, logit_scale: float, logit_bias: float
) -> Calibration:
    """Logistic regression of "this label holds for this image" on the cosine, drawn to the model's values.

    The prior makes five examples safe: perfectly separated ones would otherwise drive the scale to infinity.
    It is a normal distribution of scale and of shift, where shift is what is added to the logit at the cosine
    that the model itself gives a probability of one half; the two hardly depend on each other there.
    The problem is convex, and Newton's method with halved steps finds its only solution.

    Args:
        cosine: (B, L) of images and labels.
        target: (B, L) bool, whether the label holds.
        logit_scale: the model's own.
        logit_bias: the model's own.

    Raises:
        InvalidInput: no examples, or examples whose labels hold where the cosine is low.
    """
    if target.size == 0:
        raise InvalidInput("calibration needs at least one labelled image")
    x = cosine.astype(np.float64).ravel()
    y = target.astype(np.float64).ravel()
    middle = -logit_bias / logit_scale
    design = np.stack([x - middle, np.ones_like(x)])
    prior = np.array([logit_scale, 0.0])
    precision = 1 / np.array([SCALE_SPREAD * logit_scale, SHIFT_SPREAD]) ** 2

    def objective(weights: np.ndarray) -> float:
        return _loss(weights @ design, y).sum() + 0.5 * (precision * (weights - prior) ** 2).sum()

    weights = prior
    for _ in range(_MAX_STEPS):
        probability = np.exp(-np.logaddexp(0, -(weights @ design)))
        gradient = design @ (probability - y) + precision * (weights - prior)
        curvature = (design * probability * (1 - probability)) @ design.T + np.diag(precision)
        direction = np.linalg.solve(curvature, gradient)
        if gradient @ direction < 1e-12:
            break
        size, current = 1.0, objective(weights)
        while objective(weights - size * direction) > current and size > _SMALLEST_STEP:
            size /= 2
        weights = weights - size * direction
    scale, shift = weights.tolist()
    if scale <= 0:
        raise InvalidInput(
            "these examples contradict the model: labels hold where it sees the least resemblance. "
            "Are images and labels in the same order?"
        )
    bias = shift - scale * middle
    return Calibration(
        logit_scale=scale,
        logit_bias=bias,
        num_examples=len(target),
        loss_before=float(_loss(logit_scale * x + logit_bias, y).mean()),
        loss_after=float(_loss(scale * x + bias, y).mean()),
    )


def _loss(logit: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logit) - target * logit
