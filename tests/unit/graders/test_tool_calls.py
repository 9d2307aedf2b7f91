"""Tool calls against those that are expected."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.graders.checks.arguments import same
from common.graders.checks.matching import most_pairs
from common.graders.registry import grade
from common.schemas.evaluation import Sample
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext
    from common.schemas.evaluation import Verdict

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
SEARCH = {"name": "search", "arguments": {"query": "weather in Paris", "limit": 3}}
BOOK = {"name": "book", "arguments": {}}


def tool_calls(expected: Any, **changes: Any) -> Grader:
    return GRADER.validate_python({"type": "tool_calls", "name": "t", "expected": expected, **changes})


def chat(call: dict[str, Any]) -> dict[str, Any]:
    """The call as Chat Completions have it."""
    return {"id": "c", "type": "function", "function": {**call, "arguments": json.dumps(call["arguments"])}}


def sampled(*calls: Any) -> Sample:
    return Sample.model_validate({"output_text": "", "output_tools": list(calls)})


def code(verdict: Verdict) -> str | None:
    return verdict.unscored and verdict.unscored.code


@pytest.mark.parametrize(
    ("mode", "made", "score"),
    [
        ("exact", [SEARCH, BOOK], 1),
        ("exact", [BOOK, SEARCH], 0),
        ("unordered", [BOOK, SEARCH], 1),
        ("unordered", [BOOK, SEARCH, BOOK], 0),
        ("superset", [BOOK, BOOK, SEARCH], 1),
        ("superset", [SEARCH], 0),
        ("subset", [BOOK], 1),
        ("subset", [], 1),
        ("subset", [BOOK, BOOK], 0),
        ("exact", [], 0),
    ],
)
async def test_modes(context: Callable[..., GradeContext], *, mode: str, made: list[Any], score: float) -> None:
    """How number and order count, the same for both forms of calls."""
    for form in (dict, chat):
        verdict = await grade(tool_calls([SEARCH, BOOK], mode=mode), context(sample=sampled(*map(form, made))))
        assert (verdict.score, verdict.passed) == (score, bool(score))
        assert verdict.details["matched"] + verdict.details["extra"] == len(made)


async def test_the_reason_names_what_is_wrong(context: Callable[..., GradeContext]) -> None:
    """What is missing, what there is too much, and in what a call of the right tool differs."""
    wrong = {"name": "search", "arguments": {"query": "weather in Rome", "limit": 3}}
    verdict = await grade(tool_calls([SEARCH, BOOK]), context(sample=sampled(wrong, SEARCH, BOOK)))
    assert verdict.reason == (
        'missing: call 1, search({"limit": 3, "query": "weather in Paris"}); missing: call 2, book({}); '
        'extra: call 1, search({"limit": 3, "query": "weather in Rome"}); '
        'extra: call 2, search({"limit": 3, "query": "weather in Paris"}); extra: call 3, book({}); search differs in query'
    )
    assert verdict.details == {"matched": 0, "missing": 2, "extra": 3}


@pytest.mark.parametrize(
    ("matcher", "expected", "right", "wrong"),
    [
        ({"match": "exact"}, {"a": [1, {"b": True}]}, {"a": [1.0, {"b": True}]}, {"a": [1, {"b": 1}]}),
        ({"match": "ignore"}, "x", 7, None),
        ({"match": "contains"}, "Paris", "in Paris", "in paris"),
        ({"match": "contains"}, 1, [0, 1.0], [True]),
        ({"match": "regex"}, "^P.+s$", "Paris", "in Paris"),
        ({"match": "numeric", "absolute_tolerance": 0.1}, 1, 1.1, 1.11),
        ({"match": "numeric", "relative_tolerance": 0.1}, "100 km", "110km", True),
        ({"match": "one_of"}, ["a", 1], 1.0, "b"),
    ],
)
async def test_matchers(context: Callable[..., GradeContext], *, matcher: Any, expected: Any, right: Any, wrong: Any) -> None:
    """Each way to compare an argument takes what fits and nothing else; a tool's own goes before the general one."""
    wanted = [{"name": "f", "arguments": {"x": expected}}]
    for matchers in ({"x": matcher}, {"f.x": matcher, "x": {"match": "contains"}}):
        for value, score in ((right, 1), (wrong, 0)):
            if matcher["match"] != "ignore" or score:
                sample = sampled({"name": "f", "arguments": {"x": value}})
                assert (await grade(tool_calls(wanted, matchers=matchers), context(sample=sample))).score == score


async def test_arguments_beyond_the_expected(context: Callable[..., GradeContext]) -> None:
    """They count as a difference unless allowed or ignored; one that is missing always does, unless ignored."""
    sample = sampled({"name": "f", "arguments": {"x": 1, "y": 2}})
    only_x, all_three = [{"name": "f", "arguments": {"x": 1}}], [{"name": "f", "arguments": {"x": 1, "y": 2, "z": 3}}]
    for grader, score in [
        (tool_calls(only_x), 0),
        (tool_calls(only_x, extra_arguments="allow"), 1),
        (tool_calls(only_x, matchers={"y": {"match": "ignore"}}), 1),
        (tool_calls(all_three, extra_arguments="allow"), 0),
        (tool_calls(all_three, matchers={"z": {"match": "ignore"}}), 1),
    ]:
        assert (await grade(grader, context(sample=sample))).score == score


