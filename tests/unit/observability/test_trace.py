from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.observability.trace import child_of, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SHAPE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.mark.parametrize(
    "parent", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-the-future-will-bring"]
)
def test_children_stay_in_the_trace(parent: str) -> None:
    """Version 0, and later ones by their first four fields, are continued with a new span."""
    child = child_of(parent)
    assert child.startswith(f"00-{TRACE}-")
    assert SPAN not in child
    assert trace_id(child) == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_anything_else_starts_a_trace(parent: str | None) -> None:
    """What the specification calls invalid is not continued."""
    child = child_of(parent)
    assert SHAPE.fullmatch(child)
    assert trace_id(child) != TRACE


@given(st.text())
def test_children_are_always_valid(parent: str) -> None:
    """Whatever a header holds, the child is well formed."""
    assert SHAPE.fullmatch(child_of(parent))
