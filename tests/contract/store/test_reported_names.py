"""What models call themselves, counted in a run's sums on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.store.runstate import FoldItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore

_MOST = 5000


def test_a_model_with_ever_new_names_fills_no_memory(runs: RunStore, make_run: Callable[..., RunPlan]) -> None:
    """Beyond some thousand fields no new name is kept, and every other sum stays exact."""
    plan = make_run(items=3, window=3)
    for item in range(3):
        names = {f"m.judge.lab:m.reported.{item * _MOST + number}": 1 for number in range(_MOST)}
        runs.fold(plan, [FoldItem(item, "pass", {"items.passed": 1, "m.judge.lab:m.reported.same": 1, **names})])
    sums = runs.sums(plan.run_id)
    assert len(sums) <= _MOST + 2
    assert sums["items.passed"] == 3
