from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.schemas.evaluation import Unscored, Usage
from functions.aggregate import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.runs import ItemResult

    Build = Callable[..., ItemResult]

GRADERS = ["correctness"]
UNSCORED = Unscored(code="malformed_reply", message="no JSON")


def read(line: bytes) -> dict[str, str]:
    table = list(csv.reader(io.StringIO((rows.csv_header(GRADERS) + line).decode(), newline="")))
    assert [len(row) for row in table] == [len(table[0])] * 2
    return dict(zip(*table, strict=True))


def test_a_row_has_everything(item: Build) -> None:
    """A JSON row holds item, sample, verdicts, outcome, tokens and cost; NDJSON is the same on a line."""
    row = rows.json_row(item())
    assert row["outcome"] == "failed"
    assert row["item"]["reference"] == "30 days"
    assert row["sample"]["output_text"] == "Whenever you like."
    assert row["verdicts"][0]["reason"] == "It names no time limit."
    assert (row["usage"]["total_tokens"], row["cost_usd"]) == (100, 0.0005)
    line = rows.ndjson_line(item())
    assert line.count(b"\n") == 1
    assert orjson.loads(line) == row


def test_what_is_unknown_stays_empty(item: Build) -> None:
    """An unscored verdict has no score and an unknown cost is no 0, in JSON and in CSV."""
    unscored = item(unscored=UNSCORED, cost_microusd=None)
    row = rows.json_row(unscored)
    assert (row["outcome"], row["verdicts"][0]["score"], row["cost_usd"]) == ("errored", None, None)
    cells = read(rows.csv_line(unscored, GRADERS))
    assert cells["outcome"] == "errored"
    assert cells["correctness.unscored_code"] == "malformed_reply"
    assert (cells["correctness.score"], cells["correctness.passed"], cells["cost_usd"]) == ("", "", "")


def test_csv_cells(item: Build) -> None:
    """Every column holds what its name says."""
    assert read(rows.csv_line(item(label="poor").model_copy(update={"line": 2}), GRADERS)) == {
        "index": "4",
        "line": "2",
        "outcome": "failed",
        "item": '{"question":"How long may I keep it?","reference":"30 days"}',
        "output": "Whenever you like.",
        "correctness.score": "1.0",
        "correctness.passed": "false",
        "correctness.label": "poor",
        "correctness.unscored_code": "",
        "correctness.reason": "It names no time limit.",
        "tokens": "100",
        "cost_usd": "0.0005",
    }


def test_negative_scores_stay_numbers(item: Build) -> None:
    """The guard against formulas is for text; a number may begin with a minus."""
    assert read(rows.csv_line(item(score=-2.5), GRADERS))["correctness.score"] == "-2.5"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_is_never_a_formula(item: Build, start: str) -> None:
    """A cell of text that a spreadsheet would run begins with an apostrophe, and so does a column's name."""
    cells = read(rows.csv_line(item(output=start + "cmd|' /C calc'!A0", reason=start, label=start), GRADERS))
    assert cells["output"] == "'" + start + "cmd|' /C calc'!A0"
    assert cells["correctness.reason"] == cells["correctness.label"] == "'" + start
    assert b"'=1+1.score" in rows.csv_header(["=1+1"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(output=st.text(max_size=100), reason=st.text(max_size=100))
def test_any_text_survives_csv(item: Build, output: str, reason: str) -> None:
    """Quotes, commas and line ends in a cell never make another cell or row, and no cell starts a formula."""
    cells = read(rows.csv_line(item(output=output, reason=reason), GRADERS))
    assert cells["output"].removeprefix("'") == output.removeprefix("'").replace("\0", "\ufffd")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells.values())


def test_a_missing_verdict_leaves_its_columns_empty(item: Build) -> None:
    """Columns stay in place when a grader has said nothing."""
    cells = read(rows.csv_line(item().model_copy(update={"verdicts": []}), GRADERS))
    assert (cells["correctness.score"], cells["tokens"], cells["outcome"]) == ("", "0", "errored")


def test_a_generated_sample_is_paid_for_too(item: Build) -> None:
    """Tokens and cost of the target model count with the judges'; one unknown price makes the sum unknown."""
    result = item()
    assert result.sample is not None
    paid = result.sample.model_copy(update={"usage": Usage(prompt_tokens=7), "cost_microusd": 100})
    assert rows.usage(result.model_copy(update={"sample": paid})).total_tokens == 107
    assert rows.cost_microusd(result.model_copy(update={"sample": paid})) == 600
    unpriced = paid.model_copy(update={"cost_microusd": None})
    assert rows.cost_microusd(result.model_copy(update={"sample": unpriced})) is None
