"""The text that a check looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.checks.similarity import MAX_TEXT_CHARACTERS
from common.graders.outcome import UnscoredError
from common.graders.template import render

if TYPE_CHECKING:
    from common.graders.context import GradeContext


def text_of(template: str, context: GradeContext) -> str:
    """`template` filled, at most `MAX_TEXT_CHARACTERS` long.

    Raises:
        UnscoredError: ``text_too_long``; or as `render`.
        UnknownVariable: as `render`.
    """
    return readable(render(template, context.scope))


def readable(text: str) -> str:
    """`text`, at most `MAX_TEXT_CHARACTERS` long. Raises `UnscoredError`: ``text_too_long``."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise UnscoredError("text_too_long", f"texts are compared up to {MAX_TEXT_CHARACTERS} characters each")
    return text
