"""Krippendorff's alpha by every metric that makes sense for the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common.schemas.statistics import Alpha
from common.stats.agreement import MAX_RATIO_VALUES, alpha_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def alphas(units: NDArray[np.intp], values: NDArray[np.float64], *, numbers: bool) -> Alpha:
    """Alpha of values listed with their units; without `numbers` they are codes of labels, and only nominal makes sense."""
    nominal = alpha_of(units, values)
    if not numbers:
        return Alpha(n=nominal.n, nominal=nominal.value)
    ratio = len(values) > 0 and values.min() >= 0 and len(np.unique(values)) <= MAX_RATIO_VALUES
    return Alpha(
        n=nominal.n,
        nominal=nominal.value,
        ordinal=alpha_of(units, values, metric="ordinal").value,
        interval=alpha_of(units, values, metric="interval").value,
        ratio=alpha_of(units, values, metric="ratio").value if ratio else None,
    )
