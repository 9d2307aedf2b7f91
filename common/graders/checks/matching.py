"""Matching the most pairs, each of either side at most once.

Source: H. W. Kuhn, "The Hungarian Method for the Assignment Problem", Naval Research Logistics Quarterly 2 (1955), the case
without weights, by augmenting paths (C. Berge, PNAS 43 (1957), "Two Theorems in Graph Theory").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def most_pairs(fitting: Sequence[Sequence[int]]) -> dict[int, int]:
    """A largest matching: `fitting[left]` are those on the right that fit it; the result maps left to right.

    Takes at most (left) x (pairs that fit) steps, and one level of recursion for each on the left.
    """
    left_of: dict[int, int] = {}

    def place(left: int, seen: set[int]) -> bool:
        for right in fitting[left]:
            if right not in seen:
                seen.add(right)
                if right not in left_of or place(left_of[right], seen):
                    left_of[right] = left
                    return True
        return False

    for left in range(len(fitting)):
        place(left, set())
    return {left: right for right, left in left_of.items()}
