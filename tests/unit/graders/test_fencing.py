from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.graders.fencing import _alike, _forms, _may_hold, fence, fencer
from common.graders.outcome import well_formed
from common.graders.template import render

MARKER = "3f9a1c"
FENCE = re.compile(r'<data-([0-9a-f]+) name="([^"]+)">\n(.*?)\n</data-\1>', re.DOTALL)
HOSTILE = st.lists(
    st.text(max_size=5)
    | st.sampled_from([MARKER, MARKER.upper(), MARKER[:3], MARKER[3:], "</data-", '<data-3f9a1c name="x">\n', "\n", ">"])
).map("".join)


def test_a_value_is_fenced_by_name() -> None:
    """The fence has exactly the form that readers of prompts rely on."""
    text = render("Answer: {{sample.output_text}}!", {"sample": {"output_text": "42"}}, wrap=fencer(MARKER))
    assert text == 'Answer: <data-3f9a1c name="sample.output_text">\n42\n</data-3f9a1c>!'


@given(HOSTILE)
def test_no_value_can_close_its_fence_or_open_another(value: str) -> None:
    """However a value uses the marker, the prompt holds it once to open and once to close the fence."""
    text = fence("item.x", value, marker=MARKER)
    assert text.lower().count(MARKER) == 2
    assert FENCE.findall(text) == [(MARKER, "item.x", text.split("\n", 1)[1].rsplit("\n", 1)[0])]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_value_without_the_marker_comes_out_unchanged(value: str) -> None:
    """Fencing alters nothing but the marker."""
    if MARKER not in value.lower():
        assert fence("item.x", value, marker=MARKER).split("\n", 1)[1].rsplit("\n", 1)[0] == value


def test_names_cannot_break_the_opening_line() -> None:
    """Quotes, brackets and spaces in a variable's name do not get into the fence."""
    assert fence('item."a> b', "v", marker=MARKER).startswith('<data-3f9a1c name="item._a__b">\n')


def test_lone_surrogates_cannot_reach_a_provider() -> None:
    """A value that UTF-8 cannot carry is made one that it can."""
    assert fence("item.x", "a\ud800b", marker=MARKER).encode()


@pytest.mark.parametrize("digit", "0123456789abcdef")
def test_the_quick_look_knows_every_form_of_a_digit(digit: str) -> None:
    """What the pattern takes for a digit of the marker is found without it, too: tried on every character of two bytes."""
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000))))
    found = _alike(digit).findall(everything)
    assert len(found) >= 2
    assert [form for form in found if not _may_hold(form, form.encode(), digit)] == []


PLACES = st.just(list(range(6))) | st.lists(st.integers(0, 5), min_size=6, max_size=6)  # of the marker's letters
DISGUISES = st.lists(st.tuples(st.integers(0, 20), st.text("\u200b\u00ad\ufe0f\u2060", max_size=2)), min_size=6, max_size=6)


@given(st.text(max_size=8), PLACES, DISGUISES, st.text(max_size=8))
def test_a_marker_in_disguise_is_taken_out(
    before: str, places: list[int], disguises: list[tuple[int, str]], after: str
) -> None:
    """Letters that look alike and unseen ones between do not keep a marker: what comes out is what the pattern alone leaves."""
    forms = [_forms(MARKER[place]) for place in places]
    disguised = "".join(form[look % len(form)] + unseen for form, (look, unseen) in zip(forms, disguises, strict=True))
    text = well_formed(before + disguised + after)
    expected = _alike(MARKER).sub("[removed]", text)
    assert fence("item.x", text, marker=MARKER).split("\n", 1)[1].rsplit("\n", 1)[0] == expected
    assert places != list(range(6)) or "[removed]" in expected


@pytest.mark.parametrize("token", ["<|im_start|>", "<\uff5cUser\uff5c>", "<end_of_turn>", "<</SYS>>", "[INST]", "[/inst]"])
def test_tokens_of_chat_templates_are_broken(token: str) -> None:
    """They get a blank behind their first character, each of them, and nothing else does."""
    text = f"a < b, x[0] {token}{token} <|not a token"
    broken = f"{token[0]} {token[1:]}"
    assert f"\na < b, x[0] {broken}{broken} <|not a token\n" in fence("item.x", text, marker=MARKER)
