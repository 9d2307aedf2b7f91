"""What is known of one number: a mean, or a difference of two means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and how sure it is.

    Attributes:
        n: Items, or pairs of items, that it rests on. Unscored ones are not among them.
        mean: None for n = 0.
        se: Standard error; None where the spread is unknown (one item, or one cluster), 0 where all values are equal.
        interval: (low, high), two-sided; None where `se` is.
        p: Two-sided p-value of "the true mean is 0", where that is a question that was asked; None where it was not, where
            `se` is None, and where all values equal the same number other than 0, which leaves Student's t undefined.
        df: Degrees of freedom of Student's t behind the interval: n - 1, or clusters - 1; None where `se` is.
    """

    n: int
    mean: float | None
    se: float | None
    interval: tuple[float, float] | None
    p: float | None = None
    df: int | None = None
