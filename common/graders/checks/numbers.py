"""Numbers as people and models write them: signs, thousands, fractions, powers of ten, units.

Read are ``1,234.5``, ``1 234.5``, ``1'234.5`` (with a decimal comma ``1.234,5`` and so on), ``.5``, ``3/4``, ``1 3/4``, ``1½``,
``6.02e23``, ``6.02 * 10^23`` in its many spellings, ``2 million``, ``-$5``, ``5km/h``, with any of Unicode's minus signs and
digits. What looks like a number and is none is left out as a whole, never read in part: ``1.2.3``, ``1,23``, ``3/4/2024``,
``10²``, ``H2O``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Every operation is rounded to 100 digits, and no exponent that can be written here reaches a limit: nothing overflows.
_ARITHMETIC = Context(prec=100, Emax=10**9, Emin=-(10**9), traps=[])
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_FRACTIONS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
        **{sign: f" {fraction}" for sign, fraction in _FRACTIONS.items()},
        "\u2019": "'",
        "\u2044": "/",
    }
)
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_POWER = re.compile(r"(?<=\d)\*\*(?=[+-]?\d)")
_TIMES_TEN = re.compile(r"(?<=\d) ?(?:[x\u00d7*·⋅]|\\times|\\cdot) ?10\^(?:\{([+-]?\d+)\}|([+-]?\d+))")
_THOUSANDS = re.compile(r"(?<![\w.,'/])\d{1,3}(?: \d{3})+(?![\d/])")
_MIXED = re.compile(r"(?<![\w.,'/])(\d+) +(\d+/\d+)(?![\d/])")
_SCALE = re.compile(rf"(?<=\d) ({'|'.join(_SCALES)})\b", re.IGNORECASE)
_SET_APART = re.compile(r"(?<=[=≈:]) ?- (?=[\d.])")
_ALONE = re.compile(r"\s*([+-]?[0-9]{1,40})(?:\.([0-9]{1,40}))?\s*")  # what most numeric answers are: no need to look further
_WORD = re.compile(r"""[^\s=:;<>|(){}\[\]"“”„«»`\\~≈±*…—!?]+""")
_RANGE = re.compile(r"(?<=[\d%])-(?=\d)")
_UNIT = r"(?:(?!e[+-]?\d)(?:[^\W\d_]|[%$]|[^\x00-\x7f\w])(?:[^\W\d_]|[%$/]|[^\x00-\x7f\w])*(?:\^-?\d)?)?"
_AROUND = r"(?P<sign>[+-]?)(?P<lead>[^\d+.,'/-]*)(?P<late>[+-]?)(?:{number})(?:e(?P<power>[+-]?\d{{1,6}}))?(?P<unit>{unit})"


def _notation(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = rf"\d{{1,3}}(?:(?P<group>[{thousands}'_])\d{{3}})(?:(?P=group)\d{{3}})*|\d+"
    number = rf"(?:(?P<mixed>\d+)&)?(?P<over>\d+)/(?P<under>\d+)|(?P<whole>{whole})?(?:{decimal}(?P<part>\d+))?"
    return re.compile(_AROUND.format(number=number, unit=_UNIT), re.IGNORECASE)


_NOTATIONS = {".": _notation(r"\.", ","), ",": _notation(",", r"\.")}


@dataclass(frozen=True, slots=True)
class Notation:
    """``decimal`` is "." or ",". ``units`` are those that may be glued to a number; None: any, but no letters before it."""

    decimal: str = "."
    units: Collection[str] | None = None


def numbers(text: str, notation: Notation) -> Iterator[Decimal]:
    """Every number in `text`, in order. Takes time linear in the text; a power of ten beyond six digits makes no number."""
    if (alone := _ALONE.fullmatch(text)) and (notation.decimal == "." or not alone[2]):
        yield _ARITHMETIC.create_decimal(f"{alone[1]}.{alone[2] or '0'}")
        return
    units = None if notation.units is None else frozenset(_plain(unit).strip() for unit in notation.units)
    for word in _WORD.findall(_plain(text)):
        trimmed = word.strip("'_").rstrip(".,'")
        parts = _RANGE.split(trimmed, maxsplit=2)
        found = [_number(part, notation.decimal, units) for part in parts]
        if len(parts) == 1 or (len(parts) == 2 and None not in found):  # noqa: PLR2004  # a range has two ends
            yield from (number for number in found if number is not None)


def within(number: Decimal, reference: Decimal, *, absolute: float, relative: float) -> bool:
    """Whether `number` is no further from `reference` than the larger of `absolute` and `relative` times the reference."""
    tolerance = max(exactly(absolute), _ARITHMETIC.multiply(exactly(relative), reference.copy_abs()))
    return _ARITHMETIC.subtract(number, reference).copy_abs() <= tolerance


def exactly(number: float) -> Decimal:
    """`number` as it is written: 0.1 is one tenth."""
    return _ARITHMETIC.create_decimal(number if isinstance(number, int) else repr(number))


def _plain(text: str) -> str:
    """`text` with one spelling for what has several, and with what belongs together written together."""
    text = _SUPERSCRIPT.sub(lambda raised: "^" + raised[0].translate(_RAISED), text.translate(_SAME))
    text = _TIMES_TEN.sub(lambda power: f"e{power[1] or power[2]}", _POWER.sub("^", text))
    text = _MIXED.sub(r"\1&\2", text)
    text = _THOUSANDS.sub(lambda grouped: grouped[0].replace(" ", "'"), text)
    return _SET_APART.sub("-", _SCALE.sub(r"\1", text))


def _number(word: str, decimal: str, units: frozenset[str] | None) -> Decimal | None:
    found = _NOTATIONS[decimal].fullmatch(word)
    if found is None or not (found["whole"] or found["part"] or found["over"]) or (found["sign"] and found["late"]):
        return None
    scale = _SCALES.get(found["unit"].lower())
    if not _fits(found["lead"], "" if scale else found["unit"], units):
        return None
    value = _value(found)
    if value is None:
        return None
    scaled = _ARITHMETIC.scaleb(value, int(found["power"] or 0) + (scale or 0))
    return scaled.copy_negate() if "-" in (found["sign"], found["late"]) else scaled


def _fits(lead: str, unit: str, units: frozenset[str] | None) -> bool:
    if units is not None:
        return all(not each or each in units for each in (lead, unit))
    return lead.endswith("$") or not any(letter.isalpha() or letter == "_" for letter in lead)


def _value(found: re.Match[str]) -> Decimal | None:
    if found["over"] is None:
        whole = re.sub(r"\D", "", found["whole"] or "0")
        return _ARITHMETIC.create_decimal(f"{whole}.{found['part'] or '0'}")
    over, under, mixed = (_ARITHMETIC.create_decimal(found[name] or "0") for name in ("over", "under", "mixed"))
    return _ARITHMETIC.add(mixed, _ARITHMETIC.divide(over, under)) if under else None
