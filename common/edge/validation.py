"""Strict JSON in: pydantic straight from the bytes, and its errors as one sentence with a pointer into the document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

T = TypeVar("T")
_MAX_MESSAGE = 400
_MAX_ECHO = 60
_MAX_POINTER = 300
_MAX_ERRORS = 100
_LONG_BYTES = 64 * 1024
_MANY_VALUES = 1_000
_SHOULD = re.compile(r"^(?:Input should be|\w+ should have) ")


def parse(body: bytes, model: type[T], *, strict: bool = True) -> T:
    """`body` as `model`: a pydantic model, or any type pydantic knows.

    Args:
        body: JSON.
        model: What it must be.
        strict: A number as text, or a 1 for true, is an error; turn it off only for what other systems have written.

    Raises:
        InvalidInput: with an RFC 6901 pointer of the field and what was expected there; long values are not echoed.
    """
    try:
        valid: T = _adapter(model).validate_json(body, strict=strict)
    except ValidationError as error:
        _refuse_what_json_lacks(body)
        raise invalid(error, body) from None
    if len(body) < _LONG_BYTES or not _is_finite(valid):
        _refuse_what_json_lacks(body)
    return valid


def validate(data: object, model: type[T], *, pointer: str = "") -> T:
    """Parsed JSON as `model`; `pointer` is where `data` stands in its document, e.g. ``/data`` in an event.

    Raises:
        InvalidInput: as `parse`.
    """
    try:
        valid: T = _adapter(model).validate_python(data)
    except ValidationError as error:
        raise _invalid(error, data, pointer) from None
    return valid


def parse_query(query: Mapping[str, str], model: type[T]) -> T:
    """Query parameters as `model`; unknown ones are an error where the model forbids extra fields.

    Raises:
        InvalidInput: ``pointer`` is ``/<parameter>``.
    """
    try:
        valid: T = _adapter(model).validate_strings(dict(query))
    except ValidationError as error:
        raise _invalid(error, query, "") from None
    return valid


def _adapter(model: object) -> TypeAdapter[Any]:
    return _cached_adapter(model)


@cache
def _cached_adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _refuse_what_json_lacks(body: bytes) -> None:
    """RFC 8259 has no NaN and no Infinity; pydantic's parser lets them through, and no other reader would."""
    if b"NaN" not in body and b"Infinity" not in body:
        return
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        msg = f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise InvalidInput(msg, pointer="") from None


def _is_finite(valid: object) -> bool:
    """True where every number in `valid` is finite; False also where that would take longer to see than to read the bytes.

    A long body is mostly one of long texts, of which pydantic leaves few values to look at.
    """
    values = [valid]
    for value in values:  # which grows meanwhile
        if isinstance(value, BaseModel):
            values += vars(value).values()
            values += (value.model_extra or {}).values()
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
        elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))):
            return False
        if len(values) > _MANY_VALUES:
            return False
    return True


def invalid(error: ValidationError, body: bytes) -> InvalidInput:
    """`error` about the JSON in `body`, for the caller."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return InvalidInput(_bounded("not valid JSON: " + first["msg"].removeprefix("Invalid JSON: ")), pointer="")
    return _invalid(error, from_json(body), "")


def _invalid(error: ValidationError, document: Any, prefix: str) -> InvalidInput:
    """The first offending field, at its deepest, with every alternative that was open there."""
    details = error.errors(include_url=False, include_input=False)[:_MAX_ERRORS]
    found = [_place(detail, document) for detail in details]
    told = _most_telling(found)
    pointer = max((fault.pointer for fault in told), key=lambda p: p.count("/"))
    messages = list(dict.fromkeys(fault.message for fault in told if fault.pointer == pointer))
    rest = len({fault.pointer for fault in found} - {fault.pointer for fault in told if fault.pointer.startswith(pointer)})
    more = f" (and {rest} more)" if rest and told[0].union is None else ""
    where = (prefix + pointer)[:_MAX_POINTER]
    return InvalidInput(_bounded(f"{where or 'the body'}: {_alternatives(messages)}") + more, pointer=where)


@dataclass(frozen=True, slots=True)
class _Fault:
    """One error. ``union`` is the pointer of the outermost union it stands in, ``member`` the member it is about."""

    pointer: str
    message: str
    union: str | None
    member: str | None


def _most_telling(found: list[_Fault]) -> list[_Fault]:
    """What to tell of all errors: the first field's, and for a union those of the member the caller most likely meant.

    A union reports the errors of every member. One that fits in kind, and has the fewest errors, is the likely one.
    """
    first = found[0]
    if first.union is None:
        return [fault for fault in found if fault.union is None and fault.pointer == first.pointer]
    members: dict[str | None, list[_Fault]] = {}
    for fault in found:
        if fault.union == first.union:
            members.setdefault(fault.member, []).append(fault)
    fitting = [faults for faults in members.values() if all(fault.pointer != first.union for fault in faults)]
    return min(fitting, key=len) if fitting else [fault for faults in members.values() for fault in faults]


def _place(detail: ErrorDetails, document: Any) -> _Fault:
    """Where an error stands. Parts of ``loc`` that name a union's member are not in the document, nor in the pointer."""
    parts: list[str] = []
    union = member = None
    node, loc = document, detail["loc"]
    for position, part in enumerate(loc):
        if _has(node, part):
            node = node[part]
        elif not (detail["type"] == "missing" and position == len(loc) - 1):
            if union is None:
                union, member = _pointer(parts), str(part)
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    if detail["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        parts.append(str(detail["ctx"]["discriminator"]).strip("'"))
    return _Fault(_pointer(parts), _message(detail), union, member)


def _pointer(parts: list[str]) -> str:
    """RFC 6901."""
    return "".join(f"/{part}" for part in parts)


def _has(node: Any, part: int | str) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return hasattr(node, "keys") and part in node


def _message(detail: ErrorDetails) -> str:
    """What was expected, in pydantic's words without its preambles."""
    kind, text = detail["type"], detail["msg"]
    if kind in {"missing", "union_tag_not_found"}:
        return "is required"
    if kind == "extra_forbidden":
        return "is not a known field"
    if kind == "union_tag_invalid":
        return f"expected one of {detail['ctx']['expected_tags']}, got '{str(detail['ctx']['tag'])[:_MAX_ECHO]}'"
    if kind == "string_pattern_mismatch":
        return f"expected a string that matches {detail['ctx']['pattern']}"
    return _SHOULD.sub("expected ", text, count=1).replace(" after validation, not ", ", got ").removeprefix("Value error, ")


def _alternatives(messages: list[str]) -> str:
    first, *others = messages
    return ", or ".join([first, *(message.removeprefix("expected ") for message in others)])


def _bounded(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
