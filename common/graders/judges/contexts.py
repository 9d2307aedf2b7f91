"""The retrieved texts that an answer rests on, as a template gives them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from common.graders.fencing import fence
from common.graders.outcome import UnscoredError
from common.graders.template import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext

MOST_CONTEXTS = 100


def contexts_of(template: str, context: GradeContext) -> list[str]:
    """The texts in order of their rank: the entries of a JSON list (what is no string stays JSON), or the one text there is.

    An empty list is one: nothing was retrieved.

    Raises:
        UnscoredError: ``no_contexts`` for null or white space, which say nothing; ``too_many_contexts``.
        UnknownVariable: the template names something that is not there.
    """
    text = render(template, context.scope)
    found = _parsed(text)
    if found is None or not text.strip():
        raise UnscoredError("no_contexts", "no contexts were given")
    texts = [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in found]
    if len(texts) > MOST_CONTEXTS:
        raise UnscoredError("too_many_contexts", f"there are {len(texts)} contexts, more than {MOST_CONTEXTS}")
    return texts


def shown(name: str, texts: Sequence[str], *, marker: str) -> str:
    """Every text fenced under its number, which counts from 1."""
    return "\n".join(fence(f"{name}.{number}", text, marker=marker) for number, text in enumerate(texts, 1))


def _parsed(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return value if isinstance(value, list) or value is None else [text]
