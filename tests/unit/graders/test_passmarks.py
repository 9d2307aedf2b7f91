"""A pass mark that nothing can reach, or nothing can miss, is a mistake and is told as one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from common.errors import InvalidInput
from common.graders.passmarks import check_pass_mark
from common.schemas.graders import Grader

SCORE = {"type": "score_model", "name": "s", "model": "lab:j", "input": [{"role": "user", "content": "x"}]}
FUZZY = {"type": "text_similarity", "name": "f", "input": "a", "reference": "b", "evaluation_metric": "fuzzy_match"}
ADAPTER: TypeAdapter[Grader] = TypeAdapter(Grader)


@pytest.mark.parametrize(
    ("grader", "pointer"),
    [
        ({**SCORE, "pass_threshold": 3}, "/pass_threshold"),
        ({**SCORE, "range": [1, 5], "pass_threshold": 0.5}, "/pass_threshold"),
        ({**FUZZY, "pass_threshold": 80}, "/pass_threshold"),
        (
            {"type": "multi", "name": "m", "graders": {"f": {**FUZZY, "pass_threshold": 1.5}}, "calculate_output": "f"},
            "/graders/f/pass_threshold",
        ),
    ],
)
def test_a_mark_beyond_the_scale_is_refused(grader: dict[str, Any], pointer: str) -> None:
    """It names the field, the range and what was given, also within other graders."""
    with pytest.raises(InvalidInput, match="expected a pass mark within") as refused:
        check_pass_mark(ADAPTER.validate_python(grader))
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    "grader",
    [
        SCORE,
        {**SCORE, "range": [1, 5], "pass_threshold": 5},
        {**SCORE, "range": [1, 5], "pass_threshold": 1},
        {"type": "multi", "name": "m", "graders": {"f": FUZZY}, "calculate_output": "f * 100", "pass_threshold": 80},
        {"type": "string_check", "name": "c", "input": "a", "reference": "b", "operation": "eq"},
    ],
)
def test_a_mark_on_the_scale_is_taken(grader: dict[str, Any]) -> None:
    """Both ends are on the scale, and a formula may go where it likes."""
    check_pass_mark(ADAPTER.validate_python(grader))
