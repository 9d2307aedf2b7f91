"""Runs out of this Knudge and into it, whole: with every sample and verdict as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import Conflict, InvalidInput, NotFound
from common.schemas.canaries import Canary
from common.schemas.imports import IMPORTED_FROM
from common.schemas.transfer import Transferred, TransferRun, TransferSample, TransferVerdicts
from common.stats.summary import canary_counters, counters, item_outcome
from common.store.imports import ImportedNotes, derived_id
from common.store.results import OUTCOMES, pages_in
from common.store.runstate import FoldItem
from functions.tasks.moving import imported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from common.schemas.runs import EvalVersion, RunPlan
    from common.schemas.transfer import TransferCreate, TransferResult
    from common.store.datasets import Dataset
    from common.store.evals import EvalStore
    from common.store.files import FileStore
    from common.store.imports import ImportStore
    from common.store.results import Loaded, ResultStore
    from common.store.runs import RunStore
    from common.store.runstate import RunState

_PAGE = 50
_TITLE_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Exporter:
    """Reads runs that have ended."""

    evals: EvalStore
    runs: RunStore
    results: ResultStore

    def run(self, plan: RunPlan) -> TransferRun:
        """All but items, samples and verdicts.

        Raises:
            Conflict: the run has not ended.
        """
        snapshot, datasets = self.runs.snapshot_of(plan), self.runs.datasets
        state = snapshot.state
        _check_ended(state)
        return TransferRun(
            eval=self.evals.get(plan.eval_id, version=plan.eval_version, project=plan.project),
            plan=plan,
            status=state.status,
            started_at=state.started_at,
            ended_at=state.ended_at,
            error=state.error,
            stopped=state.stopped,
            dataset_sha256=datasets.sha256(plan.dataset_id),
            canaries_sha256=None if plan.canary_dataset_id is None else datasets.sha256(plan.canary_dataset_id),
            results=state.done,
            sums={field: amount for field, amount in snapshot.sums.items() if not field.startswith("m.")},
            calls={field: amount for field, amount in snapshot.sums.items() if field.startswith("m.")},
        )

    def part(self, plan: RunPlan, part: str) -> Iterator[bytes]:
        """``items`` and ``canaries`` byte for byte, ``samples`` and ``verdicts`` a line each; in bounded memory.

        Raises:
            Conflict: the run has not ended, and has more samples and verdicts to come.
        """
        if part == "items":
            return self.runs.datasets.content(plan.dataset_id)
        if part == "canaries":
            return iter(()) if plan.canary_dataset_id is None else self.runs.datasets.content(plan.canary_dataset_id)
        _check_ended(self.runs.state(plan.run_id))
        return self._samples(plan) if part == "samples" else self._verdicts(plan)

    def _pages(self, plan: RunPlan) -> Iterator[tuple[list[int], Loaded]]:
        for page in pages_in(self.runs.counted(plan.run_id), after=None, limit=_PAGE):
            yield page, self.results.load(plan, page, lines=False)

    def _samples(self, plan: RunPlan) -> Iterator[bytes]:
        for page, loaded in self._pages(plan):
            for index in page:
                if index in loaded.samples:
                    yield _line(TransferSample(index=index, sample=loaded.samples[index]))

    def _verdicts(self, plan: RunPlan) -> Iterator[bytes]:
        outcomes = {outcome: self.results.finished(plan, outcome=outcome) for outcome in OUTCOMES}
        for page, loaded in self._pages(plan):
            for index in page:
                told = next((outcome for outcome, bitmap in outcomes.items() if _bit(bitmap, index)), None)
                found = [
                    loaded.verdicts[index, grader] for grader in range(len(plan.graders)) if (index, grader) in loaded.verdicts
                ]
                if not found:
                    # A counted item always has verdicts. Breaking off is better than an export that only looks whole.
                    raise NotFound(f"run {plan.run_id} was deleted while it was read")
                yield _line(TransferVerdicts.model_validate({"index": index, "outcome": told, "verdicts": found}))


def _check_ended(state: RunState) -> None:
    if not state.ended:
        raise Conflict(f"only runs that have ended can be exported, this one is {state.status}")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes exported runs in. Ids follow from those they had, so that a run arrives once, however often it is sent."""

    files: FileStore
    runs: RunStore
    results: ResultStore
    imports: ImportStore

    def create(self, body: TransferCreate, *, project: str) -> RunPlan:
        """Keep the eval's version as an eval, and the run, which goes on until `end`.

        Raises:
            NotFound: no such file.
            Conflict: the files are not the run's data.
        """
        told = body.run
        if told.plan.graders and (told.plan.eval_id, told.plan.eval_version) != (told.eval.eval_id, told.eval.version):
            raise InvalidInput("the run is of another eval", pointer="/run/eval")
        version = self._version(body, project)
        plan = self._known(told, project) or self._plan(body, version, project)
        self.imports.put_eval(version)
        self.imports.put_run(
            plan,
            status="completed",
            started_at=told.started_at,
            notes=ImportedNotes(usage_counted=True, ended_at=told.ended_at),
            error=None,
            sums=told.calls,
            held_open=True,
        )
        return plan

    def take(self, plan: RunPlan, results: Sequence[TransferResult]) -> None:
        """Keep and count results. Raises `InvalidInput` for one that is not of this run, `NotFound` if the run is gone."""
        known = self._canaries(plan, [result.index for result in results if result.index < plan.position_count])
        batch = [self._checked(plan, number, result, known) for number, result in enumerate(results)]
        samples = {result.index: result.sample for result in results if result.sample is not None}
        verdicts = {(result.index, number): verdict for result in results for number, verdict in enumerate(result.verdicts)}
        self.results.save(plan, samples, verdicts)
        if self.runs.fold(plan, batch).status is None:
            raise NotFound(f"no such run: {plan.run_id}")

    def end(self, plan: RunPlan, told: TransferRun) -> Transferred:
        """Give the run the end it had.

        Raises:
            Conflict: results are missing, or do not add up to what the run had.
            NotFound: the run is gone.
        """
        state, sums = self.runs.state(plan.run_id), self.runs.sums(plan.run_id)
        if state.done != told.results:
            raise Conflict(f"{state.done} of {told.results} results have arrived")
        if wrong := sorted(field for field, amount in told.sums.items() if sums.get(field, 0) != amount):
            raise Conflict(f"the results do not add up to the run's own counters: {wrong[0][:120]}")
        fields = {
            "status": told.status,
            "total": str(plan.position_count),
            "ended_at": "" if told.ended_at is None else str(told.ended_at),
            "error_code": told.error.code if told.error else "",
            "error_message": told.error.message if told.error else "",
            "stopped": told.stopped.model_dump_json() if told.stopped else "",
        }
        if not self.imports.end(plan.run_id, fields):
            raise NotFound(f"no such run: {plan.run_id}")
        return self.progress(plan)

    def progress(self, plan: RunPlan) -> Transferred:
        """How far the run is. Raises `NotFound`."""
        state = self.runs.state(plan.run_id)
        return Transferred(run_id=plan.run_id, eval_id=plan.eval_id, done=state.done, status=state.status)

    def owned(self, run_id: str, *, project: str) -> RunPlan:
        """The plan of a run that is the project's and was imported. Raises `NotFound`."""
        plan = self.runs.plan(run_id)
        if plan.project != project or self.imports.notes(run_id) is None:
            raise NotFound(f"no such imported run: {run_id[:80]}")
        return plan

    def _version(self, body: TransferCreate, project: str) -> EvalVersion:
        told = body.run.eval
        origin = f"{told.eval_id}@{told.version}"
        return told.model_copy(
            update={
                "eval_id": derived_id("eval", project, "transfer", origin, told.eval_id, created_at=told.created_at),
                "version": 1,
                "name": told.name[:_TITLE_LIMIT],
                "data_source_config": imported.data_source_config(told.data_source_config),
                "metadata": {**told.metadata, IMPORTED_FROM: f"{body.source}/evals/{told.eval_id}"},
                "project": project,
            }
        )

    def _known(self, told: TransferRun, project: str) -> RunPlan | None:
        try:
            return self.runs.plan(_run_id(told, project))
        except NotFound:
            return None

    def _plan(self, body: TransferCreate, version: EvalVersion, project: str) -> RunPlan:
        told, plan = body.run, body.run.plan
        data = self._data(body.file_id, told.dataset_sha256, plan.item_count, project)
        canaries = None
        if told.canaries_sha256 is not None:
            canaries = self._data(body.canaries_file_id or "", told.canaries_sha256, plan.canary_count, project)
        elif plan.canary_count:
            raise InvalidInput("a run with canaries comes with their data", pointer="/run/canaries_sha256")
        return plan.model_copy(
            update={
                "run_id": _run_id(told, project),
                "eval_id": version.eval_id,
                "eval_version": version.version,
                "name": plan.name[:_TITLE_LIMIT],
                "metadata": {**plan.metadata, IMPORTED_FROM: f"{body.source}/evals/{plan.eval_id}/runs/{plan.run_id}"},
                "dataset_id": data.dataset_id,
                "canary_dataset_id": canaries and canaries.dataset_id,
                "project": project,
                "keep_days": 0,
            }
        )

    def _data(self, file_id: str, sha256: str, lines: int, project: str) -> Dataset:
        dataset = self.files.datasets.info(self.files.get(file_id, project=project).dataset_id)
        if dataset.lines != lines or self.files.datasets.sha256(dataset.dataset_id) != sha256:
            raise Conflict(f"file {file_id[:80]} is not the run's data: expected {lines} lines with sha256 {sha256}")
        return dataset

    def _canaries(self, plan: RunPlan, indexes: Sequence[int]) -> dict[int, Canary]:
        if plan.canary_dataset_id is None:
            return {}
        places = {index: plan.arrangement.place(index) for index in indexes}
        wanted = {index: place.line for index, place in places.items() if place.canary}
        lines = self.files.datasets.lines(plan.canary_dataset_id, list(wanted.values())) if wanted else {}
        return {index: Canary.model_validate_json(lines[line]) for index, line in wanted.items()}

    def _checked(self, plan: RunPlan, number: int, result: TransferResult, known: Mapping[int, Canary]) -> FoldItem:
        pointer = f"/results/{number}"
        if result.index >= plan.position_count:
            raise InvalidInput(f"the run has results 0 to {plan.position_count - 1}", pointer=f"{pointer}/index")
        if [(v.name, v.type) for v in result.verdicts] != [(grader.name, grader.type) for grader in plan.graders]:
            raise InvalidInput("expected one verdict of each grader, in their order", pointer=f"{pointer}/verdicts")
        if (result.outcome is None) != (result.index in known):
            raise InvalidInput("an item has an outcome, a canary has none", pointer=f"{pointer}/outcome")
        try:
            return _contribution(plan, result, known.get(result.index))
        except ValueError as error:
            raise InvalidInput(str(error), pointer=f"{pointer}/verdicts") from None


