"""Small runs through the whole system while it is being killed, by a seed; ``bin/bench chaos`` does the same at size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.chaos import Trial, trial
from bench.chaos_system import Times

if TYPE_CHECKING:
    from local.dispatch import Mode

TIMES = Times(model_s=2, deadline_s=6, delivery_s=7, lease_s=8, tick_s=2)
ITEMS = 120


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_nothing_is_lost_or_counted_twice(mode: Mode) -> None:
    """Killed processes, a store that restarts twice and a broker that loses and doubles leave a run exactly as it must be.

    Each item has one result and each grader spoke once; the summary is, to the last digit, what the results make; what the run
    says it cost is what its results cost; the run ended once, whatever was told of it.
    """
    found = trial(Trial(ITEMS, mode, seed=1, chaos=True, kill_every_s=(1.5, 3.0), times=TIMES))
    assert (found["ended"], found["completed_events"]) == (1, 1)
    assert (found["results"], found["lost"], found["duplicates"]) == (ITEMS, 0, 0)
    assert found["summary_mismatch"] == 0
    assert found["kills"] > 0
    assert found["store_restarts"] == 2
