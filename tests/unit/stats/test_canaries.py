"""What canaries say of a run."""

from __future__ import annotations

import pytest

from common.schemas.canaries import Canary, CanaryFailure, CanarySample, Expectation
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.stats.canaries import FAILING_SHOWN, canary_counts, canary_summary, suspicion
from common.stats.summary import canary_counters, summarise
from tests.unit.stats.test_summary import PLAN, State

MIXED = PLAN.model_copy(update={"canary_count": 40, "canary_dataset_id": "ds_1"})
NAMES = [grader.name for grader in PLAN.graders]
MISSING = Unscored(code="malformed_reply", message="no verdict in it")


def verdict(name: str, score: float | None, *, label: str | None = None) -> Verdict:
    passed = None if score is None else score >= 0.5
    return Verdict(name=name, type="x", score=score, passed=passed, label=label, unscored=MISSING if score is None else None)


def canary(**expected: Expectation) -> Canary:
    return Canary(item={}, sample=CanarySample(output_text="x"), expected=expected)


@pytest.mark.parametrize(
    ("expectation", "score", "outcome"),
    [
        (Expectation(passed=True), 1.0, "passed"),
        (Expectation(passed=True), 0.0, "failed"),
        (Expectation(passed=False), 0.0, "passed"),
        (Expectation(label="good"), 1.0, "passed"),
        (Expectation(label="bad"), 1.0, "failed"),
        (Expectation(score=(0.5, 1)), 0.5, "passed"),
        (Expectation(score=(0.5, 1)), 0.49, "failed"),
        (Expectation(passed=False), None, "unscored"),
    ],
)
def test_a_canary_gets_what_it_must_or_not(expectation: Expectation, score: float | None, outcome: str) -> None:
    """Pass, label and score are compared exactly; a verdict that is missing is right in no case."""
    verdicts = [verdict(name, score, label="good") for name in NAMES]
    counts = canary_counts(PLAN.graders, verdicts, canary(**{NAMES[1]: expectation}), line=7)
    wanted = {} if outcome == "passed" else {f"canary.{outcome}.7.1": 1}
    assert counts == {f"canary.{outcome}": 1, **wanted}


def test_a_wrong_verdict_weighs_more_than_a_missing_one() -> None:
    """A canary has one outcome, the worst, and blames the first grader that it comes from."""
    verdicts = [verdict(NAMES[0], None), *(verdict(name, 0.0) for name in NAMES[1:])]
    expected = canary(**dict.fromkeys(NAMES, Expectation(passed=True)))
    assert canary_counts(PLAN.graders, verdicts, expected, line=0) == {"canary.failed": 1, "canary.failed.0.1": 1}


def test_only_the_cost_of_a_canary_joins_the_other_figures() -> None:
    """A canary's calls are paid for as any others; it is no item, and in no grader's sums."""
    call = ModelCall(model="m", usage=Usage(prompt_tokens=3), cost_microusd=5)
    verdicts = [verdict(name, 1.0).model_copy(update={"calls": [call]}) for name in NAMES]
    added = canary_counters(PLAN.graders, verdicts, canary(**{NAMES[0]: Expectation(passed=True)}), line=0)
    assert {field for field in added if not field.startswith("m.judge.m.")} == {"canary.passed"}
    summary = summarise(MIXED, State(), added, {})
    assert (summary.done, summary.graders[0].scored, summary.cost_microusd) == (0, 0, 5 * len(NAMES))
    assert (summary.suspect, summary.canaries and summary.canaries.done) == (False, 1)


def test_failing_canaries_are_named_up_to_a_number() -> None:
    """The list is bounded and by line; the counts are whole."""
    counts = {"canary.failed": 30, "canary.unscored": 1, "canary.passed": 9, "canary.unscored.2.0": 1}
    counts |= {f"canary.failed.{line}.1": 1 for line in range(10, 40)}
    found = canary_summary(MIXED, counts)
    assert found is not None
    assert (found.total, found.done, found.failed, found.unscored) == (40, 40, 30, 1)
    assert len(found.failing) == FAILING_SHOWN
    assert found.failing[0] == CanaryFailure(line=2, grader=NAMES[0], outcome="unscored")
    assert [failure.line for failure in found.failing] == [2, *range(10, 10 + FAILING_SHOWN - 1)]
    assert suspicion(found) == "30 of 40 canaries failed, 1 have no score"


def test_a_run_without_canaries_has_nothing_to_say() -> None:
    """No canaries, no figures about them and no suspicion."""
    assert canary_summary(PLAN, {}) is None
    assert suspicion(None) is None
