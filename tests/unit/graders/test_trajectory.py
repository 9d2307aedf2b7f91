"""Rules for the tool calls a sample made on its way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.graders.context import GradeContext
from common.graders.registry import grade
from common.schemas.evaluation import Sample
from common.schemas.graders import Grader
from tests.unit.graders.conftest import ScriptedJudge

if TYPE_CHECKING:
    from collections.abc import Callable

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def trajectory(**rules: Any) -> Grader:
    return GRADER.validate_python({"type": "trajectory", "name": "t", **rules})


def calls(*names: str) -> list[dict[str, Any]]:
    return [{"function": {"name": name, "arguments": '{"x": 1}'}} for name in names]


def sampled(**fields: Any) -> Sample:
    return Sample.model_validate({"output_text": "done", **fields})


async def test_every_breach_is_listed(context: Callable[..., GradeContext]) -> None:
    """All rules are looked at, and the reason has all that were broken."""
    grader = trajectory(max_steps=3, required_tools=["search", "book"], forbidden_tools=["delete"], max_repeats=1)
    made = calls("search", "search", "search", "delete")
    verdict = await grade(grader, context(sample=sampled(output_tools=made)))
    assert (verdict.score, verdict.details) == (0, {"steps": 4})
    assert verdict.reason == (
        "4 steps, at most 3 expected; book was not called; delete is forbidden, and was called 1 times; "
        'search({"x": 1}) was repeated 2 times, at most 1 expected'
    )


async def test_rules_that_are_kept(context: Callable[..., GradeContext]) -> None:
    """A sample within every rule passes; other arguments make another call."""
    made = [*calls("search"), {"name": "search", "arguments": {"x": 2}}, {"name": "search", "arguments": "no JSON"}]
    verdict = await grade(trajectory(min_steps=3, max_steps=3, max_repeats=0), context(sample=sampled(tool_calls=made)))
    assert (verdict.score, verdict.passed, verdict.reason) == (1, True, None)


async def test_calls_are_found_in_messages(context: Callable[..., GradeContext]) -> None:
    """Those of all messages count, in Chat Completions' form and in that of Responses."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Book it"},
        {"role": "assistant", "content": None, "tool_calls": calls("search")},
        {"role": "tool", "content": "found"},
        {"type": "function_call", "name": "book", "arguments": "{}"},
    ]
    for sample, place in (
        (sampled(messages=messages), None),
        (sampled(steps=messages), "{{sample.steps}}"),
        (sampled(steps=json.dumps(messages)), "{{sample.steps}}"),
    ):
        grader = trajectory(required_tools=["search", "book"], max_steps=2, input=place)
        assert (await grade(grader, context(sample=sample))).score == 1


@pytest.mark.parametrize("messages", ["text", [{"role": "user", "tool_calls": 5}], [{"role": "user"}, 7]])
async def test_what_is_no_conversation_is_unscored(context: Callable[..., GradeContext], *, messages: Any) -> None:
    """A list that holds neither messages nor calls says nothing of the way."""
    verdict = await grade(trajectory(max_steps=1), context(sample=sampled(messages=messages)))
    assert verdict.unscored is not None
    assert verdict.unscored.code == "tool_calls_invalid"


@pytest.mark.parametrize(
    "rules", [{}, {"min_steps": 2, "max_steps": 1}, {"required_tools": ["a"], "forbidden_tools": ["a"]}, {"max_steps": -1}]
)
def test_rules_that_cannot_be_kept_are_refused(rules: dict[str, Any]) -> None:
    """No rule at all, and rules against each other, are mistakes."""
    with pytest.raises(ValidationError):
        trajectory(**rules)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 12), st.integers(0, 3))
async def test_rules_hold_by_counting(names: list[str], most: int, repeats: int) -> None:
    """A sample passes exactly when its counts are within the rules."""
    context = GradeContext({}, sampled(output_tools=calls(*names)), ScriptedJudge(), lambda: "5eed")
    verdict = await grade(trajectory(max_steps=most, forbidden_tools=["c"], max_repeats=repeats), context)
    kept = len(names) <= most and "c" not in names and all(names.count(name) <= repeats + 1 for name in names)
    assert verdict.passed == kept
