"""Confidence intervals of measured shares."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A share of cases with its 95 % interval (Wilson).

    Attributes:
        value: hits / cases.
        low: lower end of the interval.
        high: upper end of the interval.
        cases: how many cases were counted.
    """

    value: float
    low: float
    high: float
    cases: int

    @classmethod
    def of(cls, hits: int, cases: int, *, z: float = 1.959963984540054) -> "Share":
        """Wilson's score interval.

        Raises:
            ValueError: no cases, or more hits than cases.
        """
        if not 0 <= hits <= cases or cases == 0:
            raise ValueError(f"{hits} hits of {cases} cases is not a share")
        p = hits / cases
        centre = (p + z * z / (2 * cases)) / (1 + z * z / cases)
        half = z * math.sqrt(p * (1 - p) / cases + z * z / (4 * cases * cases)) / (1 + z * z / cases)
        return cls(p, max(0.0, centre - half), min(1.0, centre + half), cases)
