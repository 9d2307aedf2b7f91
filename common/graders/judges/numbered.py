"""One yes or no, with its reason, on each of several numbered texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from common.graders.judging import Question, ask
from common.graders.outcome import bounded
from common.graders.reply import ReplyError, read_object
from common.schemas.completion import JsonSchema, Message

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.graders.judging import Answer
    from common.graders.prompt_files import Prompt
    from common.schemas.graders.rag import RagGrader

_REASON_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """What the judge said of one text."""

    holds: bool
    reason: str


async def ask_numbered(
    grader: RagGrader, context: GradeContext, *, instructions: Prompt, material: str, marker: str, count: int, flag: str
) -> Answer[list[Finding]]:
    """Ask for a yes or no on each of `count` texts in `material`, in one call. Raises as `common.graders.judging.ask`."""
    question = Question(
        model=grader.model,
        messages=(Message("system", instructions.fill(marker=marker, count=str(count))), Message("user", material)),
        schema=numbered_schema(count, flag),
        read=partial(read_numbered, count=count, flag=flag),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    return await ask(question, context)


def numbered_schema(count: int, flag: str) -> JsonSchema:
    """``{"verdicts": {"1": {"reason", flag}, ...}}`` up to `count`.

    An object, because structured output knows no lists of a given length.
    """
    entry = closed({"reason": {"type": "string"}, flag: {"type": "boolean"}})
    verdicts = closed({str(number): entry for number in range(1, count + 1)})
    return JsonSchema(f"{flag}_verdicts", closed({"verdicts": verdicts}))


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object that has these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_numbered(text: str, *, count: int, flag: str) -> list[Finding]:
    """The findings in order of their numbers, which must be 1 to `count`, each once. Raises `ReplyError`: ``no_verdict``."""
    verdicts = read_object(text, ("verdicts",))["verdicts"]
    numbers = [str(number) for number in range(1, count + 1)]
    if not isinstance(verdicts, dict) or verdicts.keys() != set(numbers):
        raise ReplyError("no_verdict", f"'verdicts' must have exactly the keys '1' to '{count}'")
    return [finding(verdicts[number], flag) for number in numbers]


def finding(entry: Any, flag: str) -> Finding:
    """A finding out of ``{"reason", flag}``. Raises `ReplyError`: ``no_verdict``."""
    holds = entry.get(flag) if isinstance(entry, dict) else None
    if not isinstance(holds, bool):
        raise ReplyError("no_verdict", f"{flag!r} is neither true nor false")
    return Finding(holds, reason_of(entry))


def reason_of(entry: dict[str, Any]) -> str:
    """The reason in `entry`, short; empty where there is none."""
    reason = entry.get("reason")
    return bounded(reason.strip(), _REASON_LIMIT) if isinstance(reason, str) else ""
