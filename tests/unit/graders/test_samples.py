from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.errors import ProviderUnavailable
from common.graders.registry import grade
from common.schemas.graders import Grader
from tests.unit.graders.conftest import ScriptedJudge
from tests.unit.graders.test_pairwise import over

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
ASKED = {"name": "right", "model": "judge", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}
NONE = ("no idea", "no idea")  # a sample without a verdict, and its repair


def score_model(samples: int, **changes: Any) -> Grader:
    return GRADER.validate_python({"type": "score_model", **ASKED, "samples": samples, **changes})


def label_model(samples: int, **changes: Any) -> Grader:
    labels = {"labels": ["good", "fair", "bad"], "passing_labels": ["good"]}
    return GRADER.validate_python({"type": "label_model", **ASKED, **labels, "samples": samples, **changes})


def scored(*scores: float) -> list[str]:
    return [json.dumps({"reason": f"it is {score}", "score": score}) for score in scores]


def labelled(*labels: str) -> list[str]:
    return [json.dumps({"reason": f"it is {label}", "label": label}) for label in labels]


async def test_samples_are_ballots_of_one_verdict(context: Callable[..., GradeContext]) -> None:
    """The score is the samples' mean; each is a ballot in its order, every call is paid for, and the spread is shown."""
    judge = ScriptedJudge(*scored(0.9, 0.4, 0.8))
    verdict = await grade(score_model(3), context(judge))
    assert verdict.score == pytest.approx(0.7)
    assert verdict.passed
    assert [(ballot.judge, ballot.score, ballot.reason) for ballot in verdict.ballots] == [
        ("lab:judge-1", 0.9, "it is 0.9"),
        ("lab:judge-1", 0.4, "it is 0.4"),
        ("lab:judge-1", 0.8, "it is 0.8"),
    ]
    assert verdict.details == {"spread": {"stdev": pytest.approx(0.07**0.5), "min": 0.4, "max": 0.9}}
    assert (verdict.judge, verdict.prompt_version, len(verdict.calls), verdict.cost_microusd) == (
        "lab:judge-1",
        "score.v1",
        3,
        21,
    )


async def test_every_sample_has_a_number_of_its_own(context: Callable[..., GradeContext]) -> None:
    """The cache never makes one answer of two samples, also where the whole is itself repeated; a fixed seed moves on."""
    judge = ScriptedJudge(*scored(1, 1, 1))
    await grade(score_model(3, sampling_params={"seed": 7, "temperature": 1}), context(judge, sample_number=2))
    assert [request.sample_number for request in judge.requests] == [6, 7, 8]
    assert [(request.seed, request.temperature) for request in judge.requests] == [(7, 1), (8, 1), (9, 1)]


@pytest.mark.parametrize(
    ("combine", "scores", "score"),
    [("mean", (0, 0, 0.9), 0.3), ("median", (0, 0.9, 0.6), 0.6), ("median", (0, 1), 0.5), ("majority", (0.2, 0.9, 0.9), 0.9)],
)
async def test_ways_to_combine_scores(
    context: Callable[..., GradeContext], combine: str, scores: tuple[float, ...], score: float
) -> None:
    """Mean, median, or the score that was given most often; it passes at the grader's own mark."""
    verdict = await grade(score_model(len(scores), combine=combine), context(ScriptedJudge(*scored(*scores))))
    assert verdict.score == pytest.approx(score)
    assert verdict.passed is (score >= 0.5)


async def test_the_most_frequent_label_wins(context: Callable[..., GradeContext]) -> None:
    """The verdict is that label's, with the reason of the first sample that gave it and its share of the samples."""
    verdict = await grade(label_model(3), context(ScriptedJudge(*labelled("bad", "good", "good"))))
    assert (verdict.label, verdict.score, verdict.passed, verdict.reason) == ("good", 1.0, True, "it is good")
    assert verdict.details == {"spread": {"share": 2 / 3}}


