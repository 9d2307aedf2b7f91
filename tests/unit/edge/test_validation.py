from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from common.edge.validation import parse, parse_query, validate
from common.errors import InvalidInput
from common.schemas.base import Model
from common.schemas.evaluation import EvaluationRequest

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text() | st.sampled_from(["type", "graders", "item", "name"]), children)
    ),
    max_leaves=20,
)


class Leaf(Model):
    kind: Literal["leaf"]
    weight: float


class Branch(Model):
    kind: Literal["branch"]
    children: list[Annotated[Leaf | Branch, Field(discriminator="kind")]]


class Sized(Model):
    path: str = Field("item.x", pattern=r"^item\.")
    name: str = Field("x", min_length=1)
    rows: list[int] = Field([], max_length=2)


class Query(Model):
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "asc"


def refusal(action: Callable[[], Any]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        action()
    return caught.value


def resolve(pointer: str, document: Any) -> Any:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        (b"", "", "not valid JSON"),
        (b"\xff", "", "not valid JSON"),
        (b"[" * 5000, "", "recursion limit"),
        (b"5", "", "the body: expected an object"),
        (b'{"kind": "branch"}', "/children", "is required"),
        (b'{"kind": "branch", "children": [{"kind": "leaf"}]}', "/children/0/weight", "is required"),
        (b'{"kind": "branch", "children": [{"weight": 1}]}', "/children/0/kind", "is required"),
        (b'{"kind": "branch", "children": [{"kind": "twig"}]}', "/children/0/kind", "one of 'leaf', 'branch', got 'twig'"),
        (b'{"kind": "branch", "children": [], "a/b": 1}', "/a~1b", "not a known field"),
        (b'{"kind": "branch", "children": [], "a~b": 1}', "/a~0b", "not a known field"),
        (b'{"kind": "branch", "children": [{"kind": "leaf", "weight": NaN}]}', "", "not valid JSON"),
        (b'{"kind": "branch", "children": [{"kind": "leaf", "weight": Infinity}]}', "", "not valid JSON"),
        (b'{"kind": "branch", "children": [{"kind": "leaf", "weight": 1e999}]}', "/children/0/weight", "a finite number"),
        (b'{"kind": "branch", "children": [{"kind": "leaf", "weight": "1"}]}', "/children/0/weight", "a valid number"),
        (b'{"kind": "branch", "children": [{"kind": "leaf", "weight": true}]}', "/children/0/weight", "a valid number"),
    ],
)
def test_errors_point_at_the_field(body: bytes, pointer: str, said: str) -> None:
    """Every kind of mistake gives the pointer of its field and says what was expected there."""
    error = refusal(lambda: parse(body, Branch))
    assert error.pointer == pointer
    assert said in error.message


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"path": "x"}, "/path: expected a string that matches ^item\\."),
        ({"name": ""}, "/name: expected at least 1 character"),
        ({"rows": [1, 2, 3]}, "/rows: expected at most 2 items, got 3"),
    ],
)
def test_lengths_and_patterns_are_told_like_the_rest(document: dict[str, Any], said: str) -> None:
    """What was expected comes first, whatever kind of thing it was expected of."""
    assert refusal(lambda: validate(document, Sized)).message == said


def test_what_other_systems_wrote_may_be_read_less_strictly() -> None:
    """A number that came as text is taken where the caller asks for that, and only there."""
    assert parse(b'{"kind": "leaf", "weight": "1"}', Leaf, strict=False) == Leaf(kind="leaf", weight=1)


def test_the_word_nan_in_a_text_is_fine() -> None:
    """Only numbers that JSON lacks are refused, not texts that mention them."""
    assert parse(b'{"text": "NaN and Infinity"}', dict[str, str]) == {"text": "NaN and Infinity"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("long", [json.dumps("a" * 100_000), json.dumps([1] * 50_000)])
@pytest.mark.parametrize("where", ['{"item": {"rows": %s, "x": [{"y": %s}]}', '{"sample": {"text": %s, "x": %s}'])
def test_what_json_lacks_is_found_in_long_bodies_too(number: str, long: str, where: str) -> None:
    """However long a body is, and of however many values, a number that JSON lacks is refused wherever any value may stand."""
    graders = '"graders": [{"type": "string_check", "name": "a", "operation": "eq", "input": "", "reference": "NaN Infinity"}]'
    body = f"{where}, {graders}}}"
    assert "not valid JSON" in refusal(lambda: parse((body % (long, number)).encode(), EvaluationRequest)).message
    assert parse((body % (long, "1.5")).encode(), EvaluationRequest).graders


@pytest.mark.parametrize(
    ("content", "pointer", "said"),
    [
        ('[{"type": "input_image"}]', "/0/type", "expected 'input_text' or 'output_text'"),
        ("5", "", "expected a valid string, or an object, or a valid array"),
        ('{"type": "input_text"}', "/text", "is required"),
    ],
)
def test_unions_tell_what_was_most_likely_meant(content: str, pointer: str, said: str) -> None:
    """Of a union's members the one that fits in kind is explained; when none does, all are named."""
    messages = f'[{{"role": "user", "content": {content}}}]'
    grader = f'{{"type": "score_model", "name": "a", "model": "m", "input": {messages}}}'
    error = refusal(lambda: parse(f'{{"graders": [{grader}]}}'.encode(), EvaluationRequest))
    assert error.pointer == f"/graders/0/input/0/content{pointer}"
    assert error.message.endswith(said)


def test_long_values_are_not_echoed() -> None:
    """What a caller sent does not come back at length, wherever it stood."""
    secret = "hunter2" * 200
    for document in ({"kind": secret}, {"kind": "branch", "children": [{"kind": secret}]}, {"kind": "branch", secret: 1}):
        error = refusal(lambda document=document: parse(json.dumps(document).encode(), Branch))
        assert len(error.message) < 500
        assert len(error.pointer or "") <= 300


def test_queries_are_checked_like_bodies() -> None:
    """Query parameters become their types; a wrong or unknown one is named."""
    assert parse_query({"limit": "5"}, Query) == Query(limit=5)
    assert refusal(lambda: parse_query({"limit": "many"}, Query)).pointer == "/limit"
    assert refusal(lambda: parse_query({"limit": "101"}, Query)).pointer == "/limit"
    assert refusal(lambda: parse_query({"page": "1"}, Query)).pointer == "/page"


def test_data_inside_a_document_keeps_its_place() -> None:
    """Errors in parsed data are told from the root of the document that it came in."""
    assert validate({"limit": 3}, Query, pointer="/data") == Query(limit=3)
    assert refusal(lambda: validate({"limit": []}, Query, pointer="/data")).pointer == "/data/limit"


@given(JSON)
def test_any_json_is_taken_or_refused_with_a_place(document: Any) -> None:
    """Whatever JSON comes, it is valid or refused; the pointer's parent is really in the document."""
    pointer = None
    try:
        parse(json.dumps(document).encode(), EvaluationRequest)
    except InvalidInput as error:
        pointer = error.pointer or ""
    if pointer:
        resolve(pointer.rpartition("/")[0], document)


@given(st.binary())
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    """No bytes make the parser fail in another way."""
    with contextlib.suppress(InvalidInput):
        parse(body, EvaluationRequest)
