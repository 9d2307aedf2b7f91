"""One item's whole life, in the log files of all functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import orjson

from cli.main import outcome
from tests.support.system import whole_system

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
_GRADER = {"type": "string_check", "name": "same", "input": "{{item.n}}", "reference": "1", "operation": "eq"}


def completed_run(tasks: httpx.Client, aggregate: str) -> str:
    """The id of a run over three items that has ended, as its stream says."""
    config = {"type": "custom", "item_schema": _SCHEMA}
    made = tasks.post("/v1/evals", json={"name": "life", "data_source_config": config, "testing_criteria": [_GRADER]})
    source = {"type": "file_content", "content": [{"item": {"n": number}} for number in range(3)]}
    body = {"name": "life", "data_source": {"type": "jsonl", "source": source}}
    run_id: str = tasks.post(f"/v1/evals/{made.json()['id']}/runs", json=body).json()["id"]
    with httpx.stream("GET", f"{aggregate}/runs/{run_id}/stream", timeout=60) as stream:
        assert any(line == "event: completed" for line in stream.iter_lines())
    return run_id


def logged(folder: Path, run_id: str, item: int, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert outcome(["logs", run_id, str(item), "--folder", str(folder), "--json"]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_item_is_found_from_issue_to_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What tasks, evaluate and aggregate did with an item is found by its run and index, under one trace, and no other item."""
    with whole_system(tmp_path) as base:
        with httpx.Client(base_url=f"http://127.0.0.1:{base + 4}", timeout=30) as tasks:
            run_id = completed_run(tasks, f"http://127.0.0.1:{base + 2}")
        lines = logged(tmp_path / "logs", run_id, 1, capsys)
    named = [line for line in lines if 1 in line.get("items", [])]
    assert [(line["function"], line["event"]) for line in named] == [
        ("tasks", "tasks.items_issued"),
        ("evaluate", "evaluate.items_taken"),
        ("evaluate", "evaluate.items_judged"),
        ("aggregate", "aggregate.items_folded"),
    ]
    assert len({line["trace_id"] for line in named}) == 1
    assert {line["run_id"] for line in named} == {run_id}
    assert all(line.get("items") in (None, [1]) for line in lines)
    assert outcome(["logs", run_id, "7", "--folder", str(tmp_path / "logs")]) == 2
