from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.aggregate.pages.legible import legible, one_line

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a[U+202E]b"),
        ("\0", "[U+0000]"),
        ("\x1b[31m", "[U+001B][31m"),
        ("zero\u200bwidth", "zero[U+200B]width"),
        ("\ud800", "[U+D800]"),
        ("\U000e0041", "[U+E0041]"),
        ("tab\tand\r\nline", "tab\tand\nline"),
        ("שלום, 你好, 👩‍🔬", "שלום, 你好, 👩‍🔬"),
    ],
)
def test_what_misleads_the_eye_is_spelled_out(text: str, shown: str) -> None:
    """Bidirectional and control characters show as code points; every real script stays as it is."""
    assert legible(text, limit=100).text == shown


@given(ANY_TEXT, st.integers(1, 250))
def test_any_text_becomes_bounded_and_printable(text: str, limit: int) -> None:
    """Whatever comes in, what is shown is valid UTF-8, has no control but tab and newline, and says when it is cut."""
    shown = legible(text, limit=limit)
    shown.text.encode()
    assert not {c for c in shown.text if unicodedata.category(c) in {"Cc", "Cs"}} - {"\t", "\n"}
    assert len(shown.text) <= limit * len("[U+10FFFF]")
    assert shown.cut == (len(text) > limit)
    assert shown.length == len(text)


@given(ANY_TEXT, st.integers(1, 50))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    """A preview never breaks a line, whatever the text holds."""
    assert len(one_line(text, limit=limit).splitlines()) <= 1


def test_a_megabyte_costs_no_more_than_its_head() -> None:
    """A huge text is shown by its first characters, with its true length beside them."""
    shown = legible("x" * 1_000_000, limit=100)
    assert (len(shown.text), shown.length, shown.cut) == (100, 1_000_000, True)
    assert one_line("word " * 300_000, limit=20) == "word word word word…"
