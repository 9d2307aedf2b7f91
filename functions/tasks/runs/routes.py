"""``/v1/evals/{eval_id}/runs`` and what lies below: requests in, use cases, OpenAI's objects out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse, parse_query
from common.errors import InvalidInput, KnudgeError, NotFound
from common.observability.logs import log
from common.schemas import evals as api
from functions.tasks import views

if TYPE_CHECKING:
    from common.schemas.runs import RunPlan
    from common.store.deadletters import DeadLetterStore
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from common.store.results import ResultStore
    from common.store.runs import RunStore
    from functions.tasks.control.deletion import Deletion
    from functions.tasks.dispatch import Dispatcher
    from functions.tasks.once import Once
    from functions.tasks.runs.starting import RunMaker

_ALL = "/v1/evals/{eval_id}/runs"
_ONE = f"{_ALL}/{{run_id}}"
_ITEMS = f"{_ONE}/output_items"
_ROWS_BYTES = 32 * 1024 * 1024  # rows within the request; more come as a file


@dataclass(frozen=True, slots=True)
class RunRoutes:
    """Runs of the caller's project. ``report_base`` is where users reach `aggregate`."""

    evals: EvalStore
    runs: RunStore
    results: ResultStore
    letters: DeadLetterStore
    maker: RunMaker
    dispatcher: Dispatcher
    report_base: str
    once: Once
    deletion: Deletion

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        page, item = api.ListPage[api.RunObject], api.OutputItemObject
        return [
            Route(
                "POST",
                _ALL,
                self.create,
                "Start a run",
                api.RunCreate,
                api.RunObject,
                errors="openai",
                limited=True,
                status=201,
                max_body_bytes=_ROWS_BYTES,
            ),
            Route("GET", _ALL, self.list, "List runs", answer=page, query=api.RunListQuery, errors="openai"),
            Route("GET", _ONE, self.get, "Get a run", answer=api.RunObject, errors="openai"),
            Route("POST", _ONE, self.cancel, "Cancel a run", answer=api.RunObject, errors="openai"),
            Route("POST", f"{_ONE}/cancel", self.cancel, "Cancel a run", answer=api.RunObject, errors="openai"),
            Route("DELETE", _ONE, self.delete, "Delete a run", answer=api.RunDeleted, errors="openai"),
            Route(
                "GET",
                _ITEMS,
                self.list_items,
                "List judged items, in the order of the data",
                answer=api.ListPage[api.OutputItemObject],
                query=api.OutputItemListQuery,
                errors="openai",
            ),
            Route("GET", f"{_ITEMS}/{{item_id}}", self.get_item, "Get a judged item", answer=item, errors="openai"),
            Route(
                "GET",
                f"{_ONE}/dead_letters",
                self.list_dead_letters,
                "List a run's events that could not be delivered, newest first",
                answer=api.ListPage[api.DeadLetter],
                query=api.DeadLetterListQuery,
                errors="openai",
            ),
        ]

    def create(self, request: Request) -> Response:
        """``POST /v1/evals/{eval_id}/runs``."""
        version = self.evals.get(request.params["eval_id"], project=request.caller.project)

        def make(identity: Identity | None) -> api.RunObject:
            plan = self.maker.create(parse(request.body, api.RunCreate), version, identity=identity)
            try:
                self.dispatcher.advance(plan.run_id, traceparent=request.traceparent)
            except KnudgeError as error:
                # The run is there and the reconciler will start it: an error would only make the caller start a second one.
                log("tasks.start_postponed", level=logging.WARNING, error=error, run_id=plan.run_id)
            return self._view(plan)

        return self.once(request, make=make, find=lambda identity: self._view(self.runs.plan(identity.id("run"))))

    def get(self, request: Request) -> Response:
        """``GET …/runs/{run_id}``."""
        return self._respond(self._plan(request))

    def cancel(self, request: Request) -> Response:
        """``POST …/runs/{run_id}/cancel`` as the ``openai`` package has it, ``POST …/runs/{run_id}`` as the documentation."""
        plan = self._plan(request)
        parse(request.body or b"{}", api.NoFields)
        before = self.runs.cancel(plan.run_id)
        if before in ("completed", "failed"):
            raise InvalidInput(f"the run has {before} already; only a queued or running one can be canceled")
        if before != "canceled":
            self.dispatcher.announce(plan.run_id, traceparent=request.traceparent)
        return self._respond(plan)

    def delete(self, request: Request) -> Response:
        """``DELETE …/runs/{run_id}``."""
        plan = self._plan(request)
        self.deletion.run(plan.run_id)
        return json_response(api.RunDeleted(run_id=plan.run_id))

    def list_items(self, request: Request) -> Response:
        """``GET …/output_items``."""
        query = parse_query(request.query, api.OutputItemListQuery)
        plan = self._plan(request)
        after = None if query.after is None else views.index_of(query.after, plan.run_id)
        if query.after is not None and after is None:
            raise InvalidInput("after: expected the id of one of the run's output items", pointer="/after")
        descending = query.order == "desc"
        indexes = self.results.positions(plan, outcome=query.status, after=after, limit=query.limit + 1, descending=descending)
        found = self.results.results_of(plan, indexes[: query.limit])
        objects = [views.output_item(plan, result) for result in found]
        return json_response(views.page(objects, has_more=len(indexes) > query.limit))

    def get_item(self, request: Request) -> Response:
        """``GET …/output_items/{item_id}``."""
        plan, item_id = self._plan(request), request.params["item_id"]
        index = views.index_of(item_id, plan.run_id)
        if index is None or self.results.positions(plan, after=index - 1, limit=1) != [index]:
            raise NotFound(f"no such output item: {item_id[:80]}")
        return json_response(views.output_item(plan, self.results.results(plan, index, 1)[0]))

    def list_dead_letters(self, request: Request) -> Response:
        """``GET …/dead_letters``."""
        query = parse_query(request.query, api.DeadLetterListQuery)
        found = self.letters.list(self._plan(request).run_id, limit=query.limit)
        return json_response(api.ListPage[api.DeadLetter](data=[api.DeadLetter.model_validate(letter) for letter in found]))

    def list(self, request: Request) -> Response:
        """``GET /v1/evals/{eval_id}/runs``."""
        query = parse_query(request.query, api.RunListQuery)
        version = self.evals.get(request.params["eval_id"], project=request.caller.project)
        found = self.runs.list(version.eval_id, after=query.after, limit=query.limit, order=query.order, status=query.status)
        snapshots = self.runs.snapshots_of(found.data)
        objects = [views.run_object(snapshot, report_base=self.report_base) for snapshot in snapshots]
        return json_response(views.page(objects, has_more=found.has_more))

    def _plan(self, request: Request) -> RunPlan:
        """The run of a request, if it is the eval's and the caller's. Raises `NotFound`."""
        run_id = request.params["run_id"]
        plan = self.runs.plan(run_id)
        if plan.eval_id != request.params["eval_id"] or plan.project != request.caller.project:
            raise NotFound(f"no such run: {run_id[:80]}")
        return plan

    def _respond(self, plan: RunPlan) -> Response:
        return json_response(self._view(plan))

    def _view(self, plan: RunPlan) -> api.RunObject:
        return views.run_object(self.runs.snapshot_of(plan), report_base=self.report_base)
