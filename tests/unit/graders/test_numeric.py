"""Numbers as they are written, compared within a tolerance."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from common.graders.checks.numbers import Notation, numbers
from common.graders.registry import grade
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def numeric(**changes: Any) -> Grader:
    return GRADER.validate_python({"type": "numeric", "name": "n", "reference": 42, **changes})


def read(text: str, **notation: Any) -> list[Decimal]:
    return list(numbers(text, Notation(**notation)))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,234.5", ["1234.5"]),
        ("1 234.5 and 1\u202f234", ["1234.5", "1234"]),
        ("1'234'567 or 1_000", ["1234567", "1000"]),
        ("The answer is $1,234.50.", ["1234.5"]),
        ("-$5 $-5 \u22127 km US$5 5km/h 5 m² 30% 3rd", ["-5", "-5", "-7", "5", "5", "5", "30", "3"]),
        ("3/4, 1 3/4, 1½ and ½", ["0.75", "1.75", "1.5", "0.5"]),
        ("6.02e23 6.02 × 10^23 6.02×10²³ 3*10**8 2 \\times 10^{-3}", ["6.02e23", "6.02e23", "6.02e23", "3e8", "0.002"]),  # noqa: RUF001
        ("2 million, 1.5 Thousand", ["2e6", "1500"]),
        ("\\boxed{42} **43** x=-44 y = - 45 (46) '47' `48`", ["42", "43", "-44", "-45", "46", "47", "48"]),
        ("5\u201310 and 2020-2021", ["5", "10", "2020", "2021"]),
        (".5 -.5 ٣٤", ["0.5", "-0.5", "34"]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, values: list[str]) -> None:
    """Signs, thousands, fractions, powers of ten, units, mark-up and ranges."""
    assert read(text) == [Decimal(value) for value in values]


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3",
        "1,23",
        "1,000,00",
        "3/4/2024",
        "2024-01-05",
        "10²",
        "10**3",
        "H2O",
        "GPT-4",
        "3x4",
        "0x1F",
        "1/0",
        "1e9999999",
        "1e5e5",
    ],
)
def test_what_is_no_number_is_not_read_in_part(text: str) -> None:
    """Versions, dates, identifiers, powers and the like have digits in them and are no numbers."""
    assert read(f"It is {text}.") == []


def test_the_decimal_sign_decides() -> None:
    """The same digits mean a thousand times more or less, or nothing, by the notation that was agreed."""
    assert read("1.234,5 and 1 234,5", decimal=",") == [Decimal("1234.5")] * 2
    assert read("1,234.5", decimal=",") == []
    assert (read("1.234"), read("1.234", decimal=",")) == ([Decimal("1.234")], [Decimal(1234)])


def test_listed_units_only() -> None:
    """With a list, a number with anything else glued to it is not looked at; units before the number count as well."""
    assert read("5kg 6km EUR7 8m² 9", units=["km", "EUR", "m²"]) == [Decimal(6), Decimal(7), Decimal(8), Decimal(9)]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_a_number_written_is_the_number_read(number: Decimal) -> None:
    """With separators for thousands, with a decimal comma, and in scientific notation."""
    grouped = f"{number:,f}"
    assert read(grouped) == [number]
    assert read(grouped.translate(str.maketrans(",.", ".,")), decimal=",") == [number]
    assert read(f"About {number:e} units.") == [number]


@given(st.text(alphabet="0123456789.,'_ -+e/^&x×$%km½²=", max_size=300))  # noqa: RUF001
def test_any_text_has_finite_numbers(text: str) -> None:
    """Nothing raises, overflows or becomes infinite."""
    assert all(number.is_finite() for notation in ".," for number in read(text, decimal=notation))


async def test_near_is_right(context: Callable[..., GradeContext]) -> None:
    """The larger of both tolerances counts, and tenths are tenths."""
    for changes, output, score in [
        ({}, "It is 42.", 1),
        ({}, "It is 42.0001.", 0),
        ({"reference": 1.0, "absolute_tolerance": 0.1}, "1.1", 1),
        ({"reference": 1.0, "absolute_tolerance": 0.1}, "1.1000000000000001", 0),
        ({"reference": -200, "relative_tolerance": 0.01}, "-198", 1),
        ({"reference": -200, "relative_tolerance": 0.01, "absolute_tolerance": 3}, "-197", 1),
        ({"reference": 1e308}, "1e999999", 0),
        ({"reference": 0, "relative_tolerance": 1.0}, "0.1", 0),
    ]:
        verdict = await grade(numeric(**changes), context(output=output))
        assert (verdict.score, verdict.passed, verdict.unscored) == (score, bool(score), None), (changes, output)
        assert verdict.reason


async def test_which_number_is_meant(context: Callable[..., GradeContext]) -> None:
    """Several different numbers are no answer unless the first or the last is asked for; one said twice is one."""
    output = "First 7, then 42."
    found = {which: (await grade(numeric(extract=which), context(output=output))).score for which in ("only", "first", "last")}
    assert found == {"only": 0, "first": 0, "last": 1}
    assert (await grade(numeric(), context(output="42, so the answer is 42.00"))).score == 1
    verdict = await grade(numeric(), context(output="1, 2, 3, 4, 5, 6"))
    assert verdict.reason == "there are 6 numbers: 1, 2, 3, 4, 5 …"
    none = await grade(numeric(), context(output="forty-two"))
    assert (none.score, none.reason) == (0, "there is no number")


@pytest.mark.parametrize(
    ("answer", "score"), [(1.5, 1), ("1,5", 1), ("1,5 kg", 1), ("1.5", None), ("none", None), (True, None), ("1; 2", None)]
)
async def test_references_come_from_items(context: Callable[..., GradeContext], *, answer: Any, score: float | None) -> None:
    """A JSON number is itself, whatever the notation; a text is read like the sample, and without a number says nothing."""
    grader = numeric(reference="{{item.answer}}", decimal=",")
    verdict = await grade(grader, context(output="1,5", item={"answer": answer}))
    assert verdict.score == score
    assert (verdict.unscored is None) or verdict.unscored.code == "reference_not_number"


async def test_long_texts_are_not_read(context: Callable[..., GradeContext]) -> None:
    """There is a limit, and beyond it no score."""
    verdict = await grade(numeric(), context(output="4" * 100_001))
    assert verdict.unscored is not None
    assert verdict.unscored.code == "text_too_long"


def test_tolerances_are_not_negative() -> None:
    """A tolerance below 0, or one that is no number, is refused."""
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            numeric(absolute_tolerance=wrong)


@given(st.from_regex(r"\s{0,2}[+-]?[0-9]{1,45}(\.[0-9]{1,45})?\s{0,2}", fullmatch=True), st.sampled_from(".,"))
def test_number_alone_is_read_as_among_words(text: str, decimal: str) -> None:
    """A text that is nothing but a number says the same number as one with a word beside it."""
    notation = Notation(decimal)
    assert list(numbers(text, notation)) == list(numbers(f"{text} it is", notation))
