"""Events the broker gave up on: recorded, and their items freed to be tried again."""

from __future__ import annotations

import base64
import binascii
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.edge.validation import validate
from common.errors import InvalidInput, NotFound
from common.observability.logs import log
from common.schemas.evals import DeadLetter, Redriven
from common.schemas.events import EVALUATION_COMPLETED, RunItems
from common.security.redaction import redact
from common.store.deadletters import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from common.schemas.cloudevent import Event
    from common.schemas.runs import RunPlan
    from common.store.deadletters import DeadLetterStore
    from common.store.runs import RunStore
    from functions.tasks.dispatch import Dispatcher

_DETAIL_LIMIT = 1000
_TEXT_LIMIT = 200


def record(event: Event, letters: DeadLetterStore, *, received_at: int) -> None:
    """Keep a dead letter with its run, or apart when it belongs to none that is known.

    The leases of its items expire now, so that the next tick issues them again, until their attempts are used up.

    Source of the extensions: https://knative.dev/docs/eventing/event-delivery/#configuring-channel-event-delivery
    """
    run_id, items, lease = _reference(event)
    said = event.extensions
    code = said.get("knativeerrorcode", "")[:_TEXT_LIMIT]
    log("tasks.dead_lettered", level=logging.WARNING, run_id=run_id and run_id[:_TEXT_LIMIT], items=items, code=code)
    letter = DeadLetter(
        received_at=received_at,
        event_id=event.id[:_TEXT_LIMIT],
        event_type=event.type[:_TEXT_LIMIT],
        source=event.source[:_TEXT_LIMIT],
        subject=event.subject and event.subject[:_TEXT_LIMIT],
        items=items,
        code=code,
        destination=redact(said.get("knativeerrordest", ""))[:_TEXT_LIMIT],
        detail=_detail(said.get("knativeerrordata", "")),
    ).model_dump(exclude={"redriven_at"})
    try:
        if run_id is not None and letters.append(letter, run_id=run_id, items=items, lease=lease, code=code or "undelivered"):
            return
    except NotFound:  # not even the form of a run's id
        pass
    letters.append(letter)


@dataclass(frozen=True, slots=True)
class Redriver:
    """Takes up letters of a run that is there."""

    runs: RunStore
    letters: DeadLetterStore
    dispatcher: Dispatcher

    def redrive(self, plan: RunPlan, ids: Collection[str] | None, *, now: int, traceparent: str | None) -> Redriven:
        """Try again what could not be delivered, as if for the first time.

        Items that were to be evaluated are issued at once with all their attempts, if they are still under way. Items whose
        results could not be counted are counted.

        Args:
            ids: Of events; None: all that are listed.
            now: Unix seconds.

        Raises:
            InvalidInput: one of `ids` is not listed, or the run has ended and there is nothing to be counted.
            NotFound: the run was deleted meanwhile.
        """
        chosen = self._chosen(plan.run_id, ids)
        ready = sorted(_items_of(chosen, completed=True))
        waiting = sorted(_items_of(chosen, completed=False) - set(ready))
        if chosen and not ready and self.runs.state(plan.run_id).ended:
            raise InvalidInput("the run has ended, nothing of it is issued any more; a retry judges what has no score")
        due = self.letters.redrive(plan.run_id, chosen, waiting, now=now)
        if ready:
            self.dispatcher.count_again(plan, ready, traceparent=traceparent)
        self.dispatcher.advance(plan.run_id, traceparent=traceparent)
        return Redriven(letters=len(chosen), items=len(due) + len(ready))

    def _chosen(self, run_id: str, ids: Collection[str] | None) -> list[dict[str, Any]]:
        letters = self.letters.list(run_id, limit=KEPT)
        if ids is None:
            return letters
        known = {str(letter["event_id"]) for letter in letters}
        for number, wanted in enumerate(ids):
            if wanted not in known:
                raise InvalidInput(f"the run has no dead letter {wanted[:80]!r}", pointer=f"/ids/{number}")
        return [letter for letter in letters if letter["event_id"] in ids]


def _items_of(letters: Sequence[dict[str, Any]], *, completed: bool) -> set[int]:
    return {
        item for letter in letters if (letter["event_type"] == EVALUATION_COMPLETED) is completed for item in letter["items"]
    }


def _reference(event: Event) -> tuple[str | None, list[int], str]:
    """The run and items an event speaks of, and the lease it has them by, as far as it does."""
    try:
        wanted = validate(event.data, RunItems)
    except InvalidInput:
        run_id = event.data.get("run_id") if isinstance(event.data, dict) else None
        return run_id if isinstance(run_id, str) else None, [], ""
    return wanted.run_id, wanted.items, wanted.lease


def _detail(encoded: str) -> str:
    """The failed answer's beginning; the broker sends it in base64."""
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = encoded
    return redact(text)[:_DETAIL_LIMIT]
