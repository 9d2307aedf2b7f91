from __future__ import annotations

import pytest

from functions.aggregate.pages import amounts


@pytest.mark.parametrize(
    ("microusd", "shown"),
    [(None, "unknown"), (0, "$0.00"), (1, "$0.000001"), (9_900, "$0.0099"), (10_000, "$0.01"), (1_234_567_890, "$1,234.57")],
)
def test_cost(microusd: int | None, shown: str) -> None:
    """A cost is exact where it is small, in cents where it is not, and never 0 when it is unknown."""
    assert amounts.cost(microusd) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.00001, "<0.1 %"),
        (0.99999, ">99.9 %"),
        (0.5, "50.0 %"),
        (2 / 3, "66.7 %"),
    ],
)
def test_percent(share: float | None, shown: str) -> None:
    """0 % and 100 % stand only where they are exact."""
    assert amounts.percent(share) == shown


@pytest.mark.parametrize(
    ("value", "span", "shown"),
    [
        (None, 1, "\N{EN DASH}"),
        (0.8125, 1, "0.812"),
        (7.4213, 9, "7.42"),
        (87.31, 100, "87.3"),
        (-0.0001, 1, "0.000"),
        (-0.5, 2, "-0.50"),
    ],
)
def test_score(value: float | None, span: float, shown: str) -> None:
    """A score has as many decimals as its range deserves, and there is no minus zero."""
    assert amounts.score(value, span=span) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "\N{EN DASH}"), (0, "0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90000, "1 d 1 h")]
)
def test_duration(seconds: int | None, shown: str) -> None:
    """A length of time is told in its two largest units."""
    assert amounts.duration(seconds) == shown


def test_times_are_utc() -> None:
    """A moment reads the same everywhere, for people and for machines."""
    assert amounts.moment(1_700_000_000) == "2023-11-14 22:13:20 UTC"
    assert amounts.iso(1_700_000_000) == "2023-11-14T22:13:20+00:00"
    assert (amounts.moment(None), amounts.iso(None)) == ("\N{EN DASH}", "")


def test_counts_and_bounds() -> None:
    """Thousands are set apart, and an end of a range reads as it was written."""
    assert amounts.count(1234567) == "1,234,567"
    assert [amounts.bound(value) for value in (0.0, 0.5, 10.0)] == ["0", "0.5", "10"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "\N{EN DASH}"), (0.0312, "+0.031"), (-0.12, "\N{MINUS SIGN}0.120"), (0.0, "0.000"), (-0.0001, "0.000")],
)
def test_differences_have_a_sign(value: float | None, shown: str) -> None:
    """A difference shows its direction, and what rounds to nothing shows none."""
    assert amounts.signed(value) == shown


@pytest.mark.parametrize(("p", "shown"), [(None, "\N{EN DASH}"), (0.04987, "0.050"), (0.0, "<0.001"), (1.0, "1.000")])
def test_a_p_value_is_never_shown_as_zero(p: float | None, shown: str) -> None:
    """Small p-values are said to be small."""
    assert amounts.p_value(p) == shown
