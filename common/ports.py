"""The seams of the system: what each part needs from the others, and nothing more.

A grader gets a `Complete`; the gateway implements it. The gateway gets a `Provider`; one file a vendor implements it.
Functions get stores and a publisher. Every port has a contract suite in ``tests/contract`` that each implementation passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from common.schemas.cloudevent import Event
    from common.schemas.completion import Completion, CompletionRequest, StreamChunk
    from common.schemas.evaluation import EvaluationRequest, Verdict
    from common.schemas.events import RunItems
    from common.schemas.progress import WaitReason
    from common.schemas.runs import RunPlan, StoredSample


class Complete(Protocol):
    """One call to a model, with everything a call needs: limits, breaker, retries, fallback, cost."""

    async def __call__(self, request: CompletionRequest, /) -> Completion:
        """Ask the model.

        Raises:
            ProviderError: no answer, after the retries that fit the deadline.
            DeadlineExceeded: the deadline passed while waiting for a slot.
            StoreUnavailable: limits cannot be checked, and they fail closed.
        """
        ...


class Provider(Protocol):
    """One vendor's wire format. No retries, no limits, no state beyond a connection pool."""

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One HTTP exchange. ``request.model`` is the bare model name. Raises `ProviderError`."""
        ...

    def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, streamed; ``timeout_s`` bounds the first byte. Closing the iterator closes the upstream call."""
        ...

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """Bare names of the models the vendor offers."""
        ...


class Publish(Protocol):
    """Hands events to the broker."""

    def __call__(self, events: Sequence[Event], /) -> None:
        """Post every event; returns when each was accepted. Raises `Overloaded` if one was not."""
        ...


class RunReader(Protocol):
    """What `evaluate` needs of a run."""

    async def plan(self, run_id: str, /) -> RunPlan:
        """The run's plan. Raises `NotFound`."""
        ...

    def take(self, plan: RunPlan, wanted: RunItems, /) -> AbstractAsyncContextManager[TakenItems]:
        """Hold the items of an event while working on them.

        Raises:
            Overloaded: another process works on the same event.
        """
        ...


class TakenItems(Protocol):
    """Items that are held, keyed by item index; verdicts by (item index, grader index).

    ``items`` are those that no later event has. ``active`` turns False as soon as the run is paused, has ended or was deleted:
    no model call may begin from then on. After ``until_s`` (monotonic seconds, infinite without a lease) a later event may.
    ``judged``: those that have all their verdicts, for whoever is done with them to say; they are announced next.
    """

    active: bool
    until_s: float
    items: list[int]
    judged: Sequence[int]
    lines: dict[int, bytes]
    samples: dict[int, StoredSample]
    verdicts: dict[tuple[int, int], Verdict]

    async def save(self, samples: Mapping[int, StoredSample], verdicts: Mapping[tuple[int, int], Verdict], /) -> None:
        """Keep what is new. First write wins: a verdict that is there is never replaced."""
        ...

    async def hand_back(self, items: Mapping[int, HandBack], /) -> None:
        """Let the run issue items again."""
        ...

    def waits(self, model: str, reason: WaitReason, seconds: float, /) -> None:
        """A call to a model begins to wait for leave; whoever asks how the run gets on is told."""
        ...


@dataclass(frozen=True, slots=True)
class HandBack:
    """An item that could not be finished: due again after ``after_s`` seconds.

    ``counts`` is whether this was one of its attempts, ``code`` the error's. ``reason`` and ``model``: what is waited for.
    """

    after_s: float
    counts: bool
    code: str
    reason: WaitReason = "provider"
    model: str = ""


class Evaluations(Protocol):
    """Verdicts of single evaluations, kept by project and the caller's ``evaluation_id``."""

    def claim(self, request: EvaluationRequest, /, *, project: str, deadline_s: float) -> AbstractAsyncContextManager[Claim]:
        """Hold the id while judging; a concurrent equal request waits here for the first one, within its deadline.

        Raises:
            Conflict: the id was used for a different request.
            DeadlineExceeded: somebody else still holds the id at the deadline.
        """
        ...


class Claim(Protocol):
    """A held evaluation id. ``verdicts`` are those already reached, by grader index."""

    verdicts: dict[int, Verdict]

    async def save(self, verdicts: dict[int, Verdict], /) -> None:
        """Keep what was reached."""
        ...
