"""What `aggregate` serves: routes and events, each translated into one use case."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.crashpoints import crash_point
from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse_query, validate
from common.errors import NotFound
from common.events.publisher import new_event
from common.observability.logs import log
from common.schemas.events import EVALUATION_COMPLETED, RUN_ADVANCE, RunItems, RunReference
from common.schemas.runs import RunSummary
from functions.aggregate import export, live
from functions.aggregate.comparing.routes import Comparing
from functions.aggregate.counting.announce import announce
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.pages.page import html_response
from functions.aggregate.pages.report import UnscoredVerdict, render
from functions.aggregate.statistics.routes import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from common.schemas.cloudevent import Event
    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore
    from functions.aggregate.counting.announce import Publish
    from functions.aggregate.records import Records

_PRIVATE = {"cache-control": "no-store"}

SOURCE = "/knudge/aggregate"


@dataclass(frozen=True, slots=True)
class Handler:
    """The use cases of `aggregate` over the stores. ``now`` gives unix seconds."""

    runs: RunStore
    records: Records
    publish: Publish
    now: Callable[[], float] = time.time
    pace: live.Pace = field(default_factory=lambda: live.Pace(time.monotonic, time.sleep, live.server_stops))
    streams: live.Streams = field(default_factory=live.Streams)

    def routes(self) -> list[Route]:
        """Every HTTP route, events aside."""
        return [
            Route("GET", "/runs/{run_id}", self.summary, "A run at a glance", answer=RunSummary),
            Route(
                "GET",
                "/runs/{run_id}/results",
                self.results,
                "A run's results: JSON pages, or NDJSON and CSV streamed whole",
                answer=export.ResultsPage,
                query=export.ResultsQuery,
            ),
            Route("GET", "/runs/{run_id}/report", self.report, "The report as a page", answer_type="text/html"),
            Route("GET", "/runs/{run_id}/stream", self.stream, "Progress as it happens", answer_type=live.CONTENT_TYPE),
            *Comparing(self.records, self.now).routes(),
            *Statistics(self.records).routes(),
        ]

    def events(self) -> Mapping[str, Callable[[Event, Request], Event | None]]:
        """Event handlers by type."""
        return {EVALUATION_COMPLETED: self.completed}

    def completed(self, event: Event, request: Request) -> Event | None:
        """``evaluation.completed``: count the items; ask for more, or tell that the run has ended."""
        if not (isinstance(event.data, dict) and "run_id" in event.data):
            return None  # a single evaluation: its caller has the answer, and there is no run to count it in
        crash_point("aggregate.received")
        wanted = validate(event.data, RunItems, pointer="/data")
        try:
            folded = fold_items(wanted, self.runs, self.records)
            if folded.completed:
                plan = self.records.plan(wanted.run_id)
                announce(plan, self.runs, self.records, publish=self.publish, traceparent=request.traceparent)
        except NotFound:
            log("aggregate.unknown_run", level=logging.WARNING, run_id=wanted.run_id, items=len(wanted.items))
            return None
        log("aggregate.items_folded", run_id=wanted.run_id, items=wanted.items, new=folded.new, done=folded.done)
        if not folded.ask_for_more:
            return None
        return new_event(
            RUN_ADVANCE,
            SOURCE,
            wanted.run_id,
            RunReference(run_id=wanted.run_id).model_dump(),
            id=f"{event.id}/advance",
            traceparent=request.traceparent,
        )

    def summary(self, request: Request) -> Response:
        """``GET /runs/{id}``."""
        return json_response(self.records.summary(self._plan(request)), headers=_PRIVATE)

    def results(self, request: Request) -> Response:
        """``GET /runs/{id}/results``."""
        query = parse_query(request.query, export.ResultsQuery)
        plan = self.records.present(request.params["run_id"], project=request.caller.project)
        form = export.negotiate(query, request.headers.get("accept", ""))
        headers = {**_PRIVATE, "vary": "accept"}
        if form == "json":
            return json_response(export.json_page(plan, query, self.records), headers=headers)
        lines, following = export.exported(plan, query, self.records, form=form)
        headers["content-disposition"] = f'attachment; filename="{plan.run_id}.{form}"'
        if following is not None:
            headers["link"] = f'<?{_next_query(query, form, following)}>; rel="next"'
        return Response(200, lines, export.CONTENT_TYPES[form], headers)

    def report(self, request: Request) -> Response:
        """``GET /runs/{id}/report``."""
        plan = self._plan(request)
        page = render(
            self.records.summary(plan),
            load=lambda indexes: self.records.items(plan, indexes),
            unscored=self._unscored(plan),
            rendered_at=int(self.now()),
        )
        return html_response(page)

    def stream(self, request: Request) -> Response:
        """``GET /runs/{id}/stream``."""
        plan = self._plan(request)
        last = request.headers.get("last-event-id", "")
        if last == live.ENDED_ID:
            return Response(204, content_type="")  # tells an EventSource that came back to stay away
        frames = live.follow(lambda: live.Progress.of(self.records.summary(plan)), last_event_id=last, pace=self.pace)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Response(200, self.streams.hold(frames), live.CONTENT_TYPE, headers)

    def _plan(self, request: Request) -> RunPlan:
        return self.records.owned(request.params["run_id"], project=request.caller.project)

    def _unscored(self, plan: RunPlan) -> Iterator[UnscoredVerdict]:
        """Unscored verdicts in the order of their items, read page by page as far as somebody looks."""
        after: int | None = None
        while indexes := self.records.listed(plan, outcome="errored", after=after, limit=50):
            judged = self.records.judged(plan, indexes)
            for index, grader in sorted(judged.verdicts):
                verdict = judged.verdicts[index, grader]
                if verdict.unscored is not None:
                    yield UnscoredVerdict(plan.arrangement.place(index).line, verdict)
            after = indexes[-1]


def _next_query(query: export.ResultsQuery, form: export.Format, following: int) -> str:
    from urllib.parse import urlencode

    kept = query.model_dump(exclude_none=True) | {"format": form, "after": following}
    return urlencode(kept)
