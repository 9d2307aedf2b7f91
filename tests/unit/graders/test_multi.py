from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from common.errors import ProviderUnavailable, Unsupported
from common.graders.registry import grade, refuse
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
CHECK = {"type": "string_check", "name": "c", "input": "{{sample.output_text}}", "reference": "Paris", "operation": "eq"}
JUDGE = {"type": "score_model", "name": "j", "model": "judge", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}


def multi(formula: str, *, pass_threshold: float = 0.5, **graders: Any) -> Grader:
    return GRADER.validate_python(
        {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula, "pass_threshold": pass_threshold}
    )


async def test_a_formula_combines_scores(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """The score is the formula's; ballots, calls, judge and prompt of the sub-graders are kept."""
    verdict = await grade(multi("0.75 * a + 0.25 * b", a=CHECK, b=JUDGE), context(judge('{"reason": "so so", "score": 0.5}')))
    assert (verdict.score, verdict.passed, verdict.judge, verdict.prompt_version) == (0.875, True, "lab:judge-1", "score.v1")
    assert [(b.judge, b.score, b.reason) for b in verdict.ballots] == [("a", 1.0, None), ("b", 0.5, "so so")]
    assert (len(verdict.calls), verdict.cost_microusd) == (1, 7)
    assert verdict.reason == "0.75 * a + 0.25 * b with a = 1, b = 0.5"


async def test_the_pass_mark_decides(context: Callable[..., GradeContext]) -> None:
    """The result passes at the multi grader's own mark."""
    assert not (await grade(multi("a / 2", a=CHECK, pass_threshold=0.6), context())).passed
    assert (await grade(multi("a / 2", a=CHECK, pass_threshold=0.5), context())).passed


async def test_one_missing_score_leaves_the_whole_unscored(
    context: Callable[..., GradeContext], judge: type[Any], reply: Callable[..., Any]
) -> None:
    """The verdict says which sub-grader has no score and why, and keeps the other's ballot and all calls."""
    verdict = await grade(multi("a + b", a=CHECK, b=JUDGE), context(judge(reply("", refusal="no"))))
    assert (verdict.score, verdict.passed) == (None, None)
    assert verdict.unscored is not None
    assert verdict.unscored.code == "judge_refused"
    assert verdict.unscored.message.startswith("b: ")
    assert [(b.judge, b.score) for b in verdict.ballots] == [("a", 1.0), ("b", None)]
    assert verdict.ballots[1].unscored == verdict.unscored.model_copy(update={"message": "the judge refused to answer"})
    assert len(verdict.calls) == 1


async def test_what_sub_graders_have_to_show_is_kept(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """Details stand under the sub-grader's name: here how far its samples lie apart."""
    asked = judge('{"reason": "r", "score": 0.5}', '{"reason": "r", "score": 0.5}')
    verdict = await grade(multi("a + b", a=CHECK, b={**JUDGE, "samples": 2}), context(asked))
    assert verdict.details == {"graders": {"b": {"spread": {"stdev": 0.0, "min": 0.5, "max": 0.5}}}}


@pytest.mark.parametrize(
    "formula", ["a / (a - a)", "log(a - a)", "sqrt(a - 2 * a)", "exp(1000 * a)", "(a - 2) ^ 0.5", "1e308 * 10 * a"]
)
async def test_a_formula_without_a_value_is_unscored(context: Callable[..., GradeContext], formula: str) -> None:
    """Division by zero, a domain error and a result too large are reasons, not scores."""
    verdict = await grade(multi(formula, a=CHECK), context())
    assert verdict.unscored is not None
    assert verdict.unscored.code == "formula_error"
    assert len(verdict.ballots) == 1


async def test_a_score_too_large_to_count_is_unscored(context: Callable[..., GradeContext]) -> None:
    """What the counters of a run could not hold never becomes a score; the evidence is kept."""
    verdict = await grade(multi("1e9 * a", a=CHECK), context())
    assert verdict.unscored is not None
    assert (verdict.unscored.code, len(verdict.ballots)) == ("score_out_of_range", 1)


async def test_sub_graders_run_at_the_same_time(context: Callable[..., GradeContext], reply: Callable[..., Any]) -> None:
    """Three judges that each wait until all three were asked do not wait for ever."""
    together = asyncio.Barrier(3)

    async def complete(_request: Any) -> Any:
        await together.wait()
        return reply('{"score": 1}')

    verdict = await grade(multi("a + b + c", a=JUDGE, b=JUDGE, c=JUDGE), context(complete))
    assert verdict.score == 3.0


async def test_what_may_pass_comes_out_after_all_have_ended(context: Callable[..., GradeContext], judge: type[Any]) -> None:
    """A retryable failure of one sub-grader is the caller's to decide; the others' calls are not cut off."""
    asked = judge(ProviderUnavailable("down"), '{"score": 1}')
    with pytest.raises(ProviderUnavailable):
        await grade(multi("a + b", a=JUDGE, b=JUDGE), context(asked))
    assert len(asked.requests) == 2


PYTHON = {"type": "python", "name": "p", "source": "def grade(sample, item): return 1.0"}


async def test_python_is_refused_wherever_it_stands(context: Callable[..., GradeContext]) -> None:
    """Foreign code does not run, alone or within a multi grader, and the error says where it stands and what to use."""
    for grader, pointer in ((GRADER.validate_python(PYTHON), "/g/type"), (multi("p", p=PYTHON), "/g/graders/p/type")):
        with pytest.raises(Unsupported, match="string_check") as caught:
            refuse(grader, pointer="/g")
        assert caught.value.pointer == pointer
        with pytest.raises(Unsupported):
            await grade(grader, context())
