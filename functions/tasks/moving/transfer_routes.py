"""``/v1/export`` and ``/v1/import/transfers``: requests in, answers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse
from common.errors import NotFound
from common.schemas.transfer import PARTS, TransferCreate, TransferEnd, Transferred, TransferResults, TransferRun

if TYPE_CHECKING:
    from common.schemas.runs import RunPlan
    from functions.tasks.moving.transfer import Exporter, Receiver

_MAX_BODY_BYTES = 32 * 1024 * 1024
_EXPORT = "/v1/export/runs/{run_id}"
_TRANSFERS = "/v1/import/transfers"
_NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class TransferRoutes:
    """Runs of the caller's project, out and in."""

    exporter: Exporter
    receiver: Receiver

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        big = _MAX_BODY_BYTES
        return [
            Route("GET", _EXPORT, self.get, "Export a run: all but its items and results", answer=TransferRun),
            Route("GET", f"{_EXPORT}/{{part}}", self.part, "Export a run's items, samples or verdicts", answer_type=_NDJSON),
            Route(
                "POST",
                _TRANSFERS,
                self.create,
                "Import an exported run",
                TransferCreate,
                Transferred,
                limited=True,
                max_body_bytes=big,
            ),
            Route(
                "POST",
                f"{_TRANSFERS}/{{run_id}}/results",
                self.take,
                "Import an exported run's results",
                TransferResults,
                Transferred,
                max_body_bytes=big,
            ),
            Route(
                "POST",
                f"{_TRANSFERS}/{{run_id}}/end",
                self.end,
                "End the import of an exported run",
                TransferEnd,
                Transferred,
                max_body_bytes=big,
            ),
        ]

    def get(self, request: Request) -> Response:
        """``GET /v1/export/runs/{run_id}``."""
        return json_response(self.exporter.run(self._plan(request)))

    def part(self, request: Request) -> Response:
        """``GET /v1/export/runs/{run_id}/{part}``."""
        part = request.params["part"]
        if part not in PARTS:
            raise NotFound(f"no such part: {part[:40]!r}; there are {', '.join(PARTS)}")
        return Response(body=self.exporter.part(self._plan(request), part), content_type=_NDJSON)

    def create(self, request: Request) -> Response:
        """``POST /v1/import/transfers``."""
        plan = self.receiver.create(parse(request.body, TransferCreate), project=request.caller.project)
        return json_response(self.receiver.progress(plan))

    def take(self, request: Request) -> Response:
        """``POST /v1/import/transfers/{run_id}/results``."""
        plan = self.receiver.owned(request.params["run_id"], project=request.caller.project)
        self.receiver.take(plan, parse(request.body, TransferResults).results)
        return json_response(self.receiver.progress(plan))

    def end(self, request: Request) -> Response:
        """``POST /v1/import/transfers/{run_id}/end``."""
        plan = self.receiver.owned(request.params["run_id"], project=request.caller.project)
        return json_response(self.receiver.end(plan, parse(request.body, TransferEnd).run))

    def _plan(self, request: Request) -> RunPlan:
        plan = self.exporter.runs.plan(request.params["run_id"])
        if plan.project != request.caller.project:
            raise NotFound(f"no such run: {plan.run_id}")
        return plan
