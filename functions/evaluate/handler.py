"""What `evaluate` serves: routes and events, each translated into one use case."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from common.crashpoints import crash_point
from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse
from common.errors import InvalidInput, Unauthenticated
from common.events.publisher import new_event
from common.schemas.completion import Origin
from common.schemas.evaluation import EvaluationRequest, EvaluationResult
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, RunItems
from functions.evaluate.batch import evaluate_lines
from functions.evaluate.finetuning import GraderRun, GraderValidation, run_grader, validate_grader
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging, evaluate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from common.ports import Evaluations, RunReader
    from common.schemas.cloudevent import Event
    from common.settings import Settings

T = TypeVar("T", RunItems, EvaluationRequest)
SOURCE = "/knudge/evaluate"
_NDJSON = "application/x-ndjson"
_BATCH_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Handler:
    """The use cases of `evaluate` over its ports."""

    settings: Settings
    judging: Judging
    runs: RunReader
    evaluations: Evaluations

    def routes(self) -> list[Route]:
        """Every HTTP route, events aside."""
        graders = "/v1/fine_tuning/alpha/graders"
        return [
            Route("POST", "/", self.single, "Evaluate one sample", EvaluationRequest, EvaluationResult, limited=True),
            Route(
                "POST",
                "/batch",
                self.batch,
                "Evaluate NDJSON lines; results stream back as they finish",
                limited=True,
                max_body_bytes=_BATCH_BYTES,
                streams_body=True,
                body_type=_NDJSON,
                answer_type=_NDJSON,
            ),
            Route(
                "POST",
                f"{graders}/run",
                self.run_grader,
                "Run a grader on a sample",
                GraderRun,
                errors="openai",
                limited=True,
            ),
            Route(
                "POST",
                f"{graders}/validate",
                self.validate_grader,
                "Check a grader",
                GraderValidation,
                errors="openai",
                limited=True,
            ),
        ]

    def events(self) -> Mapping[str, Callable[[Event, Request], Awaitable[Event | None]]]:
        """Event handlers by type."""
        return {EVALUATION_REQUESTED: self.requested}

    async def single(self, request: Request) -> Response:
        """``POST /``."""
        return json_response(await self._evaluate(parse(request.body, EvaluationRequest), request))

    async def batch(self, request: Request) -> Response:
        """``POST /batch``."""

        async def one(evaluation: EvaluationRequest) -> EvaluationResult:
            return await self._evaluate(evaluation, request, bulk=True)

        lines = evaluate_lines(
            cast("AsyncIterator[bytes]", request.chunks),
            one,
            take_turn=request.take_turn,
            concurrency=self.settings.batch_concurrency,
            max_line_bytes=self.settings.max_body_bytes,
        )
        return Response(body=lines, content_type=_NDJSON)

    async def run_grader(self, request: Request) -> Response:
        """``POST …/graders/run``."""
        body = parse(request.body, GraderRun)
        return json_response(await run_grader(body, self.judging, deadline_s=request.deadline_s, origin=_origin(request)))

    async def validate_grader(self, request: Request) -> Response:
        """``POST …/graders/validate``."""
        return json_response(validate_grader(parse(request.body, GraderValidation)))

    async def requested(self, event: Event, request: Request) -> Event | None:
        """``evaluation.requested``: items of a run by reference, or a whole evaluation in the event's data."""
        if isinstance(event.data, dict) and "run_id" in event.data:
            items = _checked(RunItems, event.data)
            done = await evaluate_items(items, self.judging, self.runs, deadline_s=request.deadline_s)
            crash_point("evaluate.replying")
            return None if done is None else self._completed(event, request, _told(done), subject=event.subject)
        if self.settings.auth and not request.authenticated:
            raise Unauthenticated("an event that carries its own evaluation needs an API key")
        evaluation = _checked(EvaluationRequest, event.data)
        if evaluation.evaluation_id is None:
            evaluation = evaluation.model_copy(update={"evaluation_id": _id_of(event)})
        result = await self._evaluate(evaluation, request)
        return self._completed(event, request, result.model_dump(mode="json"), subject=result.evaluation_id)

    async def _evaluate(self, evaluation: EvaluationRequest, request: Request, *, bulk: bool = False) -> EvaluationResult:
        deadline_s = request.deadline_s
        if evaluation.deadline_s is not None:
            deadline_s = min(deadline_s, request.arrived_s + evaluation.deadline_s)
        origin = _origin(request, bulk=bulk)
        return await evaluate(evaluation, self.judging, self.evaluations, deadline_s=deadline_s, origin=origin)

    def _completed(self, event: Event, request: Request, data: dict[str, Any], *, subject: str | None) -> Event:
        return new_event(
            EVALUATION_COMPLETED,
            SOURCE,
            subject,
            data,
            id=f"{event.id}/completed",
            traceparent=request.traceparent,
        )


def _told(done: RunItems) -> dict[str, Any]:
    return RunItems(run_id=done.run_id, items=done.items).model_dump(exclude_defaults=True)


def _checked(model: type[T], data: Any) -> T:
    from pydantic import ValidationError

    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "/data/" + "/".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{pointer}: {first['msg']}", pointer=pointer) from error


def _origin(request: Request, *, bulk: bool = False) -> Origin:
    caller = request.caller
    return Origin(project=caller.project, key_id=caller.key_id if request.authenticated else None, bulk=bulk)


def _id_of(event: Event) -> str:
    """An event is told from another by source and id together; a redelivery has both the same."""
    return "evt_" + hashlib.sha256(f"{event.source}\n{event.id}".encode()).hexdigest()[:40]
