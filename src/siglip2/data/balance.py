"""Multi-modal moment matching (M4): weights of samples under which attributes are balanced.

Alabdulmohsin et al., CLIP the Bias: How Useful is Balancing Data in Multimodal Learning?, arXiv 2403.04547.
Weights q stay as near as possible to a constant, under two kinds of constraints: each value of a sensitive
attribute has its target share (representation), and has it among the samples of each label as well
(association). The dual problem is solved by stochastic ascent over batches of samples.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siglip2.data.traits import UNKNOWN, Attribute, Traits
from siglip2.errors import InvalidInput

CONVERGED = 1e-5
"""Change of a multiplier by a pass, in units of a share, below which the ascent ends."""

VIOLATED = 0.005
"""Excess over a tolerance, in units of a share, above which fewer samples have to be kept."""

Targets = Mapping[str, Mapping[str, float]] | str
"""Share of each value of each attribute; or `equal`, or `observed`."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How to balance. The paper does not say: any of these numbers, but for about 0.9 that is kept.

    Attributes:
        targets: shares of the values of attributes. `equal` gives all values of one attribute the same;
            `observed` takes the data's own, so that associations alone are changed.
        representation: tolerated difference from a target (epsilon R).
        association: tolerated difference from a target among the samples of a label (epsilon D).
        standard_errors: tolerated as well is what chance may do: so many standard errors of a share.
            Differs from the paper: without this, small labels of balanced data are given weights for noise.
        least_samples: a label with fewer samples of known attribute is passed over.
        means: of the weights (eta), tried in this order until the constraints hold. At least this share of
            the samples is kept. Differs from the paper: it has one, and where so few samples may go that
            the constraints cannot hold, they do not.
        highest: weight (Q).
        penalty: of a unit of violation (V), which bounds the multipliers. Where constraints exclude each
            other, it says how much is given up for them.
        passes: of the ascent over the samples, at most.
        step: of the ascent.
    """

    targets: Targets = "equal"
    representation: float = 0.01
    association: float = 0.01
    standard_errors: float = 3.0
    least_samples: int = 20
    means: tuple[float, ...] = (0.9, 0.75, 0.6, 0.45, 0.3, 0.15)
    highest: float = 1.0
    penalty: float = 10.0
    passes: int = 3000
    step: float = 1.0


@dataclass(frozen=True)
class Constraint:
    """A share of a value among the samples that a constraint is about.

    Attributes:
        attribute: name.
        value: of it.
        label: whose samples; None for all.
        target: the share.
        tolerance: of it.
        among: (N,) bool, samples of known attribute and with the label.
        has: (N,) bool, samples with the value.
    """

    attribute: str
    value: str
    label: str | None
    target: float
    tolerance: float
    among: np.ndarray
    has: np.ndarray

    def share(self, weights: np.ndarray) -> float:
        """Weighted share of the value."""
        whole = float(weights[self.among].sum())
        return float(weights[self.among & self.has].sum()) / whole if whole else float("nan")


def balance(traits: Traits, settings: Balance | None = None) -> np.ndarray:
    """Weights of the samples, the highest of them 1: probabilities of keeping each.

    Samples with the same traits have the same weight, so the ascent runs over the distinct ones with their
    numbers: its passes are exact, and what they come to is what batches of samples would come near to.

    Differs from the paper: weights are scaled so that the highest is 1, which changes no share and leaves
    balanced data whole, where weights of 0.9 would drop one sample in ten.

    Args:
        traits: of N samples.
        settings: of the method.

    Returns:
        (N,) float in [0, 1].

    Raises:
        InvalidInput: no sample has a known attribute, or targets are not shares.
    """
    settings = settings or Balance()
    constraints = find_constraints(traits, settings)
    columns = np.stack([np.where(each.among, each.has - each.target, 0.0) for each in constraints], axis=1)
    rows, place, counts = np.unique(columns, axis=0, return_inverse=True, return_counts=True)
    weights = np.ones(len(rows))
    for mean in settings.means:
        ascent = DualAscent(constraints, settings, mean)
        for _ in range(settings.passes):
            if ascent.update(rows, counts) < CONVERGED:
                break
        weights = ascent.weights(rows)
        if ascent.violation(rows, counts) < VIOLATED:
            break
    return (weights / weights.max())[place.reshape(-1)]


class DualAscent:
    """The multipliers of the constraints, which each batch of samples moves.

    Differs from the paper: steps of a label's constraint are divided by its share of the samples, so that a
    rare label is balanced as soon as a common one.
    """

    def __init__(self, constraints: list[Constraint], settings: Balance, mean: float):
        """Begin with no pressure at all.

        Args:
            constraints: their order is that of the columns of batches.
            settings: of the method.
            mean: of the weights (eta).
        """
        self.mean, self._settings = mean, settings
        self._tolerance = np.array([each.tolerance for each in constraints])
        self._prevalence = np.array([each.among.mean() for each in constraints])
        # Each constraint has two signs, each with its multiplier; only their difference enters the weights.
        self._above, self._below = np.zeros(len(constraints)), np.zeros(len(constraints))
        self._offset = 0.0

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """(B, C) differences of samples from the targets, 0 where a constraint is not about them, to (B,)."""
        pressure = rows @ (self._above - self._below) + self._offset
        return np.clip(self.mean - pressure, 0.0, self._settings.highest)

    def update(self, rows: np.ndarray, counts: np.ndarray | None = None, step: float | None = None) -> float:
        """Move the multipliers; the largest change of one, divided by the step.

        Args:
            rows: (B, C) of a batch.
            counts: (B,) how many samples each row stands for.
            step: in place of the one of the settings.
        """
        step = self._settings.step if step is None else step
        moments, slack, mean = self._moments(rows, counts)
        # Where a sample has several labels, their updates add up; the step allows for that.
        step /= max(1.0, float((rows != 0).sum(1).max()) / 2)
        before = self._above - self._below, self._offset
        highest = self._settings.penalty
        self._above = np.clip(self._above + step * (moments - slack), 0, highest)
        self._below = np.clip(self._below + step * (-moments - slack), 0, highest)
        self._offset += step * (mean - self.mean)
        changed = np.abs(self._above - self._below - before[0]).max()
        return max(float(changed), abs(self._offset - before[1])) / step

    def violation(self, rows: np.ndarray, counts: np.ndarray) -> float:
        """Largest excess over a tolerance, in shares; that of the mean as well."""
        moments, slack, mean = self._moments(rows, counts)
        return max(float((np.abs(moments) - slack).max()), abs(mean - self.mean))

    def _moments(self, rows: np.ndarray, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float]:
        share = np.full(len(rows), 1 / len(rows)) if counts is None else counts / counts.sum()
        weighted = self.weights(rows) * share
        moments = weighted @ rows / self._prevalence
        slack = self._tolerance * (weighted @ (rows != 0)) / self._prevalence
        return moments, slack, float(weighted.sum())


def find_constraints(traits: Traits, settings: Balance) -> list[Constraint]:
    """All constraints; of an attribute with two values one is enough, since their shares add up to 1.

    Raises:
        InvalidInput: no sample has a known attribute, or targets are not shares.
    """
    constraints = []
    for attribute in traits.attributes:
        known = attribute.codes != UNKNOWN
        if known.sum() < settings.least_samples:
            continue
        targets = _targets(attribute, settings.targets)
        values = attribute.values[:1] if len(attribute.values) == 2 else attribute.values
        for value in values:
            has = attribute.codes == attribute.values.index(value)
            places = [(None, settings.representation, known)]
            places += [
                (label, settings.association, known & with_label)
                for label, with_label in traits.labels.items()
            ]
            for label, epsilon, among in places:
                count = int(among.sum())
                if count < settings.least_samples:
                    continue
                target = targets[value]
                chance = settings.standard_errors * float(np.sqrt(target * (1 - target) / count))
                tolerance = max(epsilon, chance)
                constraints.append(Constraint(attribute.name, value, label, target, tolerance, among, has))
    if not constraints:
        raise InvalidInput(
            f"fewer than {settings.least_samples} samples have a known attribute; there is nothing to balance"
        )
    return constraints


def _targets(attribute: Attribute, targets: Targets) -> dict[str, float]:
    values = attribute.values
    if targets == "equal":
        return dict.fromkeys(values, 1 / len(values))
    if targets == "observed":
        known = attribute.codes[attribute.codes != UNKNOWN]
        return {value: float((known == index).mean()) for index, value in enumerate(values)}
    own = {} if isinstance(targets, str) else dict(targets.get(attribute.name, {}))
    if set(own) != set(values) or abs(sum(own.values()) - 1) > 1e-6 or min(own.values()) <= 0:
        raise InvalidInput(
            f"targets of {attribute.name} are {own or targets}; expected equal, observed, or shares of "
            f"{', '.join(values)} that add up to 1"
        )
    return own


def read_targets(path: Path) -> Targets:
    """Read shares of the values of attributes, such as `{"gender": {"male": 0.5, "female": 0.5}}`.

    Raises:
        InvalidInput: the file cannot be read or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {value: float(share) for value, share in shares.items()} for name, shares in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} holds no shares ({error}); expected JSON such as "
            '{"gender": {"male": 0.5, "female": 0.5}}'
        ) from None


def representation_bias(constraints: list[Constraint], weights: np.ndarray) -> float:
    """Largest difference of a value's share from its target."""
    return max(abs(each.share(weights) - each.target) for each in constraints if each.label is None)


def association_bias(constraints: list[Constraint], weights: np.ndarray) -> float:
    """Largest difference of a value's share with a label from that without it; 0 without labels."""
    known = {(each.attribute, each.value): each.among for each in constraints if each.label is None}
    differences = [0.0]
    for each in constraints:
        if each.label is None:
            continue
        others = known[each.attribute, each.value] & ~each.among
        whole = float(weights[others].sum())
        if whole:
            differences.append(abs(each.share(weights) - float(weights[others & each.has].sum()) / whole))
    return max(differences)
