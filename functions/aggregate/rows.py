"""One item's outcome as a row: JSON, a line of NDJSON, or cells of CSV."""

from __future__ import annotations

import csv
import io
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import orjson

from common.schemas.evaluation import Usage, total_cost, usd
from common.stats.summary import item_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.evaluation import Verdict
    from common.schemas.runs import ItemResult

Cell = str | float | int | None

_PER_GRADER = ("score", "passed", "label", "unscored_code", "reason")
# Source: OWASP, "CSV Injection": a cell beginning with one of these is run as a formula by spreadsheet programs.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def usage(result: ItemResult) -> Usage:
    """Tokens of the item's sample and verdicts together."""
    start = result.sample.usage if result.sample else Usage()
    return sum((verdict.usage for verdict in result.verdicts), start)


def cost_microusd(result: ItemResult) -> int | None:
    """Cost of the item's sample and verdicts; None as soon as one price is unknown."""
    sample = [result.sample.cost_microusd] if result.sample else []
    return total_cost(sample + [verdict.cost_microusd for verdict in result.verdicts])


def json_row(result: ItemResult) -> dict[str, Any]:
    """The whole result, with its outcome, tokens and cost (null: unknown)."""
    whole = result.model_dump(mode="json")
    return {
        "index": result.index,
        "line": result.line,
        "outcome": item_outcome(result.verdicts),
        "item": whole["item"],
        "sample": whole["sample"],
        "verdicts": whole["verdicts"],
        "usage": usage(result).model_dump(mode="json"),
        "cost_usd": usd(cost_microusd(result)),
    }


def ndjson_line(result: ItemResult) -> bytes:
    """`json_row` and a newline."""
    return orjson.dumps(json_row(result)) + b"\n"


def csv_header(graders: Sequence[str]) -> bytes:
    """Column names. Graders are columns of their own, in the run's order."""
    names = [f"{grader}.{part}" for grader in graders for part in _PER_GRADER]
    return _line(["index", "line", "outcome", "item", "output", *names, "tokens", "cost_usd"])


def csv_line(result: ItemResult, graders: Sequence[str]) -> bytes:
    """Cells in the order of `csv_header`. Empty: no score, or a cost that is unknown; 0 means free."""
    cells: list[Cell] = [
        result.index,
        result.line,
        item_outcome(result.verdicts),
        orjson.dumps(result.item).decode(),
        result.sample.output_text if result.sample else None,
    ]
    for _, verdict in zip_longest(graders, result.verdicts[: len(graders)]):
        cells += _verdict_cells(verdict)
    return _line([*cells, usage(result).total_tokens, usd(cost_microusd(result))])


def _verdict_cells(verdict: Verdict | None) -> list[Cell]:
    if verdict is None:
        return [None] * len(_PER_GRADER)
    passed = None if verdict.passed is None else str(verdict.passed).lower()
    code = verdict.unscored.code if verdict.unscored else None
    return [verdict.score, passed, verdict.label, code, verdict.reason]


def _line(cells: Sequence[Cell]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([_safe(cell) for cell in cells])  # RFC 4180: CRLF, quoted where needed
    return buffer.getvalue().encode("utf-8", "replace")


def _safe(cell: Cell) -> Cell:
    """Numbers stay numbers; text cannot be taken for a formula, nor end the file for readers that stop at a NUL."""
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
