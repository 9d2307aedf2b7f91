"""A run's results as JSON pages, or streamed whole as NDJSON or CSV."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from common.errors import InvalidInput, NotFound
from common.schemas.base import Model
from common.store.results import indexes_in, pages_in
from functions.aggregate.records import Outcome, Records
from functions.aggregate.rows import csv_header, csv_line, json_row, ndjson_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from common.schemas.runs import ItemResult, RunPlan

Format = Literal["json", "ndjson", "csv"]

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
}
_ACCEPTED: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
}
DEFAULT_LIMIT = 50
MAX_JSON_LIMIT = 200
_AT_A_TIME = 1000  # indexes found at once


class ResultsQuery(Model):
    """Query of ``/runs/{id}/results``. ``after`` is the cursor of a former page; ``limit`` None means all, JSON aside."""

    format: Format | None = None
    after: int | None = Field(None, ge=0)
    limit: int | None = Field(None, ge=1)
    outcome: Outcome | None = None


class ResultsPage(Model):
    """A page of results; ``next`` is the ``after`` of the following page, null on the last."""

    data: list[dict[str, Any]]
    has_more: bool
    next: str | None


def negotiate(query: ResultsQuery, accept: str) -> Format:
    """The format asked for: by the query, else by the Accept header (RFC 9110, section 12.5.1), else JSON."""
    if query.format is not None:
        return query.format
    offers: list[tuple[float, Format]] = []
    for part in accept.split(",")[:32]:
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if found := _ACCEPTED.get(media_type):
            offers.append((_quality(parameters), found))
    best = max(offers, key=lambda offer: offer[0], default=(0.0, "json"))
    return best[1] if best[0] > 0 else "json"


def json_page(plan: RunPlan, query: ResultsQuery, records: Records) -> ResultsPage:
    """One page. Two Redis trips.

    Raises:
        InvalidInput: more than `MAX_JSON_LIMIT` at once; NDJSON and CSV stream any number.
    """
    limit = DEFAULT_LIMIT if query.limit is None else query.limit
    if limit > MAX_JSON_LIMIT:
        raise InvalidInput(f"limit: at most {MAX_JSON_LIMIT} as JSON; ndjson and csv stream any number", pointer="/limit")
    indexes = records.listed(plan, outcome=query.outcome, after=query.after, limit=limit + 1)
    shown, more = indexes[:limit], len(indexes) > limit
    rows = [json_row(result) for result in records.items(plan, shown)]
    return ResultsPage(data=rows, has_more=more, next=str(shown[-1]) if more else None)


def exported(plan: RunPlan, query: ResultsQuery, records: Records, *, form: Format) -> tuple[Iterator[bytes], int | None]:
    """Everything the query asks for, page by page in bounded memory, and the cursor if more follows.

    What is listed is settled now: items that are counted later are not in it.
    """
    settled = records.settled(plan, outcome=query.outcome)
    shown = islice(_indexes(settled, query.after), query.limit)
    following = None if query.limit is None else _cursor(settled, query.after, query.limit)
    if form == "ndjson":
        return _lines(plan, shown, records, line=ndjson_line), following
    graders = [grader.name for grader in plan.graders]
    lines = _lines(plan, shown, records, line=lambda result: csv_line(result, graders))
    return _headed(csv_header(graders), lines), following


def _indexes(bitmap: bytes, after: int | None) -> Iterator[int]:
    return chain.from_iterable(pages_in(bitmap, after=after, limit=_AT_A_TIME))


def _cursor(bitmap: bytes, after: int | None, limit: int) -> int | None:
    """The last of `limit` items, None when there are no more than these."""
    last = next(islice(_indexes(bitmap, after), limit - 1, limit), None)
    return last if last is not None and indexes_in(bitmap, after=last, limit=1) else None


def _headed(header: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    yield header
    yield from lines


def _lines(plan: RunPlan, indexes: Iterable[int], records: Records, *, line: Callable[[ItemResult], bytes]) -> Iterator[bytes]:
    for page in records.pages(plan, indexes):
        if any(not result.verdicts for result in page):
            # A counted item always has verdicts. Breaking off is better than an export that only looks whole.
            raise NotFound(f"run {plan.run_id} was deleted while it was read")
        yield b"".join(map(line, page))


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
