"""Taking in evals and runs that happened elsewhere. The steps are described in `common.schemas.imports`.

A run is history: its items are counted from what was said about them then, in the same script as everybody's results, and
nothing of it is ever issued to a judge. Every step can be repeated, whoever died in the middle of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse
from common.errors import Conflict, NotFound
from common.schemas.evaluation import Unscored
from common.schemas.imports import (
    IMPORTED_FROM,
    EvalImport,
    ImportedEval,
    ImportedLine,
    ImportedRun,
    ItemsImport,
    RunImport,
    SourceItem,
)
from common.schemas.runs import ENDED, EvalVersion, RunPlan, RunStatus, StoredSample
from common.stats.summary import counters, item_outcome
from common.store.imports import ImportedNotes, ImportStore, derived_id
from common.store.runstate import FoldItem
from functions.tasks.moving import imported

if TYPE_CHECKING:
    from typing import Literal

    from common.schemas.evaluation import Verdict
    from common.store.datasets import Dataset
    from common.store.evals import EvalStore
    from common.store.files import FileStore
    from common.store.results import ResultStore
    from common.store.runs import RunStore
    from common.store.runstate import RunState

_MAX_BODY_BYTES = 32 * 1024 * 1024  # an eval's or a run's own description; items come as a file
_STEP_BYTES = 8 * 1024 * 1024
_TITLE_LIMIT = 256
_STORED_AS: dict[str, Literal["pass", "fail", "error"]] = {"passed": "pass", "failed": "fail", "errored": "error"}


@dataclass(frozen=True, slots=True)
class Importer:
    """The three steps of an import, over the stores."""

    evals: EvalStore
    files: FileStore
    runs: RunStore
    results: ResultStore
    imports: ImportStore

    def routes(self) -> list[Route]:
        """The routes of an import."""
        one = "/v1/import/runs/{run_id}/items"
        big = _MAX_BODY_BYTES
        return [
            Route(
                "POST",
                "/v1/import/evals",
                self.put_eval,
                "Import an eval",
                EvalImport,
                ImportedEval,
                limited=True,
                max_body_bytes=big,
            ),
            Route(
                "POST",
                "/v1/import/runs",
                self.put_run,
                "Import a run",
                RunImport,
                ImportedRun,
                limited=True,
                max_body_bytes=big,
            ),
            Route("POST", one, self.put_items, "Count imported items", ItemsImport, ImportedRun),
        ]

    def put_eval(self, request: Request) -> Response:
        """``POST /v1/import/evals``."""
        body, project = parse(request.body, EvalImport, strict=False), request.caller.project
        given, url = body.eval, f"{body.source}/evals/{body.eval.id}"
        version = EvalVersion(
            eval_id=derived_id("eval", project, body.source, given.id, created_at=given.created_at),
            version=1,
            name=(given.name or "Imported eval")[:_TITLE_LIMIT],
            metadata={**(given.metadata or {}), IMPORTED_FROM: url},
            data_source_config=imported.data_source_config(given.data_source_config),
            graders=imported.graders(given.testing_criteria),
            created_at=given.created_at,
            updated_at=given.created_at,
            project=project,
        )
        return json_response(ImportedEval(eval_id=version.eval_id, created=self.imports.put_eval(version)))

    def put_run(self, request: Request) -> Response:
        """``POST /v1/import/runs``."""
        body = parse(request.body, RunImport, strict=False)
        version = self.evals.get(body.eval_id, project=request.caller.project)
        status = _ended(body.run.status)
        url = f"{body.source}/evals/{body.run.eval_id}/runs/{body.run.id}"
        run_id = derived_id("run", version.eval_id, body.source, body.run.id, created_at=body.run.created_at)
        plan = self._known(run_id) or self._plan(run_id, body, version, url)
        told = body.run.knudge
        entries = body.run.per_model_usage or []
        model = plan.target.model if plan.target else None
        failure = imported.reason(body.run.error) or Unscored(code="unknown", message="it did not say why")
        self.imports.put_run(
            plan,
            status=status,
            started_at=told.started_at if told else None,
            notes=ImportedNotes(usage_counted=bool(entries), ended_at=told.ended_at if told else None),
            error=failure if status == "failed" else None,
            sums=imported.usage_sums(entries, target_model=model, simulated=bool(told and told.simulated)),
        )
        return _progress(self.runs.state(run_id), after=0)

    def put_items(self, request: Request) -> Response:
        """``POST /v1/import/runs/{run_id}/items``."""
        body, run_id = parse(request.body, ItemsImport), request.params["run_id"]
        plan, notes = self.runs.plan(run_id), self.imports.notes(run_id)
        if plan.project != request.caller.project or notes is None:
            raise NotFound(f"no such imported run: {run_id[:80]}")
        indexes = range(body.start, min(plan.item_count, body.start + min(body.limit, self._step(plan))))
        if indexes:
            self._count(plan, indexes, notes)
        state = self.runs.state(run_id)
        if state.completed_event == "pending":
            self.imports.settle(run_id, notes)
        return _progress(state, after=indexes.stop)

    def _step(self, plan: RunPlan) -> int:
        """How many items may be held at once."""
        dataset = self.files.datasets.info(plan.dataset_id)
        return max(1, _STEP_BYTES * dataset.lines // max(1, dataset.size_bytes))

    def _count(self, plan: RunPlan, indexes: range, notes: ImportedNotes) -> None:
        lines = self.files.datasets.lines(plan.dataset_id, indexes)
        samples: dict[int, StoredSample] = {}
        verdicts: dict[tuple[int, int], Verdict] = {}
        batch: list[FoldItem] = []
        for index in indexes:
            item = _item(lines.get(index, b""))
            sample, found = imported.sample(item.sample), imported.verdicts(item, plan.graders)
            if sample is not None:
                samples[index] = sample
            verdicts |= {(index, number): verdict for number, verdict in enumerate(found)}
            increments = _increments(plan, item, found, sample=sample, notes=notes)
            batch.append(_fold_item(index, item, found, increments))
        self.results.save(plan, samples, verdicts)
        if self.runs.fold(plan, batch).status is None:
            raise NotFound(f"no such run: {plan.run_id}")

    def _known(self, run_id: str) -> RunPlan | None:
        try:
            return self.runs.plan(run_id)
        except NotFound:
            return None

    def _plan(self, run_id: str, body: RunImport, version: EvalVersion, url: str) -> RunPlan:
        dataset = self._dataset(body.file_id, run_id, project=version.project)
        return RunPlan(
            run_id=run_id,
            eval_id=version.eval_id,
            eval_version=version.version,
            name=(body.run.name or version.name)[:_TITLE_LIMIT],
            metadata={**(body.run.metadata or {}), IMPORTED_FROM: url},
            created_at=body.run.created_at,
            dataset_id=dataset.dataset_id,
            item_count=dataset.lines,
            graders=version.graders,
            target=imported.target(body.run.data_source),
            data_source=imported.echo(body.run.data_source),
            window_items=1,
            project=version.project,
        )

    def _dataset(self, file_id: str | None, run_id: str, *, project: str) -> Dataset:
        datasets = self.files.datasets
        if file_id is not None:
            return datasets.info(self.files.get(file_id, project=project).dataset_id)
        with datasets.writer(max_bytes=0) as writer:
            return writer.finish(f"run:{run_id}")


def _ended(status: str) -> RunStatus:
    if status not in ENDED:
        raise Conflict(f"only runs that have ended can be imported, this one is {status[:40]!r}", pointer="/run/status")
    return status  # type: ignore[return-value]  # ENDED holds members of RunStatus only


def _item(line: bytes) -> SourceItem:
    """The output item of a line. One that cannot be understood counts as errored; its text stays in the data set."""
    try:
        return ImportedLine.model_validate_json(line).imported
    except ValidationError:
        return SourceItem(status="error")


def _outcome(item: SourceItem, verdicts: list[Verdict]) -> str:
    """How the item ended is for its own server to say, even where its results suggest something else."""
    return imported.outcome(item) or item_outcome(verdicts)


def _increments(
    plan: RunPlan, item: SourceItem, verdicts: list[Verdict], *, sample: StoredSample | None, notes: ImportedNotes
) -> dict[str, int]:
    """What the item adds to the run's sums."""
    if notes.usage_counted:
        counted = counters(plan.graders, None, [verdict.model_copy(update={"calls": []}) for verdict in verdicts])
    else:
        counted = counters(plan.graders, sample, verdicts)
    del counted[f"items.{item_outcome(verdicts)}"]
    return {**counted, f"items.{_outcome(item, verdicts)}": 1}


def _fold_item(index: int, item: SourceItem, verdicts: list[Verdict], increments: dict[str, int]) -> FoldItem:
    scores = {number: verdict.score for number, verdict in enumerate(verdicts) if verdict.score is not None}
    passed = frozenset(number for number, verdict in enumerate(verdicts) if verdict.passed)
    return FoldItem(index, _STORED_AS[_outcome(item, verdicts)], increments, scores, passed)


def _progress(state: RunState, *, after: int) -> Response:
    progress = ImportedRun(run_id=state.run_id, status=state.status, total=state.total, done=state.done, next=after)
    return json_response(progress)
