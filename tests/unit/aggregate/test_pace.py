from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from common.store.pace import PaceReading, Waited
from functions.aggregate.pace import progress_of

if TYPE_CHECKING:
    from common.schemas.progress import RunProgress
    from common.schemas.runs import RunSummary

NOW_S = 1_000_005.0
STRETCH = 100_000  # the one that NOW_S lies in, half over


@pytest.fixture
def going(summary: RunSummary) -> RunSummary:
    return summary.model_copy(update={"status": "in_progress", "total": 100, "done": 10, "cost_microusd": 5000})


def reading(**fields: Any) -> PaceReading:
    known: dict[str, Any] = {"now_s": NOW_S, "total": 100, "done": 10, "window": 50, "started_s": NOW_S - 1000}
    return PaceReading(**known | fields)


def reasons(progress: RunProgress) -> list[tuple[str, str | None]]:
    return [(wait.reason, wait.model) for wait in progress.waiting_for]


def test_nothing_is_made_up_before_a_run_has_started(going: RunSummary) -> None:
    """A run without a start, or one that started a moment ago, has no pace and no end."""
    for started_s in (None, NOW_S, NOW_S - 1):
        found = progress_of(reading(started_s=started_s, done=0), going.model_copy(update={"done": 0}))
        assert (found.items_per_s, found.items_per_s_overall, found.eta_s, found.cost_projected_usd) == (None,) * 4
        assert found.waiting_for == []


def test_a_pace_is_that_of_the_last_minute(going: RunSummary) -> None:
    """What was counted more than a minute ago is in the overall pace alone; the end follows from the present one."""
    old = {STRETCH - 9: 900, STRETCH - 7: 900}
    recent = {STRETCH - 6: 10, STRETCH - 1: 2, STRETCH: 1}
    found = progress_of(reading(total=1000, done=500, stretches=old | recent), going)
    assert found.items_per_s == pytest.approx(13 / 65, abs=1e-3)
    assert found.items_per_s_overall == 0.5
    assert found.eta_s == 2500


def test_a_young_run_is_as_fast_as_it_was_since_its_start(going: RunSummary) -> None:
    """Seconds before the start are not counted as seconds without a result."""
    found = progress_of(reading(started_s=NOW_S - 4, stretches={STRETCH: 10}), going)
    assert (found.items_per_s, found.eta_s) == (2.5, 36)


def test_a_run_that_stands_still_has_no_end(going: RunSummary) -> None:
    """An end is unknown where nothing came for a minute, and while the run is paused."""
    assert progress_of(reading(), going).eta_s is None
    paused = progress_of(reading(paused_s=NOW_S - 30, stretches={STRETCH: 10}), going)
    assert paused.eta_s is None
    assert reasons(paused) == [("paused", None)]


def test_cost_is_projected_by_what_is_done(going: RunSummary) -> None:
    """The rest is taken to cost what the first items did; an unknown cost stays unknown."""
    assert progress_of(reading(), going).cost_projected_usd == 0.05
    assert progress_of(reading(), going.model_copy(update={"cost_microusd": None})).cost_projected_usd is None


def test_calls_and_items_that_wait_are_told_together(going: RunSummary) -> None:
    """One entry for each reason and model: since the first began, and how many there are; what is over is left out."""
    calls = (
        Waited("rate_limit", "lab:a", NOW_S - 9, NOW_S, 3),
        Waited("rate_limit", "lab:a", NOW_S - 20, NOW_S, 4),
    )
    backs = (Waited("breaker", "lab:b", NOW_S - 5, NOW_S + 3, 7), Waited("provider", "lab:c", NOW_S - 50, NOW_S - 1, 7))
    found = progress_of(reading(under_way=9, outstanding=50, calls=calls, backs=backs), going).waiting_for
    assert [(wait.reason, wait.model, wait.since, wait.items) for wait in found] == [
        ("rate_limit", "lab:a", int(NOW_S - 20), 7),
        ("breaker", "lab:b", int(NOW_S - 5), 7),
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"outstanding": 5, "folded_s": NOW_S - 60}, True),  # events went out, nobody came for them
        ({"outstanding": 5, "folded_s": NOW_S - 1}, False),  # things move
        ({"outstanding": 5, "folded_s": NOW_S - 60, "under_way": 5}, False),  # somebody works on them
        ({"outstanding": 5, "folded_s": NOW_S - 60, "handed_back": 5}, False),  # they wait for something else
        ({"outstanding": 0, "folded_s": NOW_S - 60, "asked_s": NOW_S - 30}, True),  # more was asked for, nobody heard it
        ({"outstanding": 5, "started_s": NOW_S - 1}, False),  # they have only just gone out
    ],
)
def test_the_broker_is_named_where_events_lead_to_nothing(going: RunSummary, fields: dict[str, Any], *, named: bool) -> None:
    """Items that nobody works on and that wait for nothing else are on their way; after a while that is worth telling."""
    assert (("broker", None) in reasons(progress_of(reading(**fields), going))) is named
