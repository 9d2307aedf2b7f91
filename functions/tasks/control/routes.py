"""What a run's owner can do to it beside starting and deleting it: pause, resume, retry, fork, redrive dead letters."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse
from common.errors import Conflict, InvalidInput, KnudgeError, NotFound
from common.observability.logs import log
from common.schemas import evals as api
from common.schemas.runs import ENDED
from functions.tasks import views
from functions.tasks.control.forking import fork
from functions.tasks.control.retrying import check_retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.runs import RunPlan
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from common.store.runcontrol import RunControl
    from common.store.runs import RunStore
    from functions.tasks.control.deadletters import Redriver
    from functions.tasks.dispatch import Dispatcher
    from functions.tasks.once import Once
    from functions.tasks.runs.starting import RunMaker

_ONE = "/v1/evals/{eval_id}/runs/{run_id}"
_FORK_BYTES = 4 * 1024 * 1024
_EMPTY = b"{}"  # what a request without a body says


@dataclass(frozen=True, slots=True)
class ControlRoutes:
    """Runs of the caller's project. ``report_base`` is where users reach `aggregate`, ``now`` gives unix seconds."""

    evals: EvalStore
    runs: RunStore
    control: RunControl
    maker: RunMaker
    dispatcher: Dispatcher
    redriver: Redriver
    once: Once
    report_base: str
    now: Callable[[], float] = time.time

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        run = api.RunObject
        return [
            Route("POST", f"{_ONE}/pause", self.pause, "Pause a run", answer=run, errors="openai"),
            Route("POST", f"{_ONE}/resume", self.resume, "Let a paused run go on", answer=run, errors="openai"),
            Route(
                "POST",
                f"{_ONE}/retry",
                self.retry,
                "Judge the unscored items of a run again",
                api.RunRetry,
                run,
                errors="openai",
                limited=True,
            ),
            Route(
                "POST",
                f"{_ONE}/fork",
                self.fork,
                "Start a run over the same data with other graders",
                api.RunFork,
                run,
                errors="openai",
                limited=True,
                status=201,
                max_body_bytes=_FORK_BYTES,
            ),
            Route(
                "POST",
                f"{_ONE}/dead_letters/redrive",
                self.redrive,
                "Try again what could not be delivered",
                api.DeadLetterRedrive,
                api.Redriven,
                errors="openai",
            ),
        ]

    def pause(self, request: Request) -> Response:
        """``POST …/pause``. Twice is as good as once."""
        plan = self._plan(request)
        parse(request.body or _EMPTY, api.NoFields)
        _refuse_ended(self.control.pause(plan.run_id), "paused")
        return self._respond(plan)

    def resume(self, request: Request) -> Response:
        """``POST …/resume``. A run that is not paused just goes on."""
        plan = self._plan(request)
        parse(request.body or _EMPTY, api.NoFields)
        _refuse_ended(self.control.resume(plan.run_id), "resumed")
        self._advance(plan, request)
        return self._respond(plan)

    def retry(self, request: Request) -> Response:
        """``POST …/retry``. A run that is being opened by the same retry already stays as it is."""
        plan = self._plan(request)
        codes = parse(request.body or _EMPTY, api.RunRetry).codes
        snapshot = self.runs.snapshot_of(plan)
        if snapshot.state.ended:
            check_retry(snapshot, codes or ())
            if self.control.begin_retry(plan.run_id, codes or ()) not in ENDED:
                raise Conflict("another retry of the run has just begun")
        elif snapshot.state.retry is None or snapshot.state.retry.codes != frozenset(codes or ()):
            raise InvalidInput(f"the run is {snapshot.state.status}; what has no score can be retried when it has ended")
        self._advance(plan, request)
        return self._respond(plan)

    def fork(self, request: Request) -> Response:
        """``POST …/fork``."""
        first = self._plan(request)
        body = parse(request.body, api.RunFork)
        if not (state := self.runs.state(first.run_id)).ended:
            raise InvalidInput(f"the run is {state.status}; fork it when it has ended, so that nothing is judged twice")
        version = self.evals.get(first.eval_id, version=first.eval_version, project=first.project)

        def make(identity: Identity | None) -> api.RunObject:
            plan = fork(body, first, version, maker=self.maker, identity=identity)
            self._advance(plan, request)
            return self._view(plan)

        return self.once(request, make=make, find=lambda identity: self._view(self.runs.plan(identity.id("run"))))

    def redrive(self, request: Request) -> Response:
        """``POST …/dead_letters/redrive``."""
        plan = self._plan(request)
        ids = parse(request.body or _EMPTY, api.DeadLetterRedrive).ids
        done = self.redriver.redrive(plan, ids, now=int(self.now()), traceparent=request.traceparent)
        return json_response(done)

    def _advance(self, plan: RunPlan, request: Request) -> None:
        """Send out what may be evaluated now. What fails here the next tick makes good: the change itself is kept."""
        try:
            self.dispatcher.advance(plan.run_id, traceparent=request.traceparent)
        except KnudgeError as error:
            log("tasks.start_postponed", level=logging.WARNING, error=error, run_id=plan.run_id)

    def _plan(self, request: Request) -> RunPlan:
        """The run of a request, if it is the eval's and the caller's. Raises `NotFound`."""
        plan = self.runs.plan(request.params["run_id"])
        if (plan.eval_id, plan.project) != (request.params["eval_id"], request.caller.project):
            raise NotFound(f"no such run: {plan.run_id[:80]}")
        return plan

    def _respond(self, plan: RunPlan) -> Response:
        return json_response(self._view(plan))

    def _view(self, plan: RunPlan) -> api.RunObject:
        return views.run_object(self.runs.snapshot_of(plan), report_base=self.report_base)


def _refuse_ended(status: str, what: str) -> None:
    if status in ENDED:
        raise InvalidInput(f"the run has {_PAST.get(status, status)} already; only a queued or running one can be {what}")


_PAST = {"canceled": "been canceled"}
