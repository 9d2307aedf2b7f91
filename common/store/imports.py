"""Evals and runs that happened elsewhere, written under ids that follow from where they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from common.store import keys
from common.store.connect import script, store_errors
from common.store.datasets import DatasetStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from common.schemas.evaluation import Unscored
    from common.schemas.runs import EvalVersion, RunPlan, RunStatus

_MICRO = 1_000_000
_NOTES = "imported"  # field of a run's state


def derived_id(prefix: str, *origin: str, created_at: int) -> str:
    """The identifier of what came from `origin`, whose last part is the id it had there.

    It sorts by `created_at` (unix seconds), like identifiers of our own make; within a second as the one it had, if that
    was of our own make too, else at random.
    """
    digest = hashlib.sha256("\n".join(origin).encode("utf-8", "surrogatepass")).digest()
    tick_us = keys.tick_of(origin[-1])
    if tick_us is None or tick_us // _MICRO != created_at:
        tick_us = created_at * _MICRO + int.from_bytes(digest[:4]) % _MICRO
    return f"{prefix}_{tick_us:014x}{digest[4:12].hex()}"


@dataclass(frozen=True, slots=True)
class ImportedNotes:
    """What a run under import has to remember.

    ``usage_counted``: its tokens were told for the run as a whole, so items must not count theirs again.
    ``ended_at`` is when it ended where it ran, in unix seconds; None where that is not known.
    """

    usage_counted: bool = False
    ended_at: int | None = None


class ImportStore:
    """Writes that may all be repeated: what is there stays as it is."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._datasets = DatasetStore(client)
        self._append = client.register_script(script("common.store", "eval_append.lua"))
        self._end = client.register_script(script("common.store", "end_import.lua"))

    def put_eval(self, version: EvalVersion) -> bool:
        """Keep an eval; False if it was there. Two trips."""
        with store_errors():
            added = self._append(
                keys=[keys.eval_versions(version.eval_id)], args=[0, version.model_dump_json(exclude_defaults=True)]
            )
            position = {version.eval_id: keys.tick_of(version.eval_id) or 0}
            pipe = self._client.pipeline(transaction=False)
            pipe.zadd(keys.evals(version.project, "created_at"), position, nx=True)
            pipe.zadd(keys.evals(version.project, "updated_at"), position, nx=True)
            pipe.execute()
        return bool(added)

    def put_run(
        self,
        plan: RunPlan,
        *,
        status: RunStatus,
        started_at: int | None,
        notes: ImportedNotes,
        error: Unscored | None,
        sums: Mapping[str, int],
        held_open: bool = False,
    ) -> None:
        """Keep a run of which nothing is ever issued, and what is known of it as a whole (`sums`). Two trips.

        It is not among the active runs, so that no reconciler takes it up. One that `status` calls completed becomes so
        when its last item is counted; with `held_open`, when `end` says so: it lacks a last one until then.

        Raises:
            NotFound: the dataset is gone.
        """
        for dataset_id in (plan.dataset_id, plan.canary_dataset_id):
            if dataset_id is not None:
                self._datasets.hold(dataset_id, f"run:{plan.run_id}")
        state = _state(plan, status=status, started_at=started_at, notes=notes, error=error)
        if held_open:
            state |= {"status": "in_progress", "total": plan.position_count + 1, "ended_at": None, "completed_event": None}
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(keys.run(plan.run_id, "plan"), plan.model_dump_json(exclude_defaults=True), nx=True)
            for name, amount in sums.items():
                pipe.hsetnx(keys.run(plan.run_id, "sums"), name, str(amount))
            for name, value in state.items():
                if value is not None:
                    pipe.hsetnx(keys.run(plan.run_id, "state"), name, value)
            pipe.zadd(keys.eval_runs(plan.eval_id), {plan.run_id: keys.tick_of(plan.run_id) or 0})
            pipe.execute()

    def notes(self, run_id: str) -> ImportedNotes | None:
        """What `put_run` was told to remember; None for a run that was not imported. One trip."""
        with store_errors():
            raw = cast("bytes | None", self._client.hget(keys.run(run_id, "state"), _NOTES))
        return None if raw is None else ImportedNotes(**orjson.loads(raw))

    def end(self, run_id: str, fields: Mapping[str, str]) -> bool:
        """Note how the run ended where it ran, empty for what is not known; False if it is not there. One trip."""
        args = [part for pair in {**fields, "completed_event": "sent"}.items() for part in pair]
        with store_errors():
            return bool(self._end(keys=[keys.run(run_id, "state")], args=args))

    def settle(self, run_id: str, notes: ImportedNotes) -> None:
        """The last item was counted: the run ended when it ended, not now, and nobody is to be told. One trip."""
        key = keys.run(run_id, "state")
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(key, "completed_event", "sent")
            if notes.ended_at is None:
                pipe.hdel(key, "ended_at")
            else:
                pipe.hset(key, "ended_at", str(notes.ended_at))
            pipe.execute()


def _state(
    plan: RunPlan, *, status: RunStatus, started_at: int | None, notes: ImportedNotes, error: Unscored | None
) -> dict[str, Any]:
    """Fields of the run's state; None for those it does not have."""
    unfinished = status == "completed" and plan.position_count > 0
    return {
        "status": "in_progress" if unfinished else status,
        "total": plan.position_count,
        "window": plan.window_items,
        "cursor": plan.position_count,
        "done": 0,
        "created_at": plan.created_at,
        "started_at": started_at,
        "ended_at": None if unfinished else notes.ended_at,
        "completed_event": None if unfinished else "sent",
        "error_code": error and error.code,
        "error_message": error and error.message,
        _NOTES: orjson.dumps(notes),
    }
