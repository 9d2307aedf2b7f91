from __future__ import annotations

import random

import pytest

from common.errors import InvalidInput
from local.faults import Faults


def test_no_faults_by_default() -> None:
    """Without rates every delivery happens once, at once."""
    faults = Faults.parse("")
    assert {(faults.times(), faults.delay_s()) for _ in range(100)} == {(1, 0.0)}


def test_faults_repeat_with_their_seed() -> None:
    """The same seed misbehaves in the same way, another one differently."""

    def history(seed: int) -> list[tuple[int, float]]:
        faults = Faults(0.2, 0.3, 0.5, rng=random.Random(seed))
        return [(faults.times(), faults.delay_s()) for _ in range(50)]

    assert history(1) == history(1) != history(2)
    assert {copies for copies, _ in history(1)} == {0, 1, 2}


def test_a_storm_has_as_many_copies_as_it_says() -> None:
    """Whatever is delivered more than once is delivered that often."""
    faults = Faults.parse("duplicate=0.5,copies=7,seed=3")
    assert {faults.times() for _ in range(50)} == {1, 7}


@pytest.mark.parametrize(
    "text", ["lose", "lose=x", "explode=1", "lose=2", "reorder=-0.1", "duplicate=nan", "late_s=1e9", "copies=101"]
)
def test_refuses_what_makes_no_sense(text: str) -> None:
    """A misspelt fault, or a rate that is none, is an error and not silence."""
    with pytest.raises(InvalidInput):
        Faults.parse(text)
