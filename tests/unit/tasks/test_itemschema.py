"""Schemas of items: what is refused, what is said, and that nothing is fetched."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput, Unsupported
from functions.tasks.evals.itemschema import ItemSchema

PLACE = {"where": "row 7", "pointer": "/source/content/6"}


def fails(schema: dict[str, Any], line: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        ItemSchema(schema).check_line(line, **PLACE)
    return caught.value


def test_what_does_not_fit_is_named() -> None:
    """The error says which row, which field and what was expected, and points there."""
    schema = {"properties": {"a/b": {"properties": {"c": {"type": "integer"}}}}}
    ItemSchema(schema).check_line({"item": {"a/b": {"c": 1}}, "sample": {"output_text": "x"}}, **PLACE)
    error = fails(schema, {"item": {"a/b": {"c": "x"}}})
    assert error.pointer == "/source/content/6/item/a~1b/c"
    assert error.message == "row 7: item/a~1b/c: 'x' is not of type 'integer'"
    assert fails({}, {"item": []}).pointer == "/source/content/6/item"
    assert fails({}, {"item": {}, "sample": "text"}).pointer == "/source/content/6/sample"
    assert fails({}, {"item": {}, "sample": {"output_text": 5}}).pointer == "/source/content/6/sample/output_text"
    ItemSchema({}).check_line({"item": {}, "sample": {"output_text": None, "tool": 5}}, **PLACE)


def test_long_values_are_not_echoed_whole() -> None:
    """A huge value does not come back in the error."""
    assert len(fails({"properties": {"a": {"type": "integer"}}}, {"item": {"a": "x" * 100_000}}).message) < 400


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "objekt"}, "/s/type"),
        ({"properties": {"a": {"pattern": "("}}}, "/s/properties/a/pattern"),
        ({"properties": {"a": 3}}, "/s/properties/a"),
    ],
)
def test_what_is_no_schema_is_refused(schema: dict[str, Any], pointer: str) -> None:
    """An invalid schema is refused at the place that is wrong."""
    with pytest.raises(InvalidInput) as caught:
        ItemSchema(schema, pointer="/s")
    assert caught.value.pointer == pointer


def test_references_stay_at_home() -> None:
    """References within the schema work; any other is refused, wherever it hides."""
    ItemSchema({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}})
    for keyword in ("$ref", "$dynamicRef"):
        with pytest.raises(Unsupported) as caught:
            ItemSchema({"allOf": [{"items": {keyword: "http://127.0.0.1:1/schema"}}]}, pointer="/s")
        assert caught.value.pointer == f"/s/allOf/0/items/{keyword}"


def test_schemas_that_never_end_are_the_callers_fault() -> None:
    """A reference to nothing, or to itself, is an error of the request and not of the server."""
    assert "cannot be applied" in fails({"$ref": "#/nowhere"}, {"item": {}}).message
    assert "cannot be applied" in fails({"$ref": "#"}, {"item": {}}).message
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"not": deep}
    with pytest.raises(InvalidInput):
        ItemSchema(deep)


def test_patterns_are_matched_in_linear_time() -> None:
    """A text that would keep a backtracking engine busy for hours is answered, and patterns mean what JSON Schema says."""
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    ItemSchema(schema).check_line({"item": {"a": "aaa"}}, **PLACE)
    assert fails(schema, {"item": {"a": "a" * 5000 + "!"}}).pointer == "/source/content/6/item/a"
    ItemSchema({"properties": {"a": {"pattern": "b"}}}).check_line({"item": {"a": "abc"}}, **PLACE)
    ItemSchema({"properties": {"a": {"pattern": "b"}}}).check_line({"item": {"a": 7}}, **PLACE)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "/s/properties/a/pattern"),
        ({"items": [{"pattern": r"(a)\1"}]}, "/s/items/0/pattern"),
        ({"patternProperties": {"^(a+)+$": {}}}, "/s/patternProperties"),
    ],
)
def test_patterns_without_a_bound_are_refused(schema: dict[str, Any], pointer: str) -> None:
    """What only a backtracking engine can match is refused when the eval is made, not when its data comes."""
    with pytest.raises(Unsupported) as caught:
        ItemSchema({"$schema": "http://json-schema.org/draft-07/schema#", **schema}, pointer="/s")
    assert caught.value.pointer == pointer


def test_numbers_beyond_64_bits_are_the_callers_fault() -> None:
    """A schema with a number that cannot be kept is an error of the request and not of the server."""
    with pytest.raises(InvalidInput):
        ItemSchema({"minimum": 10**400}, pointer="/s")


def test_digests_tell_schemas_apart() -> None:
    """The same schema in another order of keys has the same digest, another schema another one."""
    one = {"type": "object", "required": ["a"]}
    assert ItemSchema(one).digest == ItemSchema(dict(reversed(one.items()))).digest
    assert ItemSchema(one).digest != ItemSchema({"type": "object"}).digest


def test_work_is_bounded() -> None:
    """Alternatives that refer to each other, and lists whose entries must differ, take a bounded number of steps."""
    both = [{"$ref": "#/$defs/next"}, {"$ref": "#/$defs/next"}]
    looping = {"$defs": {"next": {"properties": {"a": {"anyOf": both}}, "required": ["b"]}}, "$ref": "#/$defs/next"}
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    assert "steps" in fails(looping, {"item": deep}).message
    unique = {"properties": {"a": {"uniqueItems": True}}}
    ItemSchema(unique).check_line({"item": {"a": [*({"n": n} for n in range(20_000)), 1, True, [1]]}}, **PLACE)
    assert fails(unique, {"item": {"a": [{"b": 1}, {"b": 1.0}]}}).pointer == "/source/content/6/item/a"


@pytest.mark.parametrize("pattern", ["(?:a{0,300}){0,300}b", "(?x) a # [", "a{2000}"])
def test_patterns_that_are_too_large_are_refused(pattern: str) -> None:
    """Counted repetitions are written out before they are counted, and nothing may hide them."""
    with pytest.raises(Unsupported):
        ItemSchema({"pattern": pattern})
