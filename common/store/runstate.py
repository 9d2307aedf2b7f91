"""What is known of a run: where it stands, what of it may be evaluated, what is counted into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import orjson

from common.errors import NotFound
from common.schemas.evaluation import Unscored
from common.schemas.runs import ENDED, RunPlan, RunStatus, WorstItem
from common.schemas.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class Retry:
    """Unscored verdicts with one of ``codes`` (none: all) are to be reached anew; before ``start`` that is prepared."""

    codes: frozenset[str]
    start: int


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands. Times in unix seconds; ``outstanding`` items are leased and not folded yet.

    ``total``, ``cursor`` and ``done`` count positions: items and canaries. ``generation`` is how often the run was retried;
    ``retry`` is what a retry is to try again, while it is being prepared.
    """

    run_id: str
    status: RunStatus
    total: int
    cursor: int
    done: int
    outstanding: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    advance_pending: bool
    completed_event: Literal["", "pending", "sent"]
    error: Unscored | None
    stopped: Stopped | None = None
    paused: bool = False
    generation: int = 0
    retry: Retry | None = None

    @property
    def ended(self) -> bool:
        """True when nothing more will be issued."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """What a summary is made from, read at one moment. ``worst`` is by grader index, lowest score first."""

    plan: RunPlan
    state: RunState
    sums: dict[str, int]
    worst: dict[int, list[WorstItem]]


@dataclass(frozen=True, slots=True)
class Issue:
    """What may be evaluated now: (item, attempt) pairs, attempts counting from 1, and items out of attempts.

    ``lease`` is that of all of them: whoever shows another one has been overtaken. ``histories`` has, for each item given up,
    what became of its attempts: ``<unix seconds> <code>;`` for each. ``overtaken``: those of the items whose events are taken
    for lost, because later ones have come through. ``overdue``: the run is to be ended. ``retrying``: what a retry tries again
    is to be taken out of the sums first. ``trace_id`` is that of whoever asked first.
    """

    active: bool
    items: list[tuple[int, int]]
    given_up: list[int]
    lease: str = ""
    histories: Mapping[int, str] = field(default_factory=dict)
    overtaken: list[int] = field(default_factory=list)
    overdue: bool = False
    retrying: bool = False
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class FoldItem:
    """One item's contribution. ``scores`` by grader index, unscored ones left out; ``passed``: the graders that it passed.

    A canary has neither, and None as its outcome: it is counted in the sums it names alone.
    """

    index: int
    outcome: Literal["pass", "fail", "error"] | None
    increments: Mapping[str, int]
    scores: Mapping[int, float] = field(default_factory=dict)
    passed: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Folded:
    """``completed`` is True for exactly one caller in a run's life; ``ask_for_more``: publish ``run.advance``."""

    new: int
    completed: bool
    ask_for_more: bool
    status: RunStatus | None  # None: no such run
    done: int


def read_state(run_id: str, raw: Mapping[bytes, bytes], outstanding: int) -> RunState:
    """From the fields of its hash. Raises `NotFound`: it has none."""
    if b"status" not in raw:
        raise NotFound(f"no such run: {run_id}")
    text = {name.decode(): value.decode() for name, value in raw.items()}
    error = Unscored(code=text["error_code"], message=text["error_message"]) if "error_code" in text else None
    return RunState(
        run_id=run_id,
        status=cast("RunStatus", text["status"]),
        total=int(text["total"]),
        cursor=int(text["cursor"]),
        done=int(text["done"]),
        outstanding=outstanding,
        created_at=int(text["created_at"]),
        started_at=int(text["started_at"]) if "started_at" in text else None,
        ended_at=int(text["ended_at"]) if "ended_at" in text else None,
        advance_pending="advance_pending" in text,
        completed_event=cast("Literal['', 'pending', 'sent']", text.get("completed_event", "")),
        error=error,
        stopped=Stopped.model_validate_json(text["stopped"]) if "stopped" in text else None,
        paused="paused" in text,
        generation=int(text.get("generation", 0)),
        retry=Retry(frozenset(orjson.loads(text["retrying"])), int(text["retry_from"])) if "retrying" in text else None,
    )
