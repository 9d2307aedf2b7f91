"""Finding lines in the log files of the local runtime: those of a run, or of one of its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from cli.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIXED = ("time", "level", "event", "function")
MAX_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run, and an item of it by its index; None: all that the run did."""

    run_id: str
    item: int | None = None

    def names(self, line: dict[str, Any]) -> bool:
        """True where the line speaks of the run, and of the item where it lists any."""
        event_id = line.get("event_id")
        of_run = line.get("run_id") == self.run_id or (isinstance(event_id, str) and event_id.startswith(f"{self.run_id}/"))
        items = line.get("items")
        if self.item is None:
            return of_run
        return of_run and isinstance(items, list) and self.item in items

    def others(self, line: dict[str, Any]) -> bool:
        """True where the line is about other items alone."""
        items = line.get("items")
        return self.item is not None and isinstance(items, list) and self.item not in items


def found_in(folder: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Lines that name what is wanted, and what else was logged while those requests were served, by time.

    The files are read twice, a line at a time.

    Raises:
        CannotRun: there are no log files, or more than `MAX_LINES` lines are meant.
    """
    files = sorted(folder.glob("*.log"))
    if not files:
        raise CannotRun(f"no log files in {folder}")
    requests = {
        line["request_id"]
        for path in files
        for line in _lines(path, wanted.run_id)
        if wanted.names(line) and "request_id" in line
    }
    found = []
    for path in files:
        for line in _lines(path):
            if (wanted.names(line) or line.get("request_id") in requests) and not wanted.others(line):
                found.append(line)
                if len(found) > MAX_LINES:
                    raise CannotRun(f"more than {MAX_LINES} lines; name an item")
    return sorted(found, key=lambda line: str(line.get("time")))


def in_words(line: dict[str, Any], *, item: int | None) -> str:
    """A line for people: when, who, what, and its fields; not the list of items when one was asked for."""
    hidden = {*_FIXED, "run_id", "request_id", *(() if item is None else ("items",))}
    fields = " ".join(f"{name}={value}" for name, value in line.items() if name not in hidden)
    return f"{line.get('time')} {line.get('function', ''):<11} {line.get('event')} {fields}".rstrip()


def _lines(path: Path, text: str = "") -> Iterator[dict[str, Any]]:
    """Log lines that contain `text`; what is no JSON object is none of ours."""
    needle = text.encode()
    with path.open("rb") as file:
        for raw in file:
            if needle in raw and raw.startswith(b"{"):
                try:
                    line = orjson.loads(raw)
                except orjson.JSONDecodeError:
                    continue
                if isinstance(line, dict):
                    yield line
