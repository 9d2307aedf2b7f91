"""Runs out of one project and into another: over HTTP, by the command line, with a real store."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cli.main import outcome
from cli.moving.package import seal
from common.errors import NotFound
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.schemas.graders import ScoreModelGrader
from common.schemas.runs import RunPlan, StoredSample
from common.stats.summary import counters
from common.store.datasets import DatasetStore
from common.store.evals import EvalStore
from common.store.results import ResultStore
from common.store.runstate import FoldItem
from functions.tasks.moving.transfer import Exporter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_evals_api.conftest import World

ITEMS = 130
GRADERS = [
    ScoreModelGrader.model_validate(
        {"type": "score_model", "name": name, "model": "lab:j", "range": [0, 5], "input": [{"role": "user", "content": "x"}]}
    )
    for name in ("a", "b")
]
CALL = ModelCall(
    model="lab:j", reported_model="j-1", usage=Usage(prompt_tokens=9, completion_tokens=4), cost_microusd=7, simulated=True
)
OWN = {"run_id", "eval_id", "eval_version", "metadata", "report_url"}


def _verdict(name: str, index: int) -> Verdict:
    if index % 11 == 3 and name == "b":
        return Verdict(name=name, type="score_model", unscored=Unscored(code="malformed_reply", message="no"), calls=[CALL])
    score = (index * 0.37 + len(name)) % 5
    return Verdict(
        name=name, type="score_model", score=score, passed=score > 2, reason=f"r{index} é", calls=[CALL], latency_ms=1.5
    )


def _run(world: World, *, done: int = ITEMS) -> RunPlan:
    """A run with samples, all but its last items judged, then canceled; one call more was paid than its results tell."""
    runs, results = world.runs, ResultStore(world.store)
    version = EvalStore(world.store).create(
        "E", graders=list(GRADERS), data_source_config={"type": "custom", "item_schema": {}}, metadata={"m": "1"}
    )
    identity = runs.new_identity()
    with DatasetStore(world.store).writer(max_bytes=1 << 20) as writer:
        for number in range(ITEMS):
            writer.write(b'\n{"item": {"n": %d}} \r\n' % number)
        dataset = writer.finish(f"run:{identity.id('run')}")
    plan = RunPlan(
        run_id=identity.id("run"),
        eval_id=version.eval_id,
        eval_version=1,
        name="r",
        created_at=identity.created_at,
        dataset_id=dataset.dataset_id,
        item_count=ITEMS,
        graders=list(GRADERS),
        data_source={"type": "jsonl"},
        window_items=50,
    )
    runs.create(plan)
    for index in range(done):
        sample = StoredSample(output_text=f"t{index}", model="lab:t", usage=Usage(prompt_tokens=3), cost_microusd=2)
        verdicts = [_verdict(grader.name, index) for grader in GRADERS]
        results.save(plan, {index: sample}, {(index, number): verdict for number, verdict in enumerate(verdicts)})
        passed = [number for number, verdict in enumerate(verdicts) if verdict.passed]
        ended = "error" if any(v.score is None for v in verdicts) else "pass" if len(passed) == len(GRADERS) else "fail"
        scores = {number: verdict.score for number, verdict in enumerate(verdicts) if verdict.score is not None}
        added = counters(plan.graders, sample, verdicts)
        if not index:
            added["m.judge.lab:j.calls"] += 1
        runs.fold(plan, [FoldItem(index, ended, added, scores, passed)])  # type: ignore[arg-type]
    if done < ITEMS:
        runs.cancel(plan.run_id)
    return plan


def _export(world: World, plan: RunPlan, to: Path) -> int:
    options = ["--base-url", f"{world.url}/v1", "--api-key", world.client.api_key]
    return outcome(["export", plan.run_id, "-o", str(to), *options])


def _import(world: World, path: Path, key: str) -> int:
    return outcome(["import", "run", str(path), "--base-url", f"{world.url}/v1", "--api-key", key])


@pytest.mark.parametrize(("done", "name"), [(ITEMS, "run.tar.gz"), (70, "folder")])
def test_a_run_arrives_whole_and_once(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, done: int, name: str
) -> None:
    """Summary, sums, vectors, every verdict and every byte of the data are those of the original, after one import or two."""
    plan, other = _run(world, done=done), world.new_client("other")
    assert _export(world, plan, tmp_path / name) == 0
    ids = []
    for _ in range(2):
        assert _import(world, tmp_path / name, other.api_key) == 0
        ids.append(capsys.readouterr().out.strip())
    assert ids[0] == ids[1]
    assert other.files.list().data == []
    there = world.runs.plan(ids[0])
    assert there.project == "other"
    assert [run.id for run in other.evals.runs.list(there.eval_id).data] == [ids[0]]
    summaries = [world.records.summary(each).model_dump(mode="json", exclude=OWN) for each in (plan, there)]
    assert summaries[0] == summaries[1]
    assert world.runs.sums(plan.run_id) == world.runs.sums(there.run_id)
    results = ResultStore(world.store)
    for index in range(len(GRADERS)):
        assert results.scores.scores(plan, index) == results.scores.scores(there, index)
        assert results.scores.passed(plan, index) == results.scores.passed(there, index)
    assert results.results(plan, 0, ITEMS) == results.results(there, 0, ITEMS)
    datasets = DatasetStore(world.store)
    assert b"".join(datasets.content(plan.dataset_id)) == b"".join(datasets.content(there.dataset_id))
    assert there.run_id.encode() not in world.store.zrange("kn:runs:active", 0, -1)
    other.close()


def test_only_what_has_ended_is_exported(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that goes on is refused, so is another project's, and no file is left."""
    plan = _run(world)
    world.store.hset(f"kn:run:{{{plan.run_id}}}:state", "status", "in_progress")
    assert _export(world, plan, tmp_path / "a.tar.gz") == 2
    assert "only runs that have ended" in capsys.readouterr().err
    for part, status in (("items", 200), ("samples", 409), ("verdicts", 409)):
        key = {"authorization": f"Bearer {world.client.api_key}"}
        assert httpx.get(f"{world.url}/v1/export/runs/{plan.run_id}/{part}", headers=key).status_code == status
    world.client = world.new_client("other")
    assert _export(world, plan, tmp_path / "b.tar.gz") == 2
    assert list(tmp_path.iterdir()) == []


