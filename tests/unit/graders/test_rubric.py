from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.errors import ProviderAuthFailed, ProviderUnavailable
from common.graders.judges.rubric_model import weighted_mean
from common.graders.registry import grade
from common.schemas.completion import TokenLogprob
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext
    from common.schemas.completion import Completion

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
INPUT = [{"role": "user", "content": "Q: {{item.question}}\nA: {{sample.output_text}}"}]
ACCURACY = {"name": "accuracy", "description": "Is it true?", "weight": 3, "levels": {"5": "all of it", "1": "none of it"}}
STYLE = {"name": "style", "description": "Is it clear?"}
SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-5, 100).map(float), min_size=1)


def rubric(**changes: Any) -> Grader:
    fields = {"type": "rubric_model", "name": "quality", "model": "judge", "input": INPUT, "criteria": [ACCURACY, STYLE]}
    return GRADER.validate_python({**fields, **changes})


def scored(**scores: Any) -> str:
    return json.dumps({"criteria": {name: {"reason": f"why {name}", "score": score} for name, score in scores.items()}})


def with_logprobs(reply: Callable[..., Completion], text: str) -> Completion:
    """A completion of one token a character; every digit has a chance of 0.6, and 5 one of 0.3 beside it."""
    tokens = [TokenLogprob(each, -0.5108256, (("5", -1.2039728),) if each.isdecimal() else ()) for each in text]
    return replace(reply(text), logprobs=tuple(tokens))


