"""Numbers as a reader wants them. What is unknown says so; it is never shown as 0."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "unknown"
ABSENT = "\N{EN DASH}"
_CENT_MICROUSD = 10_000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def cost(microusd: int | None) -> str:
    """US dollars: cents from a cent on, else four significant decimals, ``unknown`` for None."""
    if microusd is None:
        return UNKNOWN
    dollars = microusd / 1_000_000
    if microusd == 0 or microusd >= _CENT_MICROUSD:
        return f"${dollars:,.2f}"
    return f"${dollars:.6f}".rstrip("0")


def count(number: int) -> str:
    """A whole number with thousands separated."""
    return f"{number:,}"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage; 100 % and 0 % only where they are exact."""
    if share is None:
        return ABSENT
    if 0 < share < 0.0005:  # noqa: PLR2004 - half of the last shown decimal
        return "<0.1 %"
    if 0.9995 <= share < 1:  # noqa: PLR2004 - the same at the other end
        return ">99.9 %"
    return "0 %" if share == 0 else "100 %" if share == 1 else f"{share * 100:.1f} %"


def score(value: float | None, *, span: float = 1.0) -> str:
    """A score with as many decimals as the width of its range deserves."""
    if value is None:
        return ABSENT
    decimals = 3 if span <= 1 else 2 if span <= 20 else 1  # noqa: PLR2004 - three digits that matter
    text = f"{value:.{decimals}f}"
    return "0" + text[2:] if float(text) == 0 and text.startswith("-") else text


def signed(value: float | None, *, span: float = 1.0) -> str:
    """A difference of scores, with its sign; an exact or rounded 0 has none."""
    return ABSENT if value is None else _with_sign(value, score(abs(value), span=span))


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign: +3.1."""
    return ABSENT if share is None else _with_sign(share, f"{abs(share) * 100:.1f}")


def p_value(p: float | None) -> str:
    """A p-value to three decimals; a smaller one is said to be smaller, never 0."""
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - the last shown decimal


def _with_sign(value: float, size: str) -> str:
    if not float(size.replace(",", "")):
        return size
    return ("+" if value > 0 else "\N{MINUS SIGN}") + size


def bound(value: float) -> str:
    """An end of a range, as written: 0, 0.5, 10."""
    return f"{value:g}"


def moment(unix_s: int | None) -> str:
    """A point in time, in UTC to the second."""
    return ABSENT if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(unix_s: int | None) -> str:
    """The same for machines."""
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def duration(seconds: int | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return ABSENT
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min {seconds % _MINUTE_S} s"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"
    return f"{seconds // _DAY_S} d {seconds % _DAY_S // _HOUR_S} h"
