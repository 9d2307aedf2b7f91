"""The examples of the documentation: fenced blocks under a comment ``<!-- example: KIND -->`` that says how they are checked.

Kinds: ``run`` (a command or program; a fenced answer after it must have its shape), ``answer``, ``event``, ``evaluation``
and ``verdicts`` (the former graded gives the latter), ``gateway`` (a file for ``KNUDGE_CONFIG``), ``providers`` (part of one),
``manifest`` (Kubernetes YAML), ``keys`` (commands of ``knudge keys``), ``log`` (a line of a log), a model of the API by its
name, or ``shown``: nothing but its syntax is checked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGES = (
    "api",
    "architecture",
    "capacity",
    "compare",
    "configuration",
    "events",
    "graders",
    "judging",
    "graders-checks",
    "graders-conversations",
    "graders-judges",
    "graders-rag",
    "graders-rubric",
    "limits",
    "operations",
    "providers",
    "reproducing",
    "runs",
)
_FENCE = re.compile(
    r"(?:^<!-- example: (?P<kind>[\w-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block. ``kind`` is empty where no comment stands above it; ``line`` counts from 1."""

    page: str
    line: int
    kind: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"docs/{self.page}.md:{self.line}"


def examples(page: str) -> list[Example]:
    """Every fenced block of ``docs/<page>.md``, in order."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, found.start("text")), found["kind"] or "", found["language"], found["text"])
        for found in _FENCE.finditer(text)
    ]


def documents(text: str) -> list[Any]:
    """The JSON document in `text`, or those on its lines. Raises `ValueError` when it holds anything else."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def misfits(told: Any, real: Any, place: str = "") -> list[str]:
    """Where `told`, an answer as documented, says something that `real` does not have. Values may differ, types may not."""
    if isinstance(told, dict) and isinstance(real, dict):
        lost = [f"{place}/{name} is not there" for name in told if name not in real]
        return lost + [fault for name in told if name in real for fault in misfits(told[name], real[name], f"{place}/{name}")]
    if isinstance(told, list) and isinstance(real, list):
        if len(told) > len(real):
            return [f"{place} has {len(real)} entries, not {len(told)}"]
        return [fault for at, each in enumerate(told) for fault in misfits(each, real[at], f"{place}/{at}")]
    return [] if _kind(told) == _kind(real) else [f"{place} is {json.dumps(real)[:80]}, not {json.dumps(told)[:80]}"]


def _kind(value: Any) -> str:
    """The JSON type of `value`."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
