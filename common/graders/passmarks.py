"""Whether a grader's pass mark can tell anything apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidInput

if TYPE_CHECKING:
    from common.schemas.graders import GraderModel


def check_pass_mark(grader: GraderModel, *, pointer: str = "") -> None:
    """Check that `grader`, and every grader within it, passes somewhere on its scale.

    A formula's bounds are not always known, so `multi` itself is not held to them.

    Raises:
        InvalidInput: a pass mark is beyond the scale, so that all would fail or all would pass without a word.
    """
    for place, part in grader.parts.items():
        check_pass_mark(part, pointer=pointer + place)
    mark, (low, high) = grader.threshold, grader.scale
    if grader.type != "multi" and mark is not None and not low <= mark <= high:
        message = f"expected a pass mark within the grader's range from {low:.15g} to {high:.15g}, got {mark:.15g}"
        raise InvalidInput(message, pointer=f"{pointer}/pass_threshold")
