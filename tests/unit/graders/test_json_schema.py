"""Samples that must be JSON of a certain shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from common.edge.validation import parse
from common.errors import InvalidInput
from common.graders.context import GradeContext
from common.graders.registry import grade
from common.schemas.evaluation import EvaluationRequest, Sample
from common.schemas.graders import Grader
from tests.unit.graders.conftest import ScriptedJudge

if TYPE_CHECKING:
    from collections.abc import Callable

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"minimum": 0}}, "required": ["city"]}


def json_schema(schema: dict[str, Any] | None = None, **changes: Any) -> Grader:
    return GRADER.validate_python({"type": "json_schema", "name": "j", "schema": CITY if schema is None else schema, **changes})


@pytest.mark.parametrize(
    ("output", "score", "reason"),
    [
        ('{"city": "Paris"}', 1, None),
        (' {"city": "Paris"}\n', 1, None),
        ('{"city": 5, "people": -1}', 0, "/city: 5 is not of type 'string'; /people: -1 is less than the minimum of 0"),
        ("[]", 0, "the whole: [] is not of type 'object'"),
        ('{"city": "Paris"} or so', 0, "not JSON: Extra data: line 1 column 19 (char 18)"),
        ('{"city": "Paris", "people": NaN}', 0, "not JSON: NaN is not JSON"),
        ("[" * 50_000, 0, "not JSON: nested too deeply"),
        ('```json\n{"city": "Paris"}\n```', 0, "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
async def test_what_fits(context: Callable[..., GradeContext], *, output: str, score: float, reason: str | None) -> None:
    """The verdict says whether it fits, and the first places where it does not."""
    verdict = await grade(json_schema(), context(output=output))
    assert (verdict.score, verdict.passed, verdict.reason) == (score, bool(score), reason)


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ('```json\n{"city": "Paris"}\n```', 1),
        ('Sure:\n```\n{"city": "Paris"}\n```\nAnything else?', 1),
        ('```json\n{"city": 5}\n```', 0),
        ('```json\n{"city": "Paris"}\n```\n```json\n{"city": "Rome"}\n```', 0),
        ('```python\n{"city": "Paris"}\n```', 0),
        ('{"city": "Paris"}', 1),
    ],
)
async def test_a_fence_is_taken_off_where_that_is_allowed(
    context: Callable[..., GradeContext], *, output: str, score: float
) -> None:
    """One fenced block of JSON may stand in prose; of two nobody knows which is meant."""
    assert (await grade(json_schema(allow_fence=True), context(output=output))).score == score


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "objekt"}, "/type"),
        ({"properties": {"a/b": {"pattern": "(?=a)"}}}, "/properties/a~1b/pattern"),
        ({"items": [{"$ref": "http://127.0.0.1:1/x"}]}, "/items/0/$ref"),
        ({"patternProperties": {"a": {}}}, "/patternProperties"),
        ({"pattern": "(?:a{0,300}){0,300}"}, "/pattern"),
    ],
)
def test_an_unusable_schema_is_refused_at_its_place(schema: dict[str, Any], place: str) -> None:
    """The pointer leads from the request to the fault within the schema, also through another grader."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    grader = {"type": "json_schema", "name": "j", "schema": schema}
    multi = {"type": "multi", "name": "m", "graders": {"j": grader}, "calculate_output": "j"}
    for graders, where in ([grader], "/graders/0/schema"), ([multi], "/graders/0/graders/j/schema"):
        with pytest.raises(InvalidInput) as caught:
            parse(json.dumps({"graders": graders}).encode(), EvaluationRequest)
        assert caught.value.pointer == where + place


def test_the_schema_keeps_its_name() -> None:
    """What is stored of a grader is what was given, and can be read again."""
    request = EvaluationRequest(graders=[json_schema()])
    stored = request.model_dump_json()
    assert json.loads(stored)["graders"][0]["schema"] == CITY
    assert parse(stored.encode(), EvaluationRequest) == request


async def test_a_schema_that_never_ends_is_not_the_samples_fault(context: Callable[..., GradeContext]) -> None:
    """A reference to nothing, or to itself, leaves the sample unscored."""
    for schema in ({"$ref": "#/nowhere"}, {"$ref": "#"}):
        verdict = await grade(json_schema(schema), context(output="{}"))
        assert verdict.unscored is not None
        assert verdict.unscored.code == "schema_not_applicable"


LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
async def test_any_json_is_the_constant_that_it_is(value: Any) -> None:
    """Whatever JSON comes, it is valid by the schema that allows just that, and the grader never raises."""
    try:
        grader = json_schema({"const": value})
    except ValueError:  # integers beyond 64 bits
        return
    output = json.dumps(value)
    verdict = await grade(grader, GradeContext({}, Sample(output_text=output), ScriptedJudge(), lambda: "5eed"))
    assert verdict.score == 1
