from __future__ import annotations

import typing

from common.schemas.graders import Grader
from functions.aggregate.pages.page import BINARY_TYPES


def test_binary_types_are_graders_without_a_pass_mark() -> None:
    """Each type that is shown by its pass rate alone is a grader's, scores from 0 to 1, and has no pass mark of its own."""
    members = typing.get_args(typing.get_args(Grader)[0])
    by_type = {typing.get_args(member.model_fields["type"].annotation)[0]: member for member in members}
    assert set(by_type) >= BINARY_TYPES
    assert all("pass_threshold" not in by_type[name].model_fields for name in BINARY_TYPES)
