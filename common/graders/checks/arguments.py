"""Comparing a tool call with the one that is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.graders.checks.numbers import Notation, exactly, numbers, within
from common.graders.outcome import UnscoredError
from common.schemas.graders import ArgumentMatcher
from common.schemas.patterns import PatternError, check_pattern, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from common.graders.checks.calls import Call

_EXACT = ArgumentMatcher(match="exact")
_MISSING = object()
_MAX_TEXT = 10_000  # each call is compared with each
_MAX_DIGITS = 200


def differences(actual: Call, expected: Call, matchers: Mapping[str, ArgumentMatcher], *, extra: bool) -> list[str]:
    """In what the calls differ: ``["the tool"]``, or the names of arguments. `extra`: others than the expected are welcome.

    Raises:
        UnscoredError: ``expected_invalid``: an expected value is nothing that its matcher can compare with.
    """
    if actual.name != expected.name:
        return ["the tool"]
    if actual.arguments is None or expected.arguments is None:
        return ["arguments that are no JSON object"]
    names = expected.arguments if extra else {**expected.arguments, **actual.arguments}
    return [
        name
        for name in names
        if not _fits(
            actual.arguments.get(name, _MISSING),
            expected.arguments.get(name, _MISSING),
            matchers.get(f"{expected.name}.{name}") or matchers.get(name) or _EXACT,
        )
    ]


def _fits(actual: Any, expected: Any, matcher: ArgumentMatcher) -> bool:
    if matcher.match == "ignore":
        return True
    if actual is _MISSING or expected is _MISSING:
        return False
    return _MATCHES[matcher.match](actual, expected, matcher)


def _contains(actual: Any, expected: Any, _matcher: ArgumentMatcher) -> bool:
    if isinstance(actual, list):
        return any(same(entry, expected) for entry in actual)
    return isinstance(actual, str) and isinstance(expected, str) and expected in actual


def _regex(actual: Any, expected: Any, _matcher: ArgumentMatcher) -> bool:
    try:
        pattern = check_pattern(expected if isinstance(expected, str) else "(")
    except PatternError as error:
        raise UnscoredError("expected_invalid", f"the match regex: {error}") from error
    if isinstance(actual, str) and len(actual) > _MAX_TEXT:
        raise UnscoredError("text_too_long", f"patterns are looked for in arguments of up to {_MAX_TEXT} characters")
    return isinstance(actual, str) and matches(pattern, actual)


def _numeric(actual: Any, expected: Any, matcher: ArgumentMatcher) -> bool:
    reference, number = _number(expected), _number(actual)
    if reference is None:
        raise UnscoredError("expected_invalid", "the match numeric needs a number")
    absolute, relative = matcher.absolute_tolerance, matcher.relative_tolerance
    return number is not None and within(number, reference, absolute=absolute, relative=relative)


def _one_of(actual: Any, expected: Any, _matcher: ArgumentMatcher) -> bool:
    if not isinstance(expected, list):
        raise UnscoredError("expected_invalid", "the match one_of needs a list of values")
    return any(same(actual, each) for each in expected)


_MATCHES: dict[str, Callable[[Any, Any, ArgumentMatcher], bool]] = {
    "exact": lambda actual, expected, _matcher: same(actual, expected),
    "contains": _contains,
    "regex": _regex,
    "numeric": _numeric,
    "one_of": _one_of,
}


def _number(value: Any) -> Decimal | None:
    if isinstance(value, str):
        found = list(numbers(value, Notation())) if len(value) <= _MAX_DIGITS else []
        return found[0] if len(found) == 1 else None
    number = exactly(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and number.is_finite() else None


def same(left: Any, right: Any) -> bool:
    """Whether two parsed JSON values are equal: 1 is 1.0, true is not 1, the order of an object's keys does not matter."""
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[name], other[name]) for name in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True
