"""Following runs until they end. The aggregate's summary is preferred; any Evals API's own run object will do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from cli.api import Api, Failed
from cli.errors import CannotRun
from common.schemas.evaluation import Usage
from common.schemas.runs import ENDED, GraderSummary, ModelUsage, RunStatus, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FIRST_POLL_S = 0.4
_SLOWEST_POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run on the server. ``items`` is how many we gave it."""

    run_id: str
    eval_id: str
    name: str
    items: int
    report_url: str


@dataclass(frozen=True, slots=True)
class Look:
    """A run as it stood a moment ago. Not ``whole``: from the run object alone, without means, cost and simulated."""

    run: StartedRun
    summary: RunSummary
    whole: bool

    @property
    def ended(self) -> bool:
        """True when nothing will change any more."""
        return self.summary.status in ENDED


def ended_as(status: RunStatus) -> str:
    """``the run has completed``, in words for each status of a run that has ended."""
    return f"the run {'was' if status == 'canceled' else 'has'} {status}"


class Shown(Protocol):
    """Something that shows how runs get on."""

    def update(self, look: Look, /) -> None:
        """Take in the newest state of one run."""
        ...


def summary_base(report_url: str, run_id: str) -> str | None:
    """Base URL of the aggregate function behind a run's report; None when the report is somebody else's page."""
    suffix = f"/runs/{run_id}/report"
    parts = urlsplit(report_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or not parts.path.endswith(suffix):
        return None
    return report_url.removesuffix(suffix)


@dataclass(slots=True)
class Watcher:
    """Looks at runs. ``aggregate_url`` overrides what a run's ``report_url`` says. One or two requests a look."""

    evals: Api
    aggregate_url: str | None = None
    _aggregates: dict[str, Api] = field(default_factory=dict)

    def look(self, run: StartedRun) -> Look:
        """The run's newest state. Raises `CannotRun` when the server has no such run or does not answer."""
        if (summary := self._summary(run)) is not None:
            return Look(run, summary, whole=True)
        answer = self.evals.get(f"/evals/{run.eval_id}/runs/{run.run_id}")
        return Look(run, _from_run_object(answer, run), whole=False)

    def close(self) -> None:
        """Drop the connections to aggregate; ``evals`` stays its owner's."""
        for api in self._aggregates.values():
            api.close()

    def _summary(self, run: StartedRun) -> RunSummary | None:
        base = self.aggregate_url or summary_base(run.report_url, run.run_id)
        if base is None:
            return None
        if base not in self._aggregates:
            # The key goes where the server that has it sends us, but never from an encrypted road to an open one.
            trusted = base.startswith("https://") or self.evals.base_url.startswith("http://")
            self._aggregates[base] = Api(base, key=self.evals.key if trusted else None, patience=self.evals.patience)
        try:
            return parse_summary(self._aggregates[base].get(f"/runs/{run.run_id}"))
        except Failed:
            if self.aggregate_url is not None:
                raise
            return None


def parse_summary(answer: Any) -> RunSummary:
    """A `RunSummary` from JSON; fields of a newer server are ignored. Raises `CannotRun` if it is none."""
    from pydantic import ValidationError

    try:
        return RunSummary.model_validate(answer, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(str(part) for part in first["loc"])
        raise CannotRun(f"not a run summary: /{place}: {first['msg']}") from error


def _from_run_object(answer: Any, run: StartedRun) -> RunSummary:
    """What an Evals API run says by itself: counts and tokens. Cost is unknown, means are absent."""
    try:
        counts = answer.get("result_counts") or {}
        passed, failed, errored = (int(counts.get(name) or 0) for name in ("passed", "failed", "errored"))
        done = passed + failed + errored
        models = [_model_usage(entry) for entry in answer.get("per_model_usage") or []]
        notes = answer.get("knudge") or {}
        return RunSummary.model_validate({
            "run_id": run.run_id,
            "eval_id": run.eval_id,
            "eval_version": 1,
            "name": run.name,
            "status": answer["status"],
            "error": _error(answer.get("error")),
            "created_at": answer.get("created_at") or 0,
            "total": max(run.items, int(counts.get("total") or 0), done),
            "done": done,
            "passed": passed,
            "failed": failed,
            "errored": errored,
            "graders": [_grader(entry, done=done) for entry in answer.get("per_testing_criteria_results") or []],
            "models": models,
            "usage": sum((model.usage for model in models), Usage()),
            "cost_microusd": None,
            "cost_usd": None,
            "report_url": run.report_url,
            "suspect": bool(notes.get("suspect")),
            "suspect_reason": notes.get("suspect_reason"),
        })  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CannotRun("the server's answer is not a run of the Evals API") from error


def _error(entry: Any) -> dict[str, str] | None:
    if not isinstance(entry, dict) or not (entry.get("code") or entry.get("message")):
        return None
    return {"code": str(entry.get("code") or ""), "message": str(entry.get("message") or "")}


def _model_usage(entry: dict[str, Any]) -> ModelUsage:
    usage = {name: int(entry.get(name) or 0) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
    calls = int(entry.get("invocation_count") or 0)
    return ModelUsage(model=str(entry["model_name"]), calls=calls, usage=Usage(**usage), unpriced_calls=calls)


def _grader(entry: dict[str, Any], *, done: int) -> GraderSummary:
    passed, failed = int(entry["passed"]), int(entry["failed"])
    scored = passed + failed
    return GraderSummary(
        name=str(entry["testing_criteria"]),
        type="",
        scored=scored,
        passed=passed,
        failed=failed,
        unscored=max(0, done - scored),
        pass_rate=passed / scored if scored else None,
    )


def follow(
    runs: Sequence[StartedRun],
    look: Callable[[StartedRun], Look],
    *,
    shown: Shown,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    timeout_s: float,
) -> list[Look]:
    """Look at `runs` until all have ended; their last states, in order.

    Raises:
        CannotRun: they did not end within `timeout_s`. They go on without us.
    """
    deadline_s = clock() + timeout_s
    pause_s = _FIRST_POLL_S
    ended: dict[str, Look] = {}
    while True:
        for run in runs:
            if run.run_id not in ended:
                state = look(run)
                shown.update(state)
                if state.ended:
                    ended[run.run_id] = state
        if len(ended) == len(runs):
            return [ended[run.run_id] for run in runs]
        if clock() + pause_s > deadline_s:
            waiting = ", ".join(run.run_id for run in runs if run.run_id not in ended)
            raise CannotRun(f"gave up after {timeout_s:g} s; still running on the server: {waiting}")
        sleep(pause_s)
        pause_s = min(_SLOWEST_POLL_S, pause_s * 1.3)
