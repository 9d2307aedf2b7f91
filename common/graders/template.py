"""``{{item.x}}`` and ``{{sample.y}}``: which variables a text holds, whether they exist, and their values in their places.

Source: OpenAI's guide "Graders", section "Templating": two namespaces, nested values by path. What is put in is never
read as a template again.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from common.errors import UnknownVariable
from common.graders.outcome import UnscoredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from common.schemas.graders import Grader

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_INDEX = re.compile(r"\[(\d+)\]")
_NAMESPACES = ("item", "sample")
_NAME_LIMIT = 100  # characters of a name in an error
_MISSING = object()


def variables(template: str) -> list[str]:
    """The distinct variables of a template in order of appearance, as dotted paths: ``item.list.0``."""
    return list(dict.fromkeys(_path(match[1]) for match in _PLACEHOLDER.finditer(template)))


def render(template: str, scope: Mapping[str, Any], *, wrap: Callable[[str, str], str] | None = None) -> str:
    """`template` with every variable replaced by its value.

    Args:
        scope: Values by namespace, e.g. ``{"item": {...}, "sample": {...}}``.
        wrap: Gets (variable, value as text), returns what is put in.

    Returns:
        The text; strings stand as they are, everything else as compact JSON.

    Raises:
        UnknownVariable: a variable is not in `scope`.
        UnscoredError: ``sample.output_json`` was asked for, and the output is not JSON (``sample_not_json``) or lacks the
            path (``unknown_variable``): the fault of whoever made the sample, not of who wrote the template.
    """

    def value(match: re.Match[str]) -> str:
        variable = _path(match[1])
        text = _text(_resolve(variable, scope))
        return text if wrap is None else wrap(variable, text)

    return _PLACEHOLDER.sub(value, template)


def value_of(template: str, scope: Mapping[str, Any]) -> Any:
    """What `template` stands for: where it is one variable and nothing else, that variable's value as it is, else its text.

    Raises:
        UnknownVariable, UnscoredError: as `render`.
    """
    alone = _PLACEHOLDER.fullmatch(template.strip())
    return render(template, scope) if alone is None else _resolve(_path(alone[1]), scope)


def missing_item_variables(grader: Grader, item: Mapping[str, Any], *, pointer: str = "") -> None:
    """Check that `item` has every ``item.*`` variable of `grader`, so that no judge is paid for half a question.

    Raises:
        UnknownVariable: naming the first that is missing; its pointer is `pointer` and the template's place after it.
    """
    for place, variable in _all_variables(grader):
        namespace, *path = variable.split(".")
        if namespace not in _NAMESPACES or not path or (namespace == "item" and _descend(item, path) is _MISSING):
            raise _unknown(variable, item, "item", pointer=pointer + place)


def check_templates(grader: Grader, *, item_schema: Mapping[str, Any], pointer: str = "") -> None:
    """Check a grader's templates against the JSON Schema of items, before there is any item.

    A property counts as unknown where the schema lists properties and does not say that there may be others.

    Raises:
        UnknownVariable: a namespace other than item and sample, or an item property that the schema does not have.
    """
    for place, variable in _all_variables(grader):
        namespace, *path = variable.split(".")
        if namespace not in _NAMESPACES or not path or (namespace == "item" and not _in_schema(item_schema, path)):
            raise _unknown(variable, item_schema.get("properties") or {}, "item", pointer=pointer + place)


def _all_variables(grader: Grader) -> Iterator[tuple[str, str]]:
    for place, template in grader.templates.items():
        for variable in variables(template):
            yield place, variable


def _path(written: str) -> str:
    name = written.strip()
    return _INDEX.sub(r".\1", name) if "[" in name else name


def _unknown(variable: str, known: Iterable[str], namespace: str, *, pointer: str | None = None) -> UnknownVariable:
    names = [f"{namespace}.{name[:_NAME_LIMIT]}" for name in known]
    return UnknownVariable(variable[:_NAME_LIMIT], known=names, pointer=pointer)


def _resolve(variable: str, scope: Mapping[str, Any]) -> Any:
    namespace, *path = variable.split(".")
    values = scope.get(namespace)
    if not path or not isinstance(values, dict):
        raise _unknown(variable, (), namespace)
    if namespace == "sample" and path[0] == "output_json" and "output_json" not in values and "output_text" in values:
        return _from_output(variable, values["output_text"], path[1:])
    value = _descend(values, path)
    if value is _MISSING:
        raise _unknown(variable, values, namespace)
    return value


def _from_output(variable: str, output_text: str, path: list[str]) -> Any:
    try:
        output = json.loads(output_text)
    except (ValueError, RecursionError) as error:
        raise UnscoredError("sample_not_json", f"{{{{{variable}}}}}: the sample's output is not JSON") from error
    value = _descend(output, path)
    if value is _MISSING:
        raise UnscoredError("unknown_variable", f"{{{{{variable}}}}}: the sample's output has no such value")
    return value


def _descend(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            return _MISSING
    return value


def _in_schema(schema: Any, path: list[str]) -> bool:
    """Whether `path` may exist. Anything but plain ``properties`` is not followed, and gets the benefit of the doubt."""
    for part in path:
        if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict) or not schema["properties"]:
            return True
        if part not in schema["properties"]:
            others = schema.get("additionalProperties")
            return others is True or isinstance(others, dict)
        schema = schema["properties"][part]
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