async def test_the_score_is_the_weighted_mean(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """Weights 3 and 1 over 4 and 2 make 3.5; the scores are in the details, the reasons in the reason."""
    asked = judge(scored(accuracy=4, style=2))
    verdict = await grade(rubric(), context(asked))
    assert (verdict.score, verdict.passed, verdict.details) == (3.5, True, {"criteria": {"accuracy": 4.0, "style": 2.0}})
    assert verdict.reason == "accuracy (4): why accuracy\nstyle (2): why style"
    assert (verdict.judge, verdict.prompt_version, len(verdict.calls)) == ("lab:judge-1", "rubric.v1", 1)
    assert verdict.ballots == []


async def test_the_judge_is_told_criteria_levels_and_range(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """Levels stand in order, the reason before the score, every object is closed, and what is judged is fenced."""
    asked = judge(scored(accuracy=1, style=1))
    await grade(rubric(), context(asked))
    rules = asked.requests[0].messages[0].content
    assert "accuracy: Is it true?\n* 1: none of it\n* 5: all of it\n\nstyle: Is it clear?" in rules
    assert "from 1 (worst) to 5 (best)" in rules
    criteria = asked.requests[0].json_schema.schema["properties"]["criteria"]
    assert (criteria["required"], criteria["additionalProperties"]) == (["accuracy", "style"], False)
    assert list(criteria["properties"]["style"]["properties"]) == ["reason", "score"]
    assert asked.fences() == [("item.question", "Capital of France?"), ("sample.output_text", "Paris")]
    assert asked.requests[0].top_logprobs is None


@pytest.mark.parametrize(("style", "passed"), [(3, True), (2, False)])
async def test_a_required_criterion_can_fail_the_whole(
    context: Callable[..., GradeContext], judge: type[Any], *, style: int, passed: bool
) -> None:
    """A mean above the pass mark does not pass while a required criterion is below it; the score stays what it is."""
    grader = rubric(criteria=[ACCURACY, {**STYLE, "required": True}])
    verdict = await grade(grader, context(judge(scored(accuracy=5, style=style))))
    assert (verdict.score, verdict.passed) == ((15 + style) / 4, passed)
    assert verdict.details.get("failed_required") == (None if passed else ["style"])


UNUSABLE = [
    ("", "no_verdict"),
    ("5", "no_verdict"),
    ('{"score": 5}', "no_verdict"),
    ('{"criteria": []}', "no_verdict"),
    ('{"criteria": {"accuracy": 5, "style": 5}}', "no_verdict"),
    ('{"criteria": {"accuracy": {"score": 5}, "style": {}}}', "no_verdict"),
    (scored(accuracy=5), "no_verdict"),
    (scored(accuracy=5, style=5, charm=5), "no_verdict"),
    (scored(accuracy=5, style=True), "no_verdict"),
    (scored(accuracy=5, style=None), "no_verdict"),
    (scored(accuracy=5, style=4.5), "no_verdict"),
    ('{"criteria": {"accuracy": {"score": 5}, "style": {"score": 1e999}}}', "no_verdict"),
    (scored(accuracy=5, style="good"), "no_verdict"),
    (scored(accuracy=5, style="4/10"), "no_verdict"),
    (scored(accuracy=5, style="3-4"), "no_verdict"),
    (scored(accuracy=5, style=[4]), "no_verdict"),
    (scored(accuracy=5, style=6), "score_out_of_range"),
    (scored(accuracy=0, style=5), "score_out_of_range"),
    (scored(accuracy=5, style=10**400), "score_out_of_range"),
    (scored(accuracy=5, style=5) + scored(accuracy=1, style=5), "no_verdict"),
]


@pytest.mark.parametrize(("text", "code"), UNUSABLE)
async def test_part_of_a_rubric_is_no_verdict(
    context: Callable[..., GradeContext], judge: type[Any], *, text: str, code: str
) -> None:
    """A criterion that is missing, unknown, out of range or no whole number leaves no score, after one repair."""
    verdict = await grade(rubric(), context(judge(text, text)))
    assert verdict.unscored is not None
    assert (verdict.unscored.code, verdict.score, verdict.passed, len(verdict.calls)) == (code, None, None, 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.text(max_size=60))
async def test_no_reply_raises_or_makes_a_score_up(context: Callable[..., GradeContext], judge: type[Any], text: str) -> None:
    """Whatever a judge says instead of a rubric, the verdict is unscored."""
    verdict = await grade(rubric(), context(judge(text, text)))
    assert verdict.unscored is not None


@pytest.mark.parametrize(("told", "score"), [(4.0, 4), ("4", 4), ("4/5", 4), ("5.0", 5)])
async def test_a_whole_number_may_be_written_in_several_ways(
    context: Callable[..., GradeContext], judge: type[Any], *, told: float | str, score: int
) -> None:
    """What can only mean one score of the range is that score."""
    verdict = await grade(rubric(criteria=[STYLE]), context(judge(scored(style=told))))
    assert (verdict.score, verdict.details["criteria"]) == (score, {"style": score})


async def test_a_rubric_that_is_cut_off_anywhere_is_no_verdict(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """No piece of a reply counts, even where the scores that were said first are whole."""
    whole = scored(accuracy=5, style=5)
    for end in range(len(whole) - 1):
        verdict = await grade(rubric(), context(judge(whole[:end], whole[:end])))
        assert verdict.unscored is not None, whole[:end]


async def test_each_criterion_can_have_a_call_of_its_own(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """Two calls with one criterion and one marker each make the same score, and both are paid for."""
    asked = judge(scored(accuracy=4), scored(style=2))
    verdict = await grade(rubric(each=True), context(asked))
    assert (verdict.score, len(verdict.calls), verdict.prompt_version) == (3.5, 2, "rubric.v1")
    first, second = (request.messages[0].content for request in asked.requests)
    assert "accuracy:" in first
    assert "accuracy:" not in second
    assert asked.requests[0].marker != asked.requests[1].marker


async def test_one_criterion_without_an_answer_leaves_no_score(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """The calls of the others are in the account all the same; a failure that may pass is passed on."""
    asked = judge(scored(accuracy=4), ProviderAuthFailed("no", model="lab:judge-1"))
    verdict = await grade(rubric(each=True), context(asked))
    assert verdict.unscored is not None
    assert (verdict.unscored.code, len(verdict.calls)) == ("provider_auth_failed", 1)
    with pytest.raises(ProviderUnavailable):
        await grade(rubric(each=True), context(judge(scored(accuracy=4), ProviderUnavailable("down", model="lab:judge-1"))))


async def test_the_expected_score_counts_where_there_are_logprobs(
    context: Callable[..., GradeContext], judge: type[Any], reply: Callable[..., Completion]
) -> None:
    """A 2 at 0.6 beside a 5 at 0.3 makes 3; what was said and the probability covered are kept."""
    asked = judge(with_logprobs(reply, scored(accuracy=2, style=5)))
    verdict = await grade(rubric(expected_score=True, top_logprobs=7), context(asked))
    assert asked.requests[0].top_logprobs == 7
    assert verdict.score == pytest.approx((3 * 3 + 5) / 4)
    assert verdict.details["criteria"] == {"accuracy": pytest.approx(3), "style": 5.0}
    assert (verdict.details["expected"], verdict.details["said"]) == (True, {"accuracy": 2, "style": 5})
    assert verdict.details["mass"] == {"accuracy": 0.9, "style": 0.6}


async def test_without_logprobs_the_score_is_the_one_said(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """A provider that gives none makes no mixture: the details say that nothing is expected."""
    verdict = await grade(rubric(expected_score=True), context(judge(scored(accuracy=2, style=5))))
    assert (verdict.score, verdict.details["expected"]) == (2.75, False)


async def test_expected_and_plain_scores_are_never_mixed(
    context: Callable[..., GradeContext], judge: type[Any], reply: Callable[..., Completion]
) -> None:
    """With logprobs for one criterion only, both count as they were said."""
    asked = judge(with_logprobs(reply, scored(accuracy=2)), scored(style=5))
    verdict = await grade(rubric(expected_score=True, each=True), context(asked))
    assert (verdict.score, verdict.details) == (2.75, {"criteria": {"accuracy": 2.0, "style": 5.0}, "expected": False})


@pytest.mark.parametrize(
    "changes",
    [
        {"criteria": []},
        {"criteria": [STYLE, STYLE]},
        {"criteria": [{**STYLE, "weight": 0}]},
        {"criteria": [{**STYLE, "name": "two words"}]},
        {"criteria": [{**STYLE, "levels": {"6": "too good"}}]},
        {"criteria": [{**STYLE, "levels": {"1.5": "between"}}]},
        {"criteria": [{**STYLE, "description": "Like {{item.reference}}?"}]},
        {"criteria": [{**STYLE, "required": True}], "samples": 3},
        {"range": [5, 1]},
        {"range": [0, 1000]},
        {"range": [1, 4.5]},
        {"range": [1, 10], "expected_score": True},
        {"range": [-1, 5], "expected_score": True},
    ],
)
def test_a_rubric_that_cannot_be_judged_is_refused(changes: dict[str, Any]) -> None:
    """What is ambiguous is an error before any judge is paid."""
    with pytest.raises(ValidationError):
        rubric(**changes)


@given(scores=SCORES, scale=st.floats(1e-3, 1e3), data=st.data())
def test_only_ratios_of_weights_count(scores: dict[str, float], scale: float, data: st.DataObject) -> None:
    """Scaling all weights changes nothing, and a mean never leaves its scores."""
    weights = {name: data.draw(st.floats(1e-3, 1e3)) for name in scores}
    mean = weighted_mean(scores, weights)
    assert weighted_mean(scores, {name: weight * scale for name, weight in weights.items()}) == pytest.approx(mean, abs=1e-9)
    assert min(scores.values()) <= mean <= max(scores.values())
    assert weighted_mean(dict.fromkeys(scores, 5.0), weights) == 5.0


async def test_a_rubric_can_be_sampled(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """Means 3.5 and 1.5 make 2.5; every sample's criteria are kept."""
    asked = judge(scored(accuracy=4, style=2), scored(accuracy=1, style=3))
    verdict = await grade(rubric(samples=2), context(asked))
    assert (verdict.score, [ballot.score for ballot in verdict.ballots]) == (2.5, [3.5, 1.5])
    assert verdict.details["samples"][1] == {"criteria": {"accuracy": 1.0, "style": 3.0}}
