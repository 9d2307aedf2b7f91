"""What `tasks` serves: the Evals API, and the events that keep runs going."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.crashpoints import crash_point
from common.edge.http import Request, Response, Route
from common.edge.validation import validate
from common.errors import NotFound
from common.events import codec
from common.observability.logs import annotate, log
from common.schemas.events import PING, RUN_ADVANCE, RunReference
from common.store.deadletters import DeadLetterStore
from common.store.evals import EvalStore
from common.store.files import FileStore
from common.store.idempotency import IdempotencyStore
from common.store.imports import ImportStore
from common.store.results import ResultStore
from common.store.runcontrol import RunControl
from common.store.runs import RunStore
from functions.tasks.control.deadletters import Redriver, record
from functions.tasks.control.deletion import Deletion
from functions.tasks.control.retention import Retention
from functions.tasks.control.retrying import Retrier
from functions.tasks.control.routes import ControlRoutes
from functions.tasks.dispatch import Dispatcher, Leasing
from functions.tasks.evals.routes import EvalRoutes
from functions.tasks.files.routes import FileRoutes
from functions.tasks.moving.imports import Importer
from functions.tasks.moving.manifest_routes import ManifestRoutes
from functions.tasks.moving.rerun import Rerunner
from functions.tasks.moving.transfer import Exporter, Receiver
from functions.tasks.moving.transfer_routes import TransferRoutes
from functions.tasks.once import Once
from functions.tasks.runs.provenance import Installation
from functions.tasks.runs.routes import RunRoutes
from functions.tasks.runs.starting import RunMaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import redis

    from common.schemas.cloudevent import Event
    from common.settings import Settings
    from functions.tasks.dispatch import PublishSoon


@dataclass(frozen=True, slots=True)
class Handler:
    """The resources of the API, and the events. ``now`` gives unix seconds."""

    evals: EvalRoutes
    files: FileRoutes
    runs: RunRoutes
    control: ControlRoutes
    manifests: ManifestRoutes
    imports: Importer
    transfers: TransferRoutes
    dispatcher: Dispatcher
    letters: DeadLetterStore
    retention: Retention
    now: Callable[[], float] = time.time

    def routes(self) -> list[Route]:
        """Every HTTP route, events aside."""
        dead_letters = Route(
            "POST", "/dead-letters", self.dead_letter, "Take an event that could not be delivered", public=True, status=202
        )
        resources = (self.evals, self.files, self.runs, self.control, self.manifests, self.imports, self.transfers)
        return [*(route for resource in resources for route in resource.routes()), dead_letters]

    def events(self) -> Mapping[str, Callable[[Event, Request], Event | None]]:
        """Event handlers by type."""
        return {RUN_ADVANCE: self.advance, PING: self.tick}

    def advance(self, event: Event, request: Request) -> None:
        """``run.advance``: send out what may be evaluated now."""
        crash_point("tasks.received")
        run_id = validate(event.data, RunReference, pointer="/data").run_id
        try:
            self.dispatcher.advance(run_id, traceparent=request.traceparent)
        except NotFound:
            log("tasks.unknown_run", level=logging.WARNING, run_id=run_id[:80])

    def tick(self, _event: Event, _request: Request) -> None:
        """The reconciler's tick."""
        self.dispatcher.reconcile()
        self.retention.expire(now_s=self.now())

    def dead_letter(self, request: Request) -> Response:
        """``POST /dead-letters``, of any type and with any data: what nobody could read must not vanish here either."""
        event = codec.decode(request.headers, request.body, any_data=True)
        annotate(event_type=event.type[:200], event_id=event.id[:200])
        record(event, self.letters, received_at=int(self.now()))
        return Response(202, content_type="")


def build(settings: Settings, client: redis.Redis, publish_soon: PublishSoon) -> Handler:
    """The use cases wired over one store client."""
    evals, files, runs = EvalStore(client), FileStore(client), RunStore(client)
    results, letters = ResultStore(client), DeadLetterStore(client)
    once, imports = Once(IdempotencyStore(client)), ImportStore(client)
    report_base = settings.public_urls["aggregate"]
    deletion, installation = Deletion(client, evals, files, runs), Installation(settings)
    maker = RunMaker(runs, files, settings.run_window_items, settings.run_batch_items, installation, settings.run_keep_days)
    control = RunControl(client)
    dispatcher = Dispatcher(
        runs,
        results,
        Retrier(runs, results, control),
        publish_soon=publish_soon,
        leasing=Leasing(settings.lease_s, settings.item_attempts, settings.run_deadline_s, settings.overtaken_s),
        report_base=report_base,
    )
    redriver = Redriver(runs, letters, dispatcher)
    return Handler(
        evals=EvalRoutes(evals, installation, deletion, once),
        files=FileRoutes(files, settings.max_file_bytes, once),
        runs=RunRoutes(evals, runs, results, letters, maker, dispatcher, report_base, once, deletion),
        control=ControlRoutes(evals, runs, control, maker, dispatcher, redriver, once, report_base),
        manifests=ManifestRoutes(evals, runs, Rerunner(evals, maker), dispatcher, once, report_base),
        imports=Importer(evals, files, runs, results, imports),
        transfers=TransferRoutes(Exporter(evals, runs, results), Receiver(files, runs, results, imports)),
        dispatcher=dispatcher,
        letters=letters,
        retention=Retention(runs, deletion),
    )
