"""Rows that a caller hands in: one JSON document with ``rows``, or NDJSON lines and the rest in the query."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from common.edge.validation import parse, parse_query, validate
from common.errors import InvalidInput, PayloadTooLarge, UnsupportedMediaType
from common.schemas.statistics import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from common.edge.http import Request

Options = TypeVar("Options", bound="BaseModel")
Row = TypeVar("Row", bound="BaseModel")
_JSON = frozenset({"", "application/json"})
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


@dataclass(slots=True)
class Given(Generic[Options]):
    """What was handed in: options, and rows or lines that were not looked at yet. ``number`` is the row being read, from 1."""

    options: Options
    rows: Sequence[Any]
    lines: bool
    number: int = 0

    def read(self, model: type[Row]) -> Iterator[Row]:
        """The rows one by one. Raises `InvalidInput` where one is no `model`."""
        for row in self.rows:
            self.number += 1
            yield parse(row, model) if self.lines else validate(row, model)
        self.number = 0

    def first_fields(self) -> frozenset[str]:
        """Field names of the first row; empty without rows."""
        if not self.rows:
            return frozenset()
        first = parse(self.rows[0], Any) if self.lines else self.rows[0]
        return frozenset(first) if isinstance(first, dict) else frozenset()

    @contextmanager
    def naming_rows(self) -> Iterator[None]:
        """Errors raised while a row is read, by whoever reads it, tell which one it is."""
        try:
            yield
        except InvalidInput as error:
            if not self.number:
                raise
            what = error.message.removeprefix("the body: ")
            where = f"line {self.number}: " if self.lines else f"/rows/{self.number - 1}" + ("" if what[0] == "/" else ": ")
            raise InvalidInput(where + what, pointer=f"/rows/{self.number - 1}{error.pointer or ''}") from None


def given(request: Request, *, body: type[Options], options: type[Options]) -> Given[Options]:
    """Read the whole request.

    Raises:
        InvalidInput: it is not what it says it is.
        PayloadTooLarge: it has too many rows, or bytes.
        UnsupportedMediaType: neither JSON nor NDJSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _JSON | _NDJSON:
        raise UnsupportedMediaType("expected content type application/json or application/x-ndjson")
    asked = parse_query(request.query, options)
    raw = b"".join(request.chunks or ())  # type: ignore[arg-type]  # Flask functions get an iterator
    if media_type in _NDJSON:
        rows: list[Any] = [line for line in raw.split(b"\n") if line.strip()]
        if len(rows) > MAX_ROWS:
            raise PayloadTooLarge(f"at most {MAX_ROWS} rows are taken")
        return Given(asked, rows, lines=True)
    document = parse(raw, body)
    told = {name: getattr(document, name) for name in document.model_fields_set - {"rows"}}
    return Given(asked.model_copy(update=told), document.rows, lines=False)  # type: ignore[attr-defined]
