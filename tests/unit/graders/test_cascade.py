from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from common.errors import ProviderUnavailable, Unsupported
from common.graders.registry import grade, refuse
from common.graders.template import missing_item_variables
from common.schemas.graders import Grader
from tests.unit.graders.conftest import ScriptedJudge
from tests.unit.graders.test_pairwise import over

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
INPUT = [{"role": "user", "content": "{{sample.output_text}}"}]
CLOSE = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "Paris",
    "evaluation_metric": "fuzzy_match",
}
CLEAR = {"accept_at": 0.9, "reject_at": 0.1}


def scorer(name: str, **changes: Any) -> dict[str, Any]:
    return {"type": "score_model", "name": name, "model": name, "input": INPUT, **changes}


def cascade(*steps: tuple[dict[str, Any], dict[str, Any] | None]) -> Grader:
    given = [{"grader": grader, "settled_when": settled} for grader, settled in steps]
    return GRADER.validate_python({"type": "cascade", "name": "cheap first", "steps": given})


def score(value: float) -> str:
    return json.dumps({"reason": f"it is {value}", "score": value})


@pytest.mark.parametrize(("output", "value"), [("Paris", 1.0), ("xyz", 0.0)])
async def test_a_clear_score_settles_it(output: str, value: float) -> None:
    """At or above accept_at, and at or below reject_at, nobody else is asked."""
    judge = ScriptedJudge()
    verdict = await grade(cascade((CLOSE, CLEAR), (scorer("judge"), None)), over(judge, a=output))
    assert (verdict.score, verdict.passed, judge.requests) == (value, value == 1, [])
    assert verdict.details["decided_by"] == "close"
    assert verdict.details["steps"] == [{"name": "close", "score": value, "unsettled": None}]
    assert [(ballot.judge, ballot.score) for ballot in verdict.ballots] == [("close", value)]


async def test_an_unclear_score_goes_on_to_the_next() -> None:
    """The next step decides, whatever it says; both are ballots, and it is told why the first was not enough."""
    judge = ScriptedJudge(score(0.4))
    verdict = await grade(cascade((CLOSE, CLEAR), (scorer("judge"), None)), over(judge, a="Paris it is"))
    assert (verdict.score, verdict.passed, verdict.reason, verdict.judge) == (0.4, False, "it is 0.4", "lab:judge-1")
    assert verdict.details["decided_by"] == "judge"
    first, second = verdict.ballots
    assert (first.judge, first.score, second.judge, second.score) == ("close", 0.625, "judge", 0.4)
    assert verdict.details["steps"] == [
        {"name": "close", "score": 0.625, "unsettled": "the score 0.625 is not clear enough"},
        {"name": "judge", "score": 0.4, "unsettled": None},
    ]


async def test_without_a_score_nothing_is_settled() -> None:
    """An unscored step is followed by the next, and all calls of both are paid for."""
    judge = ScriptedJudge("eh", "eh", score(0.95))
    verdict = await grade(cascade((scorer("small"), CLEAR), (scorer("large"), None)), over(judge))
    assert (verdict.score, verdict.details["decided_by"], len(verdict.calls), verdict.cost_microusd) == (0.95, "large", 3, 21)
    assert verdict.ballots[0].unscored is not None
    assert verdict.details["steps"][0] == {"name": "small", "score": None, "unsettled": "no score: no_verdict"}  # type: ignore[index]


async def test_the_last_step_always_decides() -> None:
    """Where the last has no score the whole has none, however clear an earlier one nearly was."""
    judge = ScriptedJudge(score(0.89), "eh", "eh")
    verdict = await grade(cascade((scorer("small"), CLEAR), (scorer("large"), None)), over(judge))
    assert verdict.unscored is not None
    assert (verdict.unscored.code, verdict.passed, verdict.details["decided_by"]) == ("no_verdict", None, "large")
    assert len(verdict.ballots) == 2


PAIR = {"type": "pairwise_model", "name": "pair", "model": "small", "input": INPUT, "output_b": "{{item.baseline}}"}
FIRST, SECOND = '{"verdict": "A"}', '{"verdict": "B"}'