def _contribution(plan: RunPlan, result: TransferResult, canary: Canary | None) -> FoldItem:
    """What the result adds, besides its calls: those are told for the run as a whole."""
    verdicts = [verdict.model_copy(update={"calls": []}) for verdict in result.verdicts]
    if canary is not None:
        line = plan.arrangement.place(result.index).line
        return FoldItem(result.index, None, canary_counters(plan.graders, verdicts, canary, line=line))
    increments = counters(plan.graders, None, verdicts)
    del increments[f"items.{item_outcome(verdicts)}"]
    increments[f"items.{_COUNTED_AS[result.outcome or 'error']}"] = 1
    return FoldItem(
        result.index,
        result.outcome,
        increments,
        {number: verdict.score for number, verdict in enumerate(verdicts) if verdict.score is not None},
        frozenset(number for number, verdict in enumerate(verdicts) if verdict.passed),
    )


_COUNTED_AS = {"pass": "passed", "fail": "failed", "error": "errored"}


def _run_id(told: TransferRun, project: str) -> str:
    return derived_id("run", project, "transfer", told.plan.run_id, created_at=told.plan.created_at)


def _line(model: TransferSample | TransferVerdicts) -> bytes:
    return model.model_dump_json(exclude_computed_fields=True).encode() + b"\n"


def _bit(bitmap: bytes, index: int) -> bool:
    return index >> 3 < len(bitmap) and bool(bitmap[index >> 3] & 0x80 >> (index & 7))
