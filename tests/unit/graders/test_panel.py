from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.errors import ProviderUnavailable, Unsupported
from common.graders.registry import grade, refuse
from common.graders.template import missing_item_variables
from common.schemas.completion import Completion
from common.schemas.evaluation import ModelCall
from common.schemas.graders import Grader
from functions.tasks.evals.versions import with_pass_mark
from tests.unit.graders.conftest import ScriptedJudge
from tests.unit.graders.test_pairwise import over

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext
    from common.schemas.completion import CompletionRequest

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
INPUT = [{"role": "user", "content": "{{sample.output_text}}"}]


def scorer(name: str, **changes: Any) -> dict[str, Any]:
    return {"type": "score_model", "name": name, "model": name, "input": INPUT, **changes}


def labeller(name: str, **changes: Any) -> dict[str, Any]:
    labels = {"labels": ["good", "fair", "bad"], "passing_labels": ["good"]}
    return {"type": "label_model", "name": name, "model": name, "input": INPUT, **labels, **changes}


def panel(*graders: dict[str, Any], **changes: Any) -> Grader:
    return GRADER.validate_python({"type": "panel", "name": "jury", "graders": list(graders), **changes})


class Jury:
    """Every model says what it always says; None for nothing that could be a verdict."""

    def __init__(self, **said: str | float | None) -> None:
        self.said = said

    async def __call__(self, request: CompletionRequest, /) -> Completion:
        said = self.said[request.model]
        key = "label" if isinstance(said, str) else "score"
        text = "I abstain." if said is None else json.dumps({"reason": f"{request.model} says so", key: said})
        return Completion(text, "stop", ModelCall(model=f"lab:{request.model}", cost_microusd=5))


A, B, C = scorer("a"), scorer("b"), scorer("c")


@pytest.mark.parametrize(
    ("combine", "scores", "score", "passed", "label"),
    [
        ("majority", (0.9, 0.8, 0.1), 1.0, True, "pass"),
        ("majority", (0.9, 0.2, 0.1), 0.0, False, "fail"),
        ("mean", (0.9, 0.6, 0.0), 0.5, True, None),
        ("median", (0.9, 0.4, 0.1), 0.4, False, None),
        ("unanimous", (0.9, 0.8, 0.5), 1.0, True, "pass"),
        ("unanimous", (0.9, 0.8, 0.4), 0.0, False, "split"),
        ("unanimous", (0.1, 0.2, 0.4), 0.0, False, "fail"),
    ],
)
async def test_ways_to_vote(
    *, combine: str, scores: tuple[float, float, float], score: float, passed: bool, label: str | None
) -> None:
    """Majority and unanimity count passes, mean and median combine scores; all must pass for a unanimous pass."""
    verdict = await grade(panel(A, B, C, combine=combine), over(Jury(**dict(zip("abc", scores, strict=True)))))
    assert verdict.score == pytest.approx(score)
    assert (verdict.passed, verdict.label) == (passed, label)
    assert [(ballot.judge, ballot.score) for ballot in verdict.ballots] == list(zip("abc", scores, strict=True))
    assert (verdict.cost_microusd, verdict.prompt_version, verdict.judge) == (15, "score.v1", None)


async def test_labels_are_voted_on_where_all_share_them() -> None:
    """The most frequent label is the panel's, and passes as it does for its graders."""
    grader = panel(labeller("a"), labeller("b"), labeller("c"))
    verdict = await grade(grader, over(Jury(a="fair", b="bad", c="fair")))
    assert (verdict.label, verdict.score, verdict.passed, verdict.reason) == ("fair", 0.0, False, "1 bad, 2 fair")
    assert verdict.details == {"votes": {"bad": 1, "fair": 2}}


async def test_different_labels_leave_passing_to_vote_on() -> None:
    """Where one grader has labels of its own, all are asked only whether the sample passes."""
    other = labeller("b", labels=["yes", "no"], passing_labels=["yes"])
    verdict = await grade(panel(labeller("a"), other, C), over(Jury(a="fair", b="no", c=1)))
    assert (verdict.label, verdict.score, verdict.details) == ("fail", 0.0, {"votes": {"fail": 2, "pass": 1}})


@pytest.mark.parametrize(("on_split", "code", "label"), [("unscored", "split_vote", None), ("fail", None, "split")])
async def test_a_split_vote_is_no_majority(on_split: str, code: str | None, label: str | None) -> None:
    """Equal votes are unscored, or a fail where the panel says so, and the ballots are kept either way."""
    verdict = await grade(panel(A, B, on_split=on_split), over(Jury(a=0.9, b=0.1)))
    assert ((verdict.unscored and verdict.unscored.code), verdict.label) == (code, label)
    assert verdict.passed is (None if code else False)
    assert [ballot.score for ballot in verdict.ballots] == [0.9, 0.1]
    assert verdict.details == {"votes": {"fail": 1, "pass": 1}}


async def test_abstentions_are_no_votes() -> None:
    """A judge without a verdict is neither for nor against; its ballot says why."""
    verdict = await grade(panel(A, B, C, combine="mean"), over(Jury(a=0.9, b=None, c=0.7)))
    assert verdict.score == pytest.approx(0.8)
    assert [ballot.unscored and ballot.unscored.code for ballot in verdict.ballots] == [None, "no_verdict", None]
    assert verdict.details == {"spread": {"stdev": pytest.approx(0.02**0.5), "min": 0.7, "max": 0.9}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "no_quorum"),
        ({"min_scored": 1}, None),
        ({"combine": "unanimous"}, "no_quorum"),
        ({"combine": "unanimous", "min_scored": 1}, None),
    ],
)
async def test_too_few_votes_are_none(changes: dict[str, Any], code: str | None) -> None:
    """Below the quorum the panel is unscored: left out that is the majority, and everybody for unanimity."""
    verdict = await grade(panel(A, B, C, **changes), over(Jury(a=0.9, b=None, c=None)))
    assert (verdict.unscored and verdict.unscored.code) == code
    assert verdict.unscored is None or "1 of 3" in verdict.unscored.message
    assert len(verdict.ballots) == 3


