"""The quick check of rows against the full validator."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.jsonschemas import JsonSchema
from functions.tasks.evals.plainschema import plainly_fits

NAMES = st.sampled_from("abc")
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.text(max_size=2))
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3), max_leaves=6)


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keywords = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "additionalProperties": st.booleans(),
        "items": inner,
        "title": st.just("t"),
    }
    return st.fixed_dictionaries({}, optional=keywords)


SCHEMAS = st.recursive(st.just({}) | st.booleans(), schemas, max_leaves=6)


@given(schema=schemas(SCHEMAS), value=VALUES)
def test_what_fits_plainly_fits(schema: dict[str, Any], value: Any) -> None:
    """No value that the full validator refuses passes the quick check."""
    fits = plainly_fits(schema)
    if fits is not None and fits(value):
        assert JsonSchema(schema).faults(value) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a"},
        {"properties": {"a": {"minimum": 1}}},
        {"items": {"$ref": "#"}},
        {"additionalProperties": {"type": "string"}},
        {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}},
    ],
)
def test_other_schemas_are_left_to_the_validator(schema: dict[str, Any]) -> None:
    """A keyword that the quick check does not know makes it say nothing at all."""
    assert plainly_fits(schema) is None


def test_rows_of_strings_pass_quickly() -> None:
    """An object with the properties that are asked for fits, one without does not, nor one with others where it is closed."""
    fits = plainly_fits(
        {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
    )
    assert fits is not None
    assert [fits(row) for row in ({"q": "a"}, {"q": 1}, {}, {"q": "a", "x": 1}, [])] == [True, False, False, False, False]
