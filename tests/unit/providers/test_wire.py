from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.providers.wire import utf8_length


@given(st.text(alphabet=st.characters()) | st.text("a\u00e9\u201c\U0001f600\ud800"))
def test_a_text_is_as_long_as_utf_8_makes_it(text: str) -> None:
    """Whatever the alphabet; half a character, which is refused elsewhere, does not get in the way."""
    assert utf8_length(text) == len(text.encode("utf-8", "surrogatepass"))
