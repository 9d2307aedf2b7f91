"""A quick yes for values that fit a plain JSON Schema: the full validator takes much longer, and files have a million rows.

Source: JSON Schema 2020-12, "Validation" (https://json-schema.org/draft/2020-12/json-schema-validation), sections 6.1 and 6.5,
and "Core", sections 10.3.1 and 10.3.2. Only some keywords are known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fits = Callable[[Any], bool]

# bool is none of Python's own numbers here, as type() tells them apart; 1.0, an integer too, is left to the full validator.
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}
_SAYING_NOTHING = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"})
_KNOWN = _SAYING_NOTHING | {"type", "properties", "required", "additionalProperties", "items"}


def plainly_fits(schema: Any) -> Fits | None:
    """A check that is True only for values that fit `schema`; what it does not pass may fit all the same.

    Returns None for a schema with other keywords than the plain ones.
    """
    if schema is True or schema == {}:
        return _anything
    if not isinstance(schema, dict) or not schema.keys() <= _KNOWN:
        return None
    parts = {name: plainly_fits(each) for name, each in schema.get("properties", {}).items()}
    items = plainly_fits(schema.get("items", True))
    kinds = _kinds(schema)
    if items is None or kinds is None or any(part is None for part in parts.values()):
        return None
    known = {name: part for name, part in parts.items() if part is not None}
    required, closed = tuple(schema.get("required", ())), schema.get("additionalProperties", True)
    if not isinstance(closed, bool):
        return None

    def fits(value: Any) -> bool:
        kind = type(value)
        if kind not in kinds:
            return False
        if kind is dict:
            return _object_fits(value, known, required, others=closed)
        return kind is not list or all(map(items, value))

    return fits


def _object_fits(value: Mapping[str, Any], parts: Mapping[str, Fits], required: tuple[str, ...], *, others: bool) -> bool:
    for name in required:
        if name not in value:
            return False
    for name, each in value.items():
        part = parts.get(name)
        if not (others if part is None else part(each)):
            return False
    return True


def _kinds(schema: Mapping[str, Any]) -> frozenset[type] | None:
    """Python's types for ``type``; without it any."""
    told = schema.get("type", list(_TYPES))
    names = [told] if isinstance(told, str) else told
    return frozenset(kind for name in names for kind in _TYPES[name]) if set(names) <= _TYPES.keys() else None


def _anything(_value: Any) -> bool:
    return True