async def test_matching_is_not_greedy(context: Callable[..., GradeContext]) -> None:
    """A call that fits two expected ones leaves the other call the one that only it fits."""
    wanted = [{"name": "f", "arguments": {"x": "a"}}, {"name": "f", "arguments": {"x": "ab"}}]
    made = [{"name": "f", "arguments": {"x": "abc"}}, {"name": "f", "arguments": {"x": "ac"}}]
    grader = tool_calls(wanted, mode="unordered", matchers={"x": {"match": "contains"}})
    for calls in itertools.permutations(made):
        assert (await grade(grader, context(sample=sampled(*calls)))).score == 1


@given(st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=5))
def test_no_matching_is_larger(fitting: list[list[int]]) -> None:
    """As many pairs as the best of all ways to choose, no side used twice, and only pairs that fit."""
    found = most_pairs(fitting)
    assert all(right in fitting[left] for left, right in found.items())
    assert len(set(found.values())) == len(found)
    ways = itertools.product(*([*row, None] for row in fitting))
    chosen = ([right for right in way if right is not None] for way in ways)
    assert len(found) == max(len(each) for each in chosen if len(set(each)) == len(each))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(JSON, JSON)
def test_equality_is_that_of_json(one: Any, other: Any) -> None:
    """A value equals itself written and read again, and another only when both are written alike, numbers aside."""
    assert same(one, json.loads(json.dumps(one)))
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert same(one, other)
    assert same(one, other) == same(other, one)


async def test_expected_calls_come_from_items(context: Callable[..., GradeContext]) -> None:
    """As JSON, or as text that is JSON; what is neither says nothing of the sample."""
    grader, sample = tool_calls("{{item.calls}}"), sampled(SEARCH)
    for calls, score in (([SEARCH], 1), (json.dumps([SEARCH]), 1), ([chat(SEARCH)], 1), ([], 0)):
        assert (await grade(grader, context(sample=sample, item={"calls": calls}))).score == score
    for calls in ("search", {"name": "search"}, [{"arguments": {}}], [{"name": "f", "arguments": "{"}], [SEARCH] * 65):
        assert code(await grade(grader, context(sample=sample, item={"calls": calls}))) == "expected_invalid"


async def test_no_calls_are_a_fact_only_of_a_sample_that_is_there(context: Callable[..., GradeContext]) -> None:
    """An output without tools made no calls; without an output nobody knows."""
    assert (await grade(tool_calls([]), context(output="Paris"))).score == 1
    assert (await grade(tool_calls([SEARCH]), context(output="Paris"))).score == 0
    assert code(await grade(tool_calls([]), context(output=None))) == "unknown_variable"
    assert (await grade(tool_calls([SEARCH]), context(sample=Sample.model_validate({"tool_calls": [SEARCH]})))).score == 1
    own = Sample.model_validate({"mine": [SEARCH]})
    assert (await grade(tool_calls([SEARCH], input="{{sample.mine}}"), context(sample=own))).score == 1


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("nothing", "tool_calls_invalid"),
        ([7], "tool_calls_invalid"),
        ([{"function": "f"}], "tool_calls_invalid"),
        ([{"name": 5}], "tool_calls_invalid"),
        ([BOOK] * 65, "too_many_tool_calls"),
    ],
)
async def test_calls_that_are_none(context: Callable[..., GradeContext], *, calls: Any, expected: str) -> None:
    """A list that is not one of calls is unscored, and so is one that is too long."""
    assert code(await grade(tool_calls([]), context(sample=Sample.model_validate({"output_tools": calls})))) == expected


async def test_arguments_that_are_no_json_are_wrong(context: Callable[..., GradeContext]) -> None:
    """What a model wrote as arguments is its own fault, however broken or deep."""
    for written in ("{", "[]", "5", "[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000):
        verdict = await grade(tool_calls([BOOK]), context(sample=sampled({"name": "book", "arguments": written})))
        assert (verdict.score, verdict.unscored) == (0, None)


async def test_matchers_need_what_they_compare_with(context: Callable[..., GradeContext]) -> None:
    """An expected value that is no pattern, number or list leaves the sample unscored: it is not to blame."""
    sample = sampled({"name": "f", "arguments": {"x": "1"}})
    for kind, value in (("regex", "(?=a)"), ("regex", 5), ("numeric", "many"), ("one_of", "a")):
        grader = tool_calls([{"name": "f", "arguments": {"x": value}}], matchers={"x": {"match": kind}})
        assert code(await grade(grader, context(sample=sample))) == "expected_invalid"
    with pytest.raises(ValidationError):
        tool_calls([], matchers={"x": {"match": "exact", "absolute_tolerance": 1}})
