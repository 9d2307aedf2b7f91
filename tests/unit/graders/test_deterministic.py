from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from common.graders.checks.similarity import MAX_TEXT_CHARACTERS
from common.graders.registry import grade, refuse
from common.schemas.evaluation import Sample
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def string_check(operation: str, reference: str = "{{item.reference}}", text: str = "{{sample.output_text}}") -> Grader:
    return GRADER.validate_python(
        {"type": "string_check", "name": "check", "input": text, "reference": reference, "operation": operation}
    )


def text_similarity(**changes: Any) -> Grader:
    fields = {
        "input": "{{sample.output_text}}",
        "reference": "{{item.reference}}",
        "evaluation_metric": "fuzzy_match",
        **changes,
    }
    return GRADER.validate_python({"type": "text_similarity", "name": "near", **fields})


@pytest.mark.parametrize(
    ("operation", "output", "passed"),
    [
        ("eq", "Paris", True),
        ("eq", "paris", False),
        ("eq", "Paris ", False),
        ("ne", "Lyon", True),
        ("ne", "Paris", False),
        ("like", "It is Paris.", True),
        ("like", "It is paris.", False),
        ("like", "Par", False),
        ("ilike", "It is PARIS.", True),
        ("ilike", "Lyon", False),
    ],
)
async def test_string_checks(context: Callable[..., GradeContext], *, operation: str, output: str, passed: bool) -> None:
    """Each operation compares as OpenAI documents it, gives 1 or 0, and asks no judge."""
    verdict = await grade(string_check(operation), context(output=output))
    assert (verdict.score, verdict.passed, verdict.unscored, verdict.judge, verdict.calls) == (
        float(passed),
        passed,
        None,
        None,
        [],
    )
    assert (verdict.name, verdict.type, verdict.latency_ms) == ("check", "string_check", 250.0)


async def test_similarity_passes_at_its_threshold(context: Callable[..., GradeContext]) -> None:
    """The pass mark itself passes, and what is below it fails with its score kept."""
    at = await grade(text_similarity(pass_threshold=0.8), context(output="Paria"))
    above = await grade(text_similarity(pass_threshold=0.81), context(output="Paria"))
    assert (at.score, at.passed, above.score, above.passed) == (0.8, True, 0.8, False)


async def test_values_are_not_fenced_for_deterministic_graders(context: Callable[..., GradeContext]) -> None:
    """A string check sees the bare value."""
    assert (await grade(string_check("eq", "Paris", "{{item.reference}}"), context())).passed


@pytest.mark.parametrize(
    ("template", "output", "code"),
    [
        ("{{item.nope}}", "Paris", "unknown_variable"),
        ("{{sample.nope}}", "Paris", "unknown_variable"),
        ("{{sample.output_text}}", None, "unknown_variable"),
        ("{{sample.output_json.city}}", None, "unknown_variable"),
        ("{{sample.output_json.city}}", "Paris", "sample_not_json"),
        ("{{sample.output_json.city}}", '{"town": 1}', "unknown_variable"),
    ],
)
async def test_what_cannot_be_filled_in_is_unscored(
    context: Callable[..., GradeContext], template: str, output: str | None, code: str
) -> None:
    """A verdict without its value is unscored with a reason that names the variable, neither zero nor a pass."""
    verdict = await grade(string_check("eq", text=template), context(output=output))
    assert (verdict.score, verdict.passed) == (None, None)
    assert verdict.unscored is not None
    assert verdict.unscored.code == code
    assert template in verdict.unscored.message


async def test_further_fields_of_the_sample_are_variables(context: Callable[..., GradeContext]) -> None:
    """Templates reach whatever else a sample holds."""
    sample = Sample.model_validate({"output_text": "x", "output_tools": [{"function": {"name": "Paris"}}]})
    verdict = await grade(string_check("eq", text="{{sample.output_tools[0].function.name}}"), context(sample=sample))
    assert verdict.passed


async def test_texts_too_long_to_compare_are_unscored(context: Callable[..., GradeContext]) -> None:
    """One text cannot hold up every other request."""
    verdict = await grade(text_similarity(), context(output="x" * (MAX_TEXT_CHARACTERS + 1)))
    assert verdict.unscored is not None
    assert verdict.unscored.code == "text_too_long"


def test_every_kind_of_grader_that_runs_here_is_let_through() -> None:
    """`refuse` has nothing against the graders of the registry."""
    refuse(string_check("eq"))
    refuse(text_similarity())