@pytest.mark.parametrize(
    ("replies", "decided_by", "label"),
    [((FIRST, SECOND), "pair", "win"), ((FIRST, FIRST, SECOND, FIRST), "larger", "loss")],
)
async def test_consistency_settles_it(replies: tuple[str, ...], decided_by: str, label: str) -> None:
    """A pair that is judged alike in both orders stands; one that is not goes to the larger judge."""
    grader = cascade((PAIR, {"max_spread": 0}), ({**PAIR, "name": "larger", "model": "large"}, None))
    verdict = await grade(grader, over(ScriptedJudge(*replies)))
    assert (verdict.details["decided_by"], verdict.label) == (decided_by, label)
    assert [(ballot.judge, ballot.order) for ballot in verdict.ballots][:3] == [
        ("pair", None),
        ("pair/lab:judge-1", "ab"),
        ("pair/lab:judge-1", "ba"),
    ]


@pytest.mark.parametrize(
    ("scores", "decided_by"), [((0.9, 0.95), "small"), ((0.7, 1.0), "large"), ((0.5, 0.55), "large"), ((None, 0.9), "large")]
)
async def test_agreement_and_clarity_are_both_needed(scores: tuple[float | None, float], decided_by: str) -> None:
    """With max_spread a clear score settles only if the samples lie close together and none of them abstained."""
    replies = [text for value in scores for text in (("eh", "eh") if value is None else (score(value),))]
    small = scorer("small", samples=2, min_scored=1)
    grader = cascade((small, {**CLEAR, "accept_at": 0.8, "max_spread": 0.1}), (scorer("large"), None))
    verdict = await grade(grader, over(ScriptedJudge(*replies, score(0))))
    assert verdict.details["decided_by"] == decided_by


async def test_a_panel_can_be_a_step() -> None:
    """A split panel passes the matter on; its own ballots are kept under its name."""
    jury = {"type": "panel", "name": "jury", "graders": [scorer("a"), scorer("b")]}
    judge = ScriptedJudge(score(1), score(0), score(0.7))
    verdict = await grade(cascade((jury, {"accept_at": 1, "reject_at": 0}), (scorer("large"), None)), over(judge))
    assert (verdict.score, verdict.details["decided_by"]) == (0.7, "large")
    assert [ballot.judge for ballot in verdict.ballots] == ["jury", "jury/a", "jury/b", "large"]
    assert verdict.details["graders"] == {"jury": {"votes": {"fail": 1, "pass": 1}}}


async def test_a_failure_that_may_pass_is_not_a_step_undecided() -> None:
    """Nobody pays for the dear judge because the cheap one could not be reached."""
    judge = ScriptedJudge(ProviderUnavailable("down"), score(1))
    with pytest.raises(ProviderUnavailable):
        await grade(cascade((scorer("small"), CLEAR), (scorer("large"), None)), over(judge))
    assert len(judge.requests) == 1


@pytest.mark.parametrize(
    "steps",
    [
        [(CLOSE, None)],
        [(CLOSE, None), (scorer("judge"), None)],
        [(CLOSE, CLEAR), (scorer("judge"), CLEAR)],
        [(CLOSE, {}), (scorer("judge"), None)],
        [(CLOSE, {"accept_at": 0.5, "reject_at": 0.5}), (scorer("judge"), None)],
        [(CLOSE, {"max_spread": 0}), (scorer("judge"), None)],
        [(CLOSE, CLEAR), (scorer("close"), None)],
        [(CLOSE, CLEAR), (scorer("judge", range=[1, 5]), None)],
        [({"type": "cascade", "name": "c", "steps": []}, CLEAR), (scorer("judge"), None)],
    ],
    ids=["alone", "no condition", "last", "empty", "crossed", "one ballot", "one name", "two scales", "nested"],
)
def test_what_makes_no_sense_is_refused(steps: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    """Every step but the last says when it settles, in a way that it can; names differ, and the scale is one."""
    with pytest.raises(ValidationError):
        cascade(*steps)


def test_steps_are_checked_where_they_stand() -> None:
    """Errors within a cascade point at the step's grader, also through a panel."""
    python = {"type": "python", "name": "p", "source": "x"}
    asking = scorer("b", input=[{"role": "user", "content": "{{item.nothing}}"}])
    jury = {"type": "panel", "name": "jury", "graders": [python, asking]}
    grader = cascade((CLOSE, CLEAR), (jury, None))
    with pytest.raises(Unsupported) as refused:
        refuse(grader, pointer="/graders/0")
    assert refused.value.pointer == "/graders/0/steps/1/grader/graders/0/type"
    with pytest.raises(Exception, match=r"item\.nothing") as caught:
        missing_item_variables(grader, {}, pointer="/graders/0")
    assert getattr(caught.value, "pointer", None) == "/graders/0/steps/1/grader/graders/1/input/0/content"
    assert (grader.scale, grader.threshold) == ((0, 1), None)
