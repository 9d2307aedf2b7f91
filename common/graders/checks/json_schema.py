"""Does the sample fit a JSON Schema."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from common.graders.checks.texts import text_of
from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.schemas.jsonschemas import CannotApplyError, compiled

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.schemas.graders import JsonSchemaGrader

_MAX_FAULTS = 3
_FENCE = re.compile(r"^```[ \t]*(\w*)[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)


async def json_schema(grader: JsonSchemaGrader, context: GradeContext) -> Score:
    """1 when the input is JSON and fits; else 0, and the reason has the first places where it does not.

    Raises:
        UnscoredError: ``schema_not_applicable``: the schema refers to nothing, or takes too many steps.
    """
    text = text_of(grader.input, context)
    try:
        value = _parsed(text, allow_fence=grader.allow_fence)
    except ValueError as error:
        return Score(0.0, passed=False, reason=bounded(f"not JSON: {error}", REASON_LIMIT))
    try:
        faults = compiled(grader.json_schema).faults(value, limit=_MAX_FAULTS)
    except CannotApplyError as error:
        raise UnscoredError("schema_not_applicable", f"the schema cannot be applied: {error}") from error
    told = "; ".join(f"{place or 'the whole'}: {message}" for place, message in faults)
    return Score(float(not faults), not faults, reason=bounded(told, REASON_LIMIT) or None)


def _parsed(text: str, *, allow_fence: bool) -> Any:
    """`text` as JSON by RFC 8259, or what its one fenced block holds. Raises `ValueError`."""
    try:
        return _decoded(text)
    except ValueError:
        blocks = [inside for language, inside in _FENCE.findall(text) if language.lower() in {"", "json"}]
        if not allow_fence or len(blocks) != 1:
            raise
    return _decoded(blocks[0])


def _decoded(text: str) -> Any:
    try:
        return _DECODER.decode(text.strip(" \t\r\n"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
