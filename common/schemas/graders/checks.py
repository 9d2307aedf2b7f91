"""Graders that need no model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from common.schemas.base import Model
from common.schemas.graders.base import GraderModel, Name, SimilarityMetric
from common.schemas.jsonschemas import SchemaError, compiled
from common.schemas.patterns import MAX_SIZE, check_pattern

OUTPUT = "{{sample.output_text}}"
Unit = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]
Template = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
MAX_CALLS = 64  # of those that are compared each with each
Tolerance = Annotated[float, Field(ge=0)]


class StringCheckGrader(GraderModel):
    """1 when ``input`` relates to ``reference`` by ``operation``, else 0. ``like`` means contains."""

    type: Literal["string_check"]
    name: Name
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input, "/reference": self.reference}


class TextSimilarityGrader(GraderModel):
    """A similarity in [0, 1]; passes at ``pass_threshold`` and above."""

    type: Literal["text_similarity"]
    name: Name
    input: str
    reference: str
    evaluation_metric: SimilarityMetric
    pass_threshold: float = 0.5

    @property
    def threshold(self) -> float:
        return self.pass_threshold

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input, "/reference": self.reference}


class PythonGrader(GraderModel):
    """Accepted by the parser only so that it can be refused with a clear error: nothing here runs foreign code."""

    type: Literal["python"]
    name: Name
    source: str
    image_tag: str | None = None
    pass_threshold: float | None = None


class JsonSchemaGrader(GraderModel):
    """1 when ``input`` is JSON that fits ``schema``, else 0; with ``allow_fence`` also when its one fenced block does."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["json_schema"]
    name: Name
    input: str = OUTPUT
    json_schema: dict[str, Any] = Field(alias="schema")  # pydantic's models have a method of that name
    allow_fence: bool = False

    @field_validator("json_schema")
    @classmethod
    def _schema_can_be_used(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            compiled(schema)
        except SchemaError as error:
            fault = PydanticCustomError("json_schema", "{fault}", {"fault": error.message})
            where = InitErrorDetails(type=fault, loc=error.path, input=None)
            raise ValidationError.from_exception_data("schema", [where]) from None
        return schema

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input}


class NumericGrader(GraderModel):
    """1 when the number in ``input`` is within tolerance of ``reference``, a number or a text with one.

    The tolerance is the larger of ``absolute_tolerance`` and ``relative_tolerance`` times the reference. ``units`` are those
    that may be glued to the number; left out, any may. ``decimal`` is the decimal sign, the other one separates thousands.
    """

    type: Literal["numeric"]
    name: Name
    input: str = OUTPUT
    reference: float | str
    absolute_tolerance: Tolerance = 0.0
    relative_tolerance: Tolerance = 0.0
    extract: Literal["only", "first", "last"] = "only"
    decimal: Literal[".", ","] = "."
    units: list[Unit] | None = Field(None, max_length=32)

    @property
    def templates(self) -> dict[str, str]:
        reference = {"/reference": self.reference} if isinstance(self.reference, str) else {}
        return {"/input": self.input, **reference}


class RegexGrader(GraderModel):
    """1 when ``pattern`` is found in ``input`` (or, with ``fullmatch``, is all of it), else 0; the reverse for ``no_match``."""

    type: Literal["regex"]
    name: Name
    input: str = OUTPUT
    pattern: str = Field(min_length=1, max_length=MAX_SIZE)
    mode: Literal["search", "fullmatch"] = "search"
    expect: Literal["match", "no_match"] = "match"
    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False

    @field_validator("pattern")
    @classmethod
    def _pattern_can_be_used(cls, pattern: str) -> str:
        return check_pattern(pattern)

    @property
    def whole_pattern(self) -> str:
        """The pattern with mode and flags in it."""
        flags = "".join(
            letter for letter, on in zip("ims", (self.ignore_case, self.multiline, self.dot_all), strict=True) if on
        )
        body = f"(?{flags}:{self.pattern})"
        return rf"\A(?:{body})\z" if self.mode == "fullmatch" else body

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input}


class ToolCall(Model):
    """A call that is expected."""

    name: Name
    arguments: dict[str, JsonValue] = {}


class ArgumentMatcher(Model):
    """How an argument is compared with the one that is expected.

    ``exact``: the same JSON, 1 being 1.0. ``ignore``: anything, or nothing. ``contains``: the expected text within the text, or
    the expected value within the list. ``regex``: the expected text is a pattern, found anywhere. ``numeric``: numbers within
    tolerance, as of `NumericGrader`. ``one_of``: the expected value is a list with the argument in it.
    """

    match: Literal["exact", "ignore", "contains", "regex", "numeric", "one_of"]
    absolute_tolerance: Tolerance = 0.0
    relative_tolerance: Tolerance = 0.0

    @model_validator(mode="after")
    def _tolerances_are_for_numbers(self) -> ArgumentMatcher:
        if self.match != "numeric" and (self.absolute_tolerance or self.relative_tolerance):
            msg = "tolerances are for the match numeric"
            raise ValueError(msg)
        return self


class ToolCallsGrader(GraderModel):
    """1 when the sample's tool calls are the ``expected`` ones, else 0.

    ``mode``: "exact" in number and order; "unordered" in number; "superset" these and perhaps others; "subset" none but these.
    ``matchers`` are by argument, ``query`` or ``search.query``; without one an argument must be equal. ``input`` is where the
    calls are; left out, the sample's ``output_tools`` or ``tool_calls``.
    """

    type: Literal["tool_calls"]
    name: Name
    expected: Template | Annotated[list[ToolCall], Field(max_length=MAX_CALLS)]
    mode: Literal["exact", "unordered", "superset", "subset"] = "exact"
    matchers: dict[str, ArgumentMatcher] = Field({}, max_length=64)
    extra_arguments: Literal["forbid", "allow"] = "forbid"
    input: str | None = None

    @property
    def templates(self) -> dict[str, str]:
        expected = {"/expected": self.expected} if isinstance(self.expected, str) else {}
        return expected if self.input is None else {**expected, "/input": self.input}


class TrajectoryGrader(GraderModel):
    """1 when the sample's tool calls keep every rule that is given, else 0. A step is one call.

    ``max_repeats``: how often one call, same name and arguments, may be made again; 0: never. ``input`` is where the messages
    or calls are; left out, the sample's ``messages``, ``output_tools`` or ``tool_calls``.
    """

    type: Literal["trajectory"]
    name: Name
    input: str | None = None
    min_steps: int | None = Field(None, ge=0)
    max_steps: int | None = Field(None, ge=0)
    required_tools: list[Name] = Field([], max_length=64)
    forbidden_tools: list[Name] = Field([], max_length=64)
    max_repeats: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _rules_can_be_kept(self) -> TrajectoryGrader:
        if self.min_steps is self.max_steps is self.max_repeats is None and not (self.required_tools or self.forbidden_tools):
            raise ValueError("give at least one rule: a number of steps, tools, or max_repeats")
        if self.min_steps is not None and self.max_steps is not None and self.min_steps > self.max_steps:
            raise ValueError("min_steps is above max_steps")
        if both := set(self.required_tools) & set(self.forbidden_tools):
            raise ValueError(f"required and forbidden at once: {', '.join(sorted(both))}")
        return self

    @property
    def templates(self) -> dict[str, str]:
        return {} if self.input is None else {"/input": self.input}
