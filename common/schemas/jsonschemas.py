"""JSON Schemas from outside: whether one can be used, and where a value does not fit it, in bounded time.

Nothing is ever fetched, and patterns run on an engine that is linear in the text (`common.schemas.patterns`): in Python's own a
bad pattern, or a text made for it, would hold the whole process for hours.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from common.schemas.patterns import PatternError, check_pattern, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jsonschema.exceptions import ValidationError

    Check = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

MAX_STEPS = 300_000  # keywords applied to values, one by one: one second, at worst four
_MESSAGE_LIMIT = 300
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_steps_left: ContextVar[int] = ContextVar("steps_left")


class SchemaError(ValueError):
    """The schema cannot be used; ``path`` leads to the place within it. ``unsupported``: it is valid, elsewhere."""

    def __init__(self, message: str, *, path: Iterable[str | int] = (), unsupported: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.path = tuple(path)
        self.unsupported = unsupported


class CannotApplyError(Exception):
    """The schema refers to nothing or to itself without end, or would take more than `MAX_STEPS`; the message says which."""


class JsonSchema:
    """A compiled schema; draft 2020-12 where its ``$schema`` does not say otherwise."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Compile `schema`.

        Raises:
            SchemaError: not a valid JSON Schema; or it refers to another document, or has a pattern that cannot be matched in
                linear time.
        """
        from jsonschema import exceptions
        from jsonschema.validators import Draft202012Validator, extend, validator_for
        from referencing import Registry

        _refuse_references(schema)
        kind = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except exceptions.SchemaError as error:
            raise SchemaError(f"not a valid JSON Schema: {_bounded(error.message)}", path=error.absolute_path) from None
        except RecursionError:
            raise SchemaError("the schema is nested too deeply") from None
        _refuse_slow_patterns(schema)
        checks = {**kind.VALIDATORS, "pattern": _check_pattern, "uniqueItems": _check_unique}
        counted = {keyword: _counted(check) for keyword, check in checks.items()}
        self._validator = extend(kind, counted)(schema, registry=Registry())  # type: ignore[no-untyped-call]  # stubs

    def faults(self, value: Any, *, limit: int = 1) -> list[tuple[str, str]]:
        """The first places where `value` does not fit, as JSON pointers, and what was expected there; at most `limit`.

        Raises:
            CannotApplyError: nobody can tell.
        """
        from referencing.exceptions import Unresolvable

        token = _steps_left.set(MAX_STEPS)
        try:
            found = list(islice(self._validator.iter_errors(value), limit))
        except (Unresolvable, RecursionError):
            raise CannotApplyError("it refers to nothing, or to itself without end") from None
        finally:
            _steps_left.reset(token)
        return [(pointer(error.absolute_path), _bounded(error.message)) for error in found]


def compiled(schema: dict[str, Any]) -> JsonSchema:
    """`JsonSchema`, compiled once for equal schemas. Raises `SchemaError`."""
    return _compiled(canonical(schema))


@lru_cache(maxsize=128)
def _compiled(schema: bytes) -> JsonSchema:
    return JsonSchema(orjson.loads(schema))


def canonical(schema: dict[str, Any]) -> bytes:
    """`schema` as JSON, the same for every order of keys. Raises `SchemaError`."""
    try:
        return orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # too deep, an integer beyond 64 bits, or half a character
        raise SchemaError("the schema is nested too deeply, or has an integer beyond 64 bits or a lone surrogate") from None


def pointer(path: Iterable[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _refuse_references(schema: dict[str, Any]) -> None:
    for path, node in _objects(schema):
        for keyword in _REFERENCES:
            target = node.get(keyword)
            if isinstance(target, str) and not target.startswith("#"):
                raise SchemaError("references to other documents are not followed", path=(*path, keyword), unsupported=True)


def _refuse_slow_patterns(schema: dict[str, Any]) -> None:
    for path, node in _objects(schema):
        if isinstance(node.get("pattern"), str):
            try:
                check_pattern(node["pattern"])
            except PatternError as error:
                raise SchemaError(str(error), path=(*path, "pattern"), unsupported=True) from None
        if isinstance(node.get("patternProperties"), dict):
            message = "patternProperties are not supported; name the properties"
            raise SchemaError(message, path=(*path, "patternProperties"), unsupported=True)


def _objects(root: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    stack: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            yield path, node
            stack += [((*path, name), value) for name, value in node.items()]
        elif isinstance(node, list):
            stack += [((*path, number), value) for number, value in enumerate(node)]


def _counted(check: Check) -> Check:
    """`check`, paid for: alternatives that refer to each other would otherwise be tried for ever."""

    def pay(validator: Any, keyword: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        left = _steps_left.get(MAX_STEPS) - 1 - (len(keyword) if isinstance(keyword, list) else 0)
        if left < 0:
            raise CannotApplyError(f"it takes more than {MAX_STEPS} steps")
        _steps_left.set(left)
        return check(validator, keyword, value, schema)

    return pay


def _check_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{value[:_MESSAGE_LIMIT]!r} does not match {pattern!r}")


def _check_unique(_validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """In one pass, where jsonschema's own compares every two entries."""
    from jsonschema.exceptions import ValidationError

    if wanted is True and isinstance(value, list) and len({_hashable(entry) for entry in value}) < len(value):
        yield ValidationError(f"{str(value[:_MESSAGE_LIMIT])[:_MESSAGE_LIMIT]} has non-unique elements")


def _hashable(value: Any) -> Any:
    """Equal for equal JSON: 1 is 1.0, and true is not 1."""
    if isinstance(value, dict):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, list):
        return ("list", *(_hashable(each) for each in value))
    return ("boolean", value) if isinstance(value, bool) else value


def _bounded(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
