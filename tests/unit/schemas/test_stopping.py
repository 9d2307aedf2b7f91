"""Stop rules as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.schemas.stopping import StopRule, parse_rule

GRADERS = ["correctness", "tone: polite", "a: mean 0.5"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("correctness: mean above 0.8", StopRule(grader=0, threshold=0.8, side="above")),
        ("correctness:mean below 2", StopRule(grader=0, threshold=2, side="below")),
        ("correctness: mean -0.5, alpha 0.01", StopRule(grader=0, threshold=-0.5, alpha=0.01)),
        ("tone: polite: mean 0.5 alpha 0.2", StopRule(grader=1, threshold=0.5, alpha=0.2)),
        ("a: mean 0.5: mean 0.5", StopRule(grader=2, threshold=0.5)),
        ("correctness: not worse than run_1 by 0.02", StopRule(grader=0, threshold=-0.02, other_run="run_1")),
    ],
)
def test_rules_are_read_as_written(text: str, rule: StopRule) -> None:
    """A rule names a grader, what is asked of its mean, and how sure the answer must be; any grader's name can stand there."""
    assert parse_rule(text, GRADERS) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "correctness",
        "correctness: mean",
        "correctness: mean over 0.8",
        "correctness: mean 0,8",
        "correctness: mean nan",
        "correctness: mean 1e3",
        "correctness: mean ٣",
        "tone: mean 0.5",
        "correctness: mean 0.5 alpha 0",
        "correctness: mean 0.5 alpha 1.5",
        "correctness: not worse than by 0.1",
        "correctness: not worse than run_1 by -0.1",
        f"correctness: mean {'9' * 400}",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Nothing is guessed: a rule that was meant otherwise must not end a run."""
    with pytest.raises(InvalidInput):
        parse_rule(text, GRADERS)


@given(st.text(max_size=512))
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    """Text from outside never breaks the reader, nor takes it long."""
    try:
        parse_rule(text, GRADERS)
    except InvalidInput:
        return