async def test_a_split_vote_is_unscored(context: Callable[..., GradeContext]) -> None:
    """No label is picked where two were given equally often, though neither passes; the ballots show them."""
    verdict = await grade(label_model(2), context(ScriptedJudge(*labelled("bad", "fair"))))
    assert verdict.unscored is not None
    assert verdict.unscored.code == "split_vote"
    assert [ballot.label for ballot in verdict.ballots] == ["bad", "fair"]
    assert verdict.details == {"spread": {"share": 0.5}}


async def test_labels_can_be_averaged(context: Callable[..., GradeContext]) -> None:
    """The mean over labels is the share of passing samples, and passes from a half."""
    verdict = await grade(label_model(2, combine="mean"), context(ScriptedJudge(*labelled("good", "fair"))))
    assert (verdict.score, verdict.passed, verdict.label) == (0.5, True, None)


async def test_abstentions_are_kept_and_not_counted(context: Callable[..., GradeContext]) -> None:
    """A sample without a verdict is no zero: the others decide, and its ballot says what happened."""
    judge = ScriptedJudge(*NONE, *scored(0.8, 0.6))
    verdict = await grade(score_model(3), context(judge))
    assert verdict.score == pytest.approx(0.7)
    assert [ballot.unscored and ballot.unscored.code for ballot in verdict.ballots] == ["no_verdict", None, None]
    assert verdict.prompt_version == "score.v1+repair.v1"


@pytest.mark.parametrize(("min_scored", "code"), [(None, "no_quorum"), (2, "no_quorum"), (1, None)])
async def test_too_few_scores_are_none(context: Callable[..., GradeContext], min_scored: int | None, code: str | None) -> None:
    """Below the quorum, left out the majority of the samples, the verdict is unscored."""
    judge = ScriptedJudge(*scored(1), *NONE, *NONE)
    verdict = await grade(score_model(3, min_scored=min_scored), context(judge))
    assert (verdict.unscored and verdict.unscored.code) == code
    assert (len(verdict.ballots), len(verdict.calls)) == (3, 5)


async def test_pairs_are_sampled_as_wholes(context: Callable[..., GradeContext]) -> None:
    """Each sample of a pair is both orders; its ballot has the mean of each side's scores."""
    grader = {"type": "pairwise_model", **ASKED, "output_b": "{{item.reference}}", "reply": "scores", "samples": 2}
    replies = [json.dumps({"score_a": a, "score_b": b}) for a, b in ((9, 2), (3, 8), (8, 2), (2, 8))]
    verdict = await grade(GRADER.validate_python(grader), context(ScriptedJudge(*replies)))
    assert (verdict.label, verdict.score) == ("win", 1.0)
    assert [(ballot.label, ballot.sides) for ballot in verdict.ballots] == [("win", (8.5, 2.5)), ("win", (8.0, 2.0))]
    assert verdict.details == {"spread": {"share": 1.0}, "samples": [{"consistent": True}] * 2}
    assert verdict.sides == (8.25, 2.25)


async def test_what_may_pass_is_passed_on_after_all_were_asked(context: Callable[..., GradeContext]) -> None:
    """A retryable failure of one sample leaves the whole to be tried again."""
    judge = ScriptedJudge(*scored(1), ProviderUnavailable("down"), *scored(1))
    with pytest.raises(ProviderUnavailable):
        await grade(score_model(3), context(judge))
    assert len(judge.requests) == 3


@pytest.mark.parametrize("changes", [{"samples": 0}, {"samples": 33}, {"min_scored": 4}, {"min_scored": 0}])
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    """Samples are 1 to 32, and a quorum cannot be more than there are."""
    with pytest.raises(ValidationError):
        score_model(**{"samples": 3, **changes})


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0]), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_samples_means_nothing(scores: list[float], random: Any) -> None:
    """Whichever sample came first: score, pass and spread are the same."""
    shuffled = random.sample(scores, len(scores))
    for combine in ("mean", "median", "majority"):
        found = [outcome(combine, each) for each in (scores, shuffled)]
        assert found[0] == found[1]


def outcome(combine: str, scores: list[float]) -> tuple[Any, ...]:
    verdict = asyncio.run(grade(score_model(len(scores), combine=combine), over(ScriptedJudge(*scored(*scores)))))
    return verdict.score, verdict.passed, verdict.details, verdict.unscored
