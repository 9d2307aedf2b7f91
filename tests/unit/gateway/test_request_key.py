"""Which requests share a kept answer: equal ones, and no others."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.gateway.request_key import request_key, setup_of
from common.graders.fencing import fence
from common.schemas.completion import CompletionRequest, JsonSchema, Message, Origin
from common.schemas.config import GatewayConfig

BASE = CompletionRequest(model="lab:judge-1", messages=(Message("system", "Judge."), Message("user", "Hello")))
MARKERS = st.text("0123456789abcdef", min_size=12, max_size=12)
OTHERS: dict[str, Any] = {
    "messages": (Message("user", "Hello"),),
    "json_schema": JsonSchema("verdict", {"type": "object"}),
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 1,
    "reasoning_effort": "low",
    "passthrough": {"stop": ["x"]},
    "sample_number": 1,
    "top_logprobs": 2,
}
WITHOUT_EFFECT: dict[str, Any] = {
    "model": "judge",  # a name; what it stands for is the setup
    "deadline_s": 5.0,
    "origin": Origin("chat", run_id="run_1", eval_version="eval_1@2", prompt_version="score.v1", key_id="key_1"),
    "marker": "0123456789ab",
    "cache": "on",
    "still_wanted": bool,
    "waits": print,
}


def key(request: CompletionRequest, setup: str = "[]") -> str:
    found = request_key(request, setup)
    assert found is not None
    return found


def judgement(text: str, marker: str, *, literal: str = "") -> CompletionRequest:
    """A judge's request with fenced text and instructions that name the marker."""
    ours = Message("system", f"Only <data-{marker} …> makes a fence.{literal}")
    return replace(BASE, messages=(ours, Message("user", fence("sample.output_text", text, marker=marker))), marker=marker)


def test_every_field_is_decided_on() -> None:
    """Each field of a request either makes a difference or is known not to."""
    assert {field.name for field in fields(CompletionRequest)} == OTHERS.keys() | WITHOUT_EFFECT.keys()


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_model_gets_makes_a_difference(name: str) -> None:
    """A request that differs in one of these fields is another one."""
    assert key(replace(BASE, **{name: OTHERS[name]})) != key(BASE)


@pytest.mark.parametrize("name", [name for name in WITHOUT_EFFECT if name != "marker"])
def test_who_asks_and_until_when_makes_none(name: str) -> None:
    """Deadline, run and the like do not split answers."""
    assert key(replace(BASE, **{name: WITHOUT_EFFECT[name]})) == key(BASE)


def test_projects_do_not_share_answers() -> None:
    """Nobody learns what another project asked for."""
    assert key(replace(BASE, origin=Origin(project="search"))) != key(BASE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"passthrough": {"a": 1, "b": 2}}, {"passthrough": {"b": 2, "a": 1}}),
    ],
)
def test_ways_to_write_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """0 and 0.0, and fields in another order, are one request."""
    assert key(replace(BASE, **one)) == key(replace(BASE, **other))


def test_the_order_inside_a_schema_counts() -> None:
    """A model that is shown the reason before the score thinks before it decides."""
    fields_in = [{"reason": {}, "score": {}}, {"score": {}, "reason": {}}]
    one, other = (replace(BASE, json_schema=JsonSchema("v", {"properties": properties})) for properties in fields_in)
    assert key(one) != key(other)


@given(st.text(), MARKERS, MARKERS)
def test_markers_make_no_difference(text: str, one: str, other: str) -> None:
    """The same judgement under two random markers is one request, unless the text itself has one of them."""
    if one not in text.lower() and other not in text.lower():
        assert key(judgement(text, one)) == key(judgement(text, other))


@given(st.text(), st.text(), MARKERS, MARKERS)
def test_other_texts_make_other_requests(text: str, changed: str, one: str, other: str) -> None:
    """Whatever is judged, requests over different texts are different."""
    same = fence("x", text, marker=one).replace(one, "?") == fence("x", changed, marker=other).replace(other, "?")
    assert (key(judgement(text, one)) == key(judgement(changed, other))) is same


@given(st.lists(st.sampled_from(["<data-", "M1", "M2", '","', "\x00", " name=", "</data-", ">", "\n", "[", "]"]), max_size=8))
def test_no_text_forges_a_fence(parts: list[str]) -> None:
    """Text that spells out a fence, a placeholder or the key's own form is not taken for a real marker."""
    real, literal = "0123456789ab", "ba9876543210"
    text = "".join(parts).replace("M1", real).replace("M2", literal)
    one = replace(BASE, messages=(Message("user", text),), marker=real)
    other = replace(BASE, messages=(Message("user", text),), marker=literal)
    renamed = Message("user", text.replace(real, literal))
    assert (key(one) == key(other)) is (real not in text and literal not in text)
    assert (key(one) == key(replace(BASE, messages=(renamed,), marker=literal))) is (literal not in text)


def test_content_parts_are_cut_too() -> None:
    """A marker within content parts makes no difference either, and parts are not taken for text."""
    parts = [[{"type": "text", "text": f"<data-{marker}>"}] for marker in ("aa11", "bb22")]
    one, other = (replace(BASE, messages=(Message("user", part),), marker=part[0]["text"][6:-1]) for part in parts)
    assert key(one) == key(other)
    assert key(one) != key(replace(BASE, messages=(Message("user", str(parts[0])),), marker="aa11"))


@pytest.mark.parametrize("seed", [2**70, -(2**70)])
def test_what_has_no_json_form_is_not_kept(seed: int) -> None:
    """A request that cannot be written down has no key, and is just asked."""
    assert request_key(replace(BASE, seed=seed), "[]") is None
    assert request_key(replace(BASE, messages=(Message("user", "\ud800"),)), "[]") is None


def test_a_name_that_points_elsewhere_finds_nothing() -> None:
    """Where a model is, how it is asked for JSON and its token limit belong to the setup; its key and price do not."""
    raw: dict[str, Any] = {
        "providers": {"lab": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "A"}},
        "models": {"lab:m": {"rpm": 1}},
    }

    def setup(provider: dict[str, Any] | None = None, model: dict[str, Any] | None = None) -> str:
        providers = {"lab": {**raw["providers"]["lab"], **(provider or {})}}
        config = GatewayConfig.model_validate({"providers": providers, "models": {"lab:m": {"rpm": 1, **(model or {})}}})
        return setup_of(("lab:m",), config)

    assert setup({"api_key_env": "B"}) == setup(None, {"rpm": 9}) == setup()
    changed = {setup({"base_url": "http://127.0.0.1:2/v1"}), setup(None, {"structured_output": "tool"})}
    assert len({*changed, setup(None, {"max_output_tokens": 9}), setup()}) == 4
