"""Manifests of runs, and runs from manifests: requests in, answers out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse
from common.errors import KnudgeError, NotFound
from common.observability.logs import log
from common.schemas.manifest import Manifest, Rerun, RerunCreate, ToldManifest
from common.schemas.provenance import differences
from functions.tasks import views
from functions.tasks.moving.manifest import manifest

if TYPE_CHECKING:
    from common.schemas.runs import RunPlan
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from common.store.runs import RunStore
    from functions.tasks.dispatch import Dispatcher
    from functions.tasks.moving.rerun import Rerunner
    from functions.tasks.once import Once

_MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ManifestRoutes:
    """Manifests of the caller's project. ``report_base`` is where users reach `aggregate`."""

    evals: EvalStore
    runs: RunStore
    rerunner: Rerunner
    dispatcher: Dispatcher
    once: Once
    report_base: str

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        one = "/v1/evals/{eval_id}/runs/{run_id}/manifest"
        return [
            Route(
                "GET",
                one,
                self.get,
                "What it takes to say what a run was, and to run it again",
                answer=Manifest,
                errors="openai",
            ),
            Route(
                "GET",
                "/v1/manifests/{run_id}",
                self.get,
                "The same, for who knows only the run",
                answer=Manifest,
                errors="openai",
            ),
            Route(
                "POST",
                "/v1/reruns",
                self.rerun,
                "Start a run like the one of a manifest",
                RerunCreate,
                Rerun,
                errors="openai",
                limited=True,
                status=201,
                max_body_bytes=_MAX_BODY_BYTES,
            ),
        ]

    def get(self, request: Request) -> Response:
        """``GET …/runs/{run_id}/manifest``."""
        plan = self.runs.plan(request.params["run_id"])
        if plan.project != request.caller.project or request.params.get("eval_id", plan.eval_id) != plan.eval_id:
            raise NotFound(f"no such run: {plan.run_id}")
        version = self.evals.get(plan.eval_id, version=plan.eval_version, project=plan.project)
        return json_response(manifest(self.runs.snapshot_of(plan), version, self.runs.datasets))

    def rerun(self, request: Request) -> Response:
        """``POST /v1/reruns``."""
        body, project = parse(request.body, RerunCreate), request.caller.project

        def make(identity: Identity | None) -> Rerun:
            plan = self.rerunner.create(body, project=project, identity=identity)
            try:
                self.dispatcher.advance(plan.run_id, traceparent=request.traceparent)
            except KnudgeError as error:  # the reconciler will start it
                log("tasks.start_postponed", level=logging.WARNING, error=error, run_id=plan.run_id)
            return self._view(plan, body.manifest)

        def find(identity: Identity) -> Rerun:
            return self._view(self.runs.plan(identity.id("run")), body.manifest)

        return self.once(request, make=make, find=find)

    def _view(self, plan: RunPlan, told: ToldManifest) -> Rerun:
        then, now = told.provenance, plan.provenance
        return Rerun(
            run=views.run_object(self.runs.snapshot_of(plan), report_base=self.report_base),
            differences=None if then is None or now is None else differences(then, now),
        )
