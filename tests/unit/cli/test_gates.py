from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.gates import Gate, check, parse
from common.schemas.runs import GraderSummary, RunSummary
from common.schemas.stopping import Stopped


def _summary(grader: GraderSummary, *, total: int) -> RunSummary:
    return RunSummary(
        run_id="run_1",
        eval_id="eval_1",
        eval_version=1,
        name="tern",
        status="completed",
        created_at=0,
        total=total,
        done=total,
        passed=0,
        failed=0,
        errored=0,
        graders=[grader],
        models=[],
    )


def _grader(*, passed: int, failed: int, unscored: int = 0, mean: float | None = None) -> GraderSummary:
    scored = passed + failed
    return GraderSummary(
        name="correctness",
        type="score_model",
        range=(1, 5),
        scored=scored,
        passed=passed,
        failed=failed,
        unscored=unscored,
        mean=mean,
        pass_rate=passed / scored if scored else None,
    )


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("correctness=0.8", Gate("correctness", "pass", 0.8)),
        ("mean:correctness=4", Gate("correctness", "mean", 4.0)),
        ("mean:drift=-0.5", Gate("drift", "mean", -0.5)),
        ("pass:mean:x=1", Gate("mean:x", "pass", 1.0)),
        ("a:b=c=0.5", Gate("a:b=c", "pass", 0.5)),
    ],
)
def test_gates_are_read_as_written(text: str, gate: Gate) -> None:
    """A gate expression names a grader, what is measured of it, and the least it may be."""
    assert parse(text) == gate


@pytest.mark.parametrize(
    "text", ["correctness", "=0.8", "correctness=", "correctness=high", "correctness=nan", "mean:=3", "x=80"]
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    """An expression that is none, or a pass rate that is a percentage, is an error of usage."""
    with pytest.raises(click.BadParameter):
        parse(text)


def test_a_full_run_is_compared_as_it_is() -> None:
    """Without missing verdicts the pass rate decides, and reaching the mark exactly is enough."""
    summary = _summary(_grader(passed=8, failed=2), total=10)
    kept, missed = check(summary, [parse("correctness=0.8"), parse("correctness=0.81")], allow_unscored=False)
    assert (kept.passed, kept.value, kept.bound, kept.missing) == (True, 0.8, 0.8, 0)
    assert not missed.passed


def test_missing_verdicts_do_not_pass_silently() -> None:
    """An unscored verdict counts as badly as it could have come out, unless that was waived."""
    summary = _summary(_grader(passed=8, failed=1, unscored=1, mean=4.0), total=10)
    gates = [parse("correctness=0.85"), parse("mean:correctness=3.9")]
    strict = check(summary, gates, allow_unscored=False)
    assert [result.passed for result in strict] == [False, False]
    assert [result.missing for result in strict] == [1, 1]
    assert strict[1].bound == pytest.approx((9 * 4.0 + 1.0) / 10)
    assert [result.passed for result in check(summary, gates, allow_unscored=True)] == [True, True]


def test_items_without_any_verdict_count_as_missing() -> None:
    """Items that a run never got to are as missing as those whose judge gave no verdict."""
    (result,) = check(_summary(_grader(passed=8, failed=0), total=10), [parse("correctness=0.9")], allow_unscored=False)
    assert (result.missing, result.passed) == (2, False)


def test_items_that_a_stop_rule_made_needless_are_not_missing() -> None:
    """A run that stopped early is judged by its items so far, a random sample of all."""
    stopped = Stopped(rule="correctness: mean above 2", decision="above", at_items=8)
    summary = _summary(_grader(passed=8, failed=0), total=8).model_copy(update={"total": 100, "stopped": stopped})
    (result,) = check(summary, [parse("correctness=0.9")], allow_unscored=False)
    assert (result.missing, result.passed) == (0, True)


@pytest.mark.parametrize("allow_unscored", [True, False])
def test_no_verdict_at_all_fails(allow_unscored: bool) -> None:  # noqa: FBT001
    """A gate over nothing, or over a grader that is not there, fails either way."""
    summary = _summary(_grader(passed=0, failed=0, unscored=3), total=3)
    gates = [parse("correctness=0"), parse("other=0")]
    assert [result.passed for result in check(summary, gates, allow_unscored=allow_unscored)] == [False, False]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.floats(0, 1))
def test_a_strict_gate_holds_whatever_the_missing_verdicts_had_been(
    passed: int, failed: int, unscored: int, later: int, at_least: float
) -> None:
    """If the gate holds with verdicts missing, it holds for every way in which they could have come out."""
    gate = [Gate("correctness", "pass", at_least)]
    total = passed + failed + unscored
    (strict,) = check(
        _summary(_grader(passed=passed, failed=failed, unscored=unscored), total=total), gate, allow_unscored=False
    )
    turned_out = min(later, unscored)
    settled = _summary(_grader(passed=passed + turned_out, failed=failed + unscored - turned_out), total=total)
    (full,) = check(settled, gate, allow_unscored=False)
    assert full.passed or not strict.passed
