"""What is known of one coefficient of agreement or association."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient, and how sure it is.

    Attributes:
        n: What it rests on: pairs, or values that can be paired.
        value: None where the coefficient is not defined; each function says where that is.
        se: Standard error on the scale of `value`; None where the method has none.
        interval: (low, high), two-sided; None where the method has none, and where `value` is 1 or -1, which leaves the
            usual methods an interval of no width.
    """

    n: int
    value: float | None
    se: float | None = None
    interval: tuple[float, float] | None = None


def normal_quantile(level: float) -> float:
    """The z with P(-z <= Z <= z) = `level` for a standard normal Z. Raises `ValueError` for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError("level must lie within (0, 1)")
    return NormalDist().inv_cdf(0.5 + level / 2)
