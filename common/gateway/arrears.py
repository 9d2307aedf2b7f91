"""Reports of calls that the store refused to take, kept until it takes them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from common.observability.logs import log

if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from common.gateway.ticket import Outcome, Ticket

_MOST = 1000  # about as many calls as a process has under way when the store refuses the first report


class Arrears:
    """What became of calls that nobody was told of yet. Those of a process that ends meanwhile are lost."""

    def __init__(self) -> None:
        self._kept: list[tuple[Ticket, Outcome]] = []

    def note(self, ticket: Ticket, outcome: Outcome, answer: asyncio.Future[Any]) -> None:
        """Keep a report if its `answer`, which is there, says that it certainly changed nothing.

        One whose fate is not known is not kept, because told twice it would be counted twice. What a hard budget holds for
        it counts as spent after a while.
        """
        error = None if answer.cancelled() else answer.exception()
        if error is None:
            return
        kept = _is_refused(error) and len(self._kept) < _MOST
        if kept:
            self._kept.append((ticket, outcome))
        log(
            "gateway.settle.kept" if kept else "gateway.settle.lost",
            level=logging.WARNING,
            model=ticket.model,
            result=outcome.result,
            cost_microusd=outcome.cost_microusd,
        )

    def take(self) -> list[tuple[Ticket, Outcome]]:
        """All of them, to be told again; nothing is kept any more."""
        kept, self._kept = self._kept, []
        return kept


def _is_refused(error: BaseException) -> bool:
    from redis.exceptions import BusyLoadingError, MasterDownError, OutOfMemoryError, ReadOnlyError

    return isinstance(error.__cause__, BusyLoadingError | MasterDownError | OutOfMemoryError | ReadOnlyError)
