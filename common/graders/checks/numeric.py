"""Comparing numbers within a tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.checks.numbers import Notation, exactly, numbers, within
from common.graders.checks.texts import readable, text_of
from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.graders.template import value_of

if TYPE_CHECKING:
    from decimal import Decimal

    from common.graders.context import GradeContext
    from common.schemas.graders import NumericGrader

_MAX_SHOWN = 5
_DIGITS = 40


async def numeric(grader: NumericGrader, context: GradeContext) -> Score:
    """1 when the sample's number is near enough to the reference. A sample without a number, or with several, is wrong.

    Raises:
        UnscoredError: ``reference_not_number``: nothing can be said of the sample by such a reference.
    """
    notation = Notation(grader.decimal, grader.units)
    reference = _reference(grader, notation, context)
    number = _extracted(list(numbers(text_of(grader.input, context), notation)), grader.extract)
    if isinstance(number, str):
        return Score(0.0, passed=False, reason=number)
    near = within(number, reference, absolute=grader.absolute_tolerance, relative=grader.relative_tolerance)
    reason = f"{_shown(number)} is {'' if near else 'not '}within tolerance of {_shown(reference)}"
    return Score(float(near), near, reason=bounded(reason, REASON_LIMIT))


def _extracted(found: list[Decimal], which: str) -> Decimal | str:
    """The one number meant, or why there is none. The same number said twice is one."""
    if not found:
        return "there is no number"
    if which == "only" and len(set(found)) > 1:
        several = ", ".join(_shown(number) for number in dict.fromkeys(found[:_MAX_SHOWN]))
        return f"there are {len(found)} numbers: {several}{' …' if len(found) > _MAX_SHOWN else ''}"
    return found[-1 if which == "last" else 0]


def _reference(grader: NumericGrader, notation: Notation, context: GradeContext) -> Decimal:
    """A number as it is; a text is read like the sample."""
    if not isinstance(grader.reference, str):
        return exactly(grader.reference)
    value = value_of(grader.reference, context.scope)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value)
    text = readable(value) if isinstance(value, str) else text_of(grader.reference, context)
    number = _extracted(list(numbers(text, notation)), "only")
    if isinstance(number, str):
        raise UnscoredError("reference_not_number", f"the reference: {number}")
    return number


def _finite(value: float) -> Decimal:
    number = exactly(value)
    if not number.is_finite():
        raise UnscoredError("reference_not_number", "the reference is no finite number")
    return number


def _shown(number: Decimal) -> str:
    if abs(number.adjusted()) >= _DIGITS:
        return f"{number:.6e}"
    digits = f"{number:f}"
    return bounded(digits.rstrip("0").rstrip(".") if "." in digits else digits, _DIGITS)
