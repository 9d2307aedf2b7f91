"""Patterns: what they find, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.graders.registry import grade
from common.schemas.graders import Grader
from common.schemas.patterns import matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def regex(pattern: str, **changes: Any) -> Grader:
    return GRADER.validate_python({"type": "regex", "name": "r", "pattern": pattern, **changes})


@pytest.mark.parametrize(
    ("pattern", "changes", "output", "score"),
    [
        ("a|b", {}, "xbx", 1),
        ("a|b", {"mode": "fullmatch"}, "xb", 0),
        ("a|b", {"mode": "fullmatch"}, "b", 1),
        ("b", {"mode": "fullmatch"}, "b\n", 0),
        ("PARIS", {}, "Paris", 0),
        ("PARIS", {"ignore_case": True}, "Paris", 1),
        ("^b$", {}, "a\nb\nc", 0),
        ("^b$", {"multiline": True}, "a\nb\nc", 1),
        ("a.c", {}, "a\nc", 0),
        ("a.c", {"dot_all": True}, "a\nc", 1),
        ("sorry", {"expect": "no_match"}, "I am sorry", 0),
        ("sorry", {"expect": "no_match"}, "Paris", 1),
        ("^(a+)+$", {}, "a" * 50_000 + "!", 0),
        ("Paris", {}, "\ud800 Paris", 1),
    ],
)
async def test_what_is_found(
    context: Callable[..., GradeContext], *, pattern: str, changes: dict[str, Any], output: str, score: float
) -> None:
    """Modes, flags and expectations; a text made to keep a backtracking engine busy is answered like any other."""
    verdict = await grade(regex(pattern, **changes), context(output=output))
    assert (verdict.score, verdict.passed) == (score, bool(score))
    assert (verdict.reason is None) == verdict.passed


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", r"(a)\1", "(", "a)|(b", "", "a" * 1001, "(?:a{0,300}){0,300}b", "a*{2}{600}", "(?x) a # ("]
)
def test_what_cannot_be_matched_in_bounded_time_is_refused(pattern: str) -> None:
    """Look-around, back-references, broken patterns and those that are too large once written out."""
    with pytest.raises(ValidationError) as caught:
        regex(pattern)
    assert caught.value.errors()[0]["loc"] == ("regex", "pattern")


@given(st.text(alphabet="ab.*?|()^", max_size=12), st.text(alphabet="ab\n", max_size=12))
def test_a_full_match_is_the_whole_text(pattern: str, text: str) -> None:
    """Anchoring agrees with Python's own engine, on patterns that both understand alike."""
    try:
        grader: Any = regex(pattern, mode="fullmatch")
        expected = re.fullmatch(pattern, text) is not None
    except (ValidationError, re.error):
        return
    assert matches(grader.whole_pattern, text) == expected