async def test_unanimity_needs_everybody_unless_told_otherwise() -> None:
    """Two passes and an abstention are no unanimous pass."""
    verdict = await grade(panel(A, B, C, combine="unanimous"), over(Jury(a=0.9, b=0.9, c=None)))
    assert verdict.passed is None


async def test_all_are_asked_at_once(context: Callable[..., GradeContext], reply: Callable[..., Any]) -> None:
    """Judges that wait for each other do not wait for ever."""
    together = asyncio.Barrier(3)

    async def complete(_request: Any) -> Any:
        await together.wait()
        return reply('{"score": 1}')

    assert (await grade(panel(A, B, C), context(complete))).passed


async def test_what_may_pass_is_passed_on_after_all_were_asked(context: Callable[..., GradeContext]) -> None:
    """A retryable failure of one judge leaves the panel to be tried again."""
    judge = ScriptedJudge(ProviderUnavailable("down"), '{"score": 1}')
    with pytest.raises(ProviderUnavailable):
        await grade(panel(A, B), context(judge))
    assert len(judge.requests) == 2


@pytest.mark.parametrize(
    ("graders", "changes"),
    [
        ([A], {}),
        ([A, {**B, "name": "a"}], {}),
        ([A, {**A, "name": "b"}], {}),
        ([A, scorer("b", range=[1, 5])], {"combine": "mean"}),
        ([A, B], {"min_scored": 3}),
        ([A, B], {"pass_threshold": 0.7}),
        ([A, {"type": "panel", "name": "p", "graders": [B, C]}], {}),
        ([A, {"type": "multi", "name": "m", "graders": {"b": B}, "calculate_output": "b"}], {}),
    ],
    ids=["alone", "one name", "one opinion", "two scales", "quorum", "mark", "panel", "multi"],
)
def test_what_makes_no_sense_is_refused(graders: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    """Panels are of two different single graders at least, on one scale where scores are combined."""
    with pytest.raises(ValidationError):
        panel(*graders, **changes)


def test_a_panel_has_the_scale_and_mark_of_its_combination() -> None:
    """Scores that are combined keep their scale, with its middle as the mark; votes are on a scale from 0 to 1."""
    wide = [scorer("a", range=[1, 5]), scorer("b", range=[1, 5])]
    assert (panel(*wide, combine="mean").scale, panel(*wide, combine="mean").threshold) == ((1, 5), 3)
    assert panel(*wide, combine="median", pass_threshold=4).threshold == 4
    assert (panel(*wide).scale, panel(*wide).threshold) == ((0, 1), None)


def test_members_are_checked_where_they_stand() -> None:
    """Errors within a panel point at the grader and the field."""
    python = {"type": "python", "name": "p", "source": "x"}
    with pytest.raises(Unsupported) as refused:
        refuse(panel(A, python), pointer="/graders/0")
    assert refused.value.pointer == "/graders/0/graders/1/type"
    asking = scorer("b", input=[{"role": "user", "content": "{{item.nothing}}"}])
    with pytest.raises(Exception, match=r"item\.nothing") as caught:
        missing_item_variables(panel(A, asking), {}, pointer="/graders/0")
    assert getattr(caught.value, "pointer", None) == "/graders/0/graders/1/input/0/content"


VOTE = st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])


@given(
    votes=st.lists(VOTE, min_size=2, max_size=6),
    combine=st.sampled_from(["majority", "mean", "median", "unanimous"]),
    on_split=st.sampled_from(["unscored", "fail"]),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_the_graders_means_nothing(votes: list[float | None], combine: str, on_split: str, random: Any) -> None:
    """Permuting the members changes the order of the ballots and of the calls, and nothing else."""
    names = [f"j{number}" for number in range(len(votes))]
    jury = Jury(**dict(zip(names, votes, strict=True)))
    found = []
    for order in (names, random.sample(names, len(names))):
        grader = panel(*map(scorer, order), combine=combine, on_split=on_split)
        verdict = asyncio.run(grade(grader, over(jury)))
        ballots = sorted(verdict.ballots, key=lambda ballot: ballot.judge)
        calls = sorted(verdict.calls, key=lambda call: call.model)
        found.append(verdict.model_copy(update={"ballots": ballots, "calls": calls}))
    assert found[0] == found[1]


def test_stored_evals_write_every_pass_mark_down() -> None:
    """A panel's own mark and those of the graders in it and in a cascade are kept, so that no later default changes them."""
    jury = panel(scorer("a", range=[1, 5]), scorer("b", range=[1, 5]), combine="mean")
    steps = [
        {"grader": scorer("c", range=[1, 5]), "settled_when": {"accept_at": 4}},
        {"grader": jury.model_dump()},
    ]
    cascade = GRADER.validate_python({"type": "cascade", "name": "steps", "steps": steps})
    kept = with_pass_mark(cascade).model_dump()
    assert kept["steps"][0]["grader"]["pass_threshold"] == 3
    assert kept["steps"][1]["grader"]["pass_threshold"] == 3
    assert [member["pass_threshold"] for member in kept["steps"][1]["grader"]["graders"]] == [3, 3]
    assert GRADER.validate_python(kept) == with_pass_mark(cascade)
    assert with_pass_mark(panel(A, B)).model_dump()["pass_threshold"] is None
