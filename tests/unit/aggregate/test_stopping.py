"""When a run that may stop early is looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from functions.aggregate.counting.stopping import is_look


@given(steps=st.lists(st.integers(0, 60), max_size=200))
def test_looks_are_a_share_of_the_run_apart(steps: list[int]) -> None:
    """However results come in, few looks happen, and none is much later than due."""
    done, looked = 0, [0]
    for step in steps:
        if is_look(done, done + step):
            looked.append(done + step)
        done += step
        assert done < max(16, looked[-1] * 9 / 8 + 1)
    assert sum(looked) <= 10 * max(done, 16)


def test_nothing_new_is_nothing_to_look_at() -> None:
    """A result that comes again never makes a look."""
    assert not any(is_look(done, done) for done in range(1000))