def test_an_export_holds_a_page_at_a_time(world: World) -> None:
    """What an export keeps in memory does not grow with the run: the first line of a million is there for little."""
    plan = _run(world).model_copy(update={"item_count": 1_000_000})
    world.store.set(f"kn:run:{{{plan.run_id}}}:done", b"\xff" * 125_000)
    exporter = Exporter(EvalStore(world.store), world.runs, ResultStore(world.store))
    tracemalloc.start()
    try:
        assert next(exporter.part(plan, "samples"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000  # a list of all indexes alone has 36 MB


def test_an_export_of_a_deleted_run_breaks_off(world: World) -> None:
    """A run that is deleted while it is exported ends the export with an error, not with lines that have no verdicts."""
    plan = _run(world)
    verdicts = Exporter(EvalStore(world.store), world.runs, ResultStore(world.store)).part(plan, "verdicts")
    assert next(verdicts)
    world.client.evals.runs.delete(plan.run_id, eval_id=plan.eval_id)
    with pytest.raises(NotFound, match="was deleted while it was read"):
        list(verdicts)


def _edited(folder: Path, name: str, change: Any) -> None:
    path = folder / name
    path.write_text(change(path.read_text()))
    seal(folder)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("verdicts.ndjson", lambda text: text.replace('"index":7,', '"index":6,'), "verdicts.ndjson, line 8"),
        ("verdicts.ndjson", lambda text: text.replace("\n", "\nx\n", 1), "verdicts.ndjson, line 2: not JSON"),
        ("verdicts.ndjson", lambda text: "".join(text.splitlines(keepends=True)[:-1]), "129 of 130 results"),
        ("verdicts.ndjson", lambda text: text.replace('"passed":true', '"passed":false', 1), "do not add up"),
        ("verdicts.ndjson", lambda text: text.replace('"name":"a"', '"name":"z"', 1), "one verdict of each grader"),
        ("items.ndjson", lambda text: text.replace("129", "999"), "is not the run's data"),
        ("run.json", lambda text: text.replace('"m.judge.', '"g0.judge.', 1), "run/calls"),
        ("run.json", lambda _: "[]", "run.json: expected a JSON object"),
    ],
)
def test_what_is_wrong_with_a_package_is_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, name: str, change: Any, told: str
) -> None:
    """A line out of order, no JSON, a lost or changed result, other data: each is named, and nothing is called complete."""
    plan, other = _run(world), world.new_client("other")
    assert _export(world, plan, tmp_path / "run") == 0
    _edited(tmp_path / "run", name, change)
    assert _import(world, tmp_path / "run", other.api_key) == 2
    assert told in capsys.readouterr().err
    runs = [run for each in other.evals.list().data for run in other.evals.runs.list(each.id).data]
    assert [run.status for run in runs if run.status != "in_progress"] == []
    other.close()


def _archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content) if member.isfile() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def test_hostile_archives_are_refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths, links, doubled names, oversized documents, damage and wrong sums end the import before anything is sent."""
    link = tarfile.TarInfo("run.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    wrong = [
        [(tarfile.TarInfo("../run.json"), b"{}")],
        [(tarfile.TarInfo("/etc/run.json"), b"{}")],
        [(link, b"")],
        [(tarfile.TarInfo("run.json"), b"{}"), (tarfile.TarInfo("run.json"), b"{}")],
        [(tarfile.TarInfo("run.json"), b" " * (32 * 1024 * 1024 + 1))],
        [(tarfile.TarInfo("run.json"), json.dumps({}).encode())],
    ]
    paths = [_archive(tmp_path / f"{number}.tar.gz", *members) for number, members in enumerate(wrong)]
    (tmp_path / "cut.tar.gz").write_bytes(paths[4].read_bytes()[:-100])
    (tmp_path / "none.tar.gz").write_bytes(b"nothing")
    for path in (*paths, tmp_path / "cut.tar.gz", tmp_path / "none.tar.gz"):
        assert _import(world, path, world.client.api_key) == 2, path
        assert path.name in capsys.readouterr().err
    assert world.client.evals.list().data == []
