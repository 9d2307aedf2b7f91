"""Where a run's items stand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.schemas.arrangement import Arrangement, Place, permuted

SEEDS = st.text("0123456789abcdef", min_size=1, max_size=32)
CHI_SQUARE_11_AT_ONE_IN_A_MILLION = 49.0


@given(items=st.integers(0, 400), canaries=st.integers(0, 60), seed=st.none() | SEEDS)
def test_every_line_and_canary_has_one_place(items: int, canaries: int, seed: str | None) -> None:
    """Whatever the sizes, each line and each canary stands at exactly one position, and the inverse finds it."""
    arrangement = Arrangement(items, canaries, seed)
    places = [arrangement.place(position) for position in range(arrangement.position_count)]
    assert sorted(place.line for place in places if not place.canary) == list(range(items))
    assert [place.line for place in places if place.canary] == list(range(canaries))
    assert arrangement.canary_positions() == [position for position, place in enumerate(places) if place.canary]
    assert all(arrangement.position(place.line) == at for at, place in enumerate(places) if not place.canary)


def test_without_seed_and_canaries_a_position_is_a_line() -> None:
    """A run that asks for nothing keeps the order of its data."""
    arrangement = Arrangement(5)
    assert arrangement.identity
    assert [arrangement.place(position) for position in range(5)] == [Place(canary=False, line=line) for line in range(5)]


@given(items=st.integers(1, 500), canaries=st.integers(1, 50))
def test_canaries_are_spread_evenly(items: int, canaries: int) -> None:
    """Between one canary and the next lie as many items as between any other two, give or take one."""
    positions = Arrangement(items, canaries).canary_positions()
    gaps = [after - before for before, after in pairwise(positions)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert positions[0] <= (items + canaries) / (2 * canaries)


@given(size=st.integers(1, 1 << 40), seed=SEEDS, data=st.data())
def test_a_permutation_of_any_size_has_its_inverse(size: int, seed: str, data: st.DataObject) -> None:
    """What the permutation takes somewhere, its inverse brings back, also for sizes that nobody could list."""
    number = data.draw(st.integers(0, size - 1))
    there = permuted(number, size, seed=seed)
    assert 0 <= there < size
    assert permuted(there, size, seed=seed, backwards=True) == number


def test_neighbours_go_anywhere() -> None:
    """Over many seeds each pair of places is as likely as any other for the first two lines of a small data set."""
    rounds = 3000
    pairs = Counter(tuple(permuted(number, 4, seed=f"{seed:x}") for number in (0, 1)) for seed in range(rounds))
    expected = rounds / 12
    assert sum((pairs[pair] - expected) ** 2 / expected for pair in pairs) < CHI_SQUARE_11_AT_ONE_IN_A_MILLION
    assert len(pairs) == 12
