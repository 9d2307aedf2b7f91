"""Sums by cluster: groups of items that hang together, such as questions about one text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def numbered(clusters: ArrayLike, n: int) -> tuple[NDArray[np.intp], int]:
    """The clusters' labels as numbers 0 .. count - 1, and their count.

    Args:
        clusters: One label an item, all strings or all integers.

    Raises:
        ValueError: there is not one label for each of the `n` items.
    """
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError("clusters must have one label for each value")
    distinct, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(n), len(distinct)


def standard_error(residuals: NDArray[np.float64], numbers: NDArray[np.intp], count: int) -> float | None:
    """The standard error of a mean whose items come in clusters: ``sqrt(Σ over clusters of (Σ residuals)²) / n``.

    Items within a cluster may depend on each other in any way, clusters must not. There is no small-sample factor, so that
    it is somewhat too small for few clusters (below about 30), and with one item a cluster it is the usual standard
    error with n in place of n - 1. It may be smaller than the usual one where items of a cluster offset each other.

    Source: Liang and Zeger 1986, https://doi.org/10.1093/biomet/73.1.13, section 2, for a mean; Miller 2024, "Adding Error
    Bars to Evals", https://arxiv.org/abs/2411.00640, section 2.2, equation (4).

    Args:
        residuals: Each value less the mean of all.

    Returns:
        None for fewer than two clusters, where the residuals cannot tell.
    """
    if count < 2:  # noqa: PLR2004  # a spread needs two
        return None
    sums = np.bincount(numbers, weights=residuals, minlength=count)
    return float(np.sqrt(np.sum(sums**2)) / len(residuals))
