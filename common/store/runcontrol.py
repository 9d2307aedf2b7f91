"""What people do to a run under way or at its end: pause it, let it go on, open it again, hurry its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import orjson

from common.errors import NotFound
from common.store import keys
from common.store.connect import script, store_errors
from common.store.stored import sample_field, verdict_field

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import redis

    from common.schemas.runs import RunPlan, RunStatus


@dataclass(frozen=True, slots=True)
class Unfold:
    """An item to be taken out of the sums: what it had added, as far as that goes; which of its results are to go, too.

    ``verdicts`` are numbers of graders.
    """

    index: int
    increments: Mapping[str, int]
    verdicts: Sequence[int]
    sample: bool


class RunControl:
    """Changes of a run's course. Every one is one script, so any pod may die at any time."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pause = client.register_script(script("common.store", "pause.lua"))
        self._begin_retry = client.register_script(script("common.store", "begin_retry.lua"))
        self._unfold = client.register_script(script("common.store", "unfold.lua"))

    def pause(self, run_id: str) -> RunStatus:
        """Issue nothing more of the run until it is resumed; no change if it has ended. Its status. Raises `NotFound`."""
        return self._paused(run_id, on=True)

    def resume(self, run_id: str) -> RunStatus:
        """Let a paused run go on; what it was handed back is due at once. Otherwise as `pause`."""
        return self._paused(run_id, on=False)

    def begin_retry(self, run_id: str, codes: Collection[str]) -> RunStatus:
        """Open a run that has ended; no change if it has not. Its status before. Raises `NotFound`. Two trips.

        Until `unfold` has come to the end of the run nothing of it is issued.

        Args:
            codes: Of the unscored verdicts to be reached anew; none: all.
        """
        with store_errors():
            self._client.zadd(keys.ACTIVE_RUNS, {run_id: keys.tick_of(run_id) or 0})
            before = self._begin_retry(keys=[keys.run(run_id, "state")], args=[orjson.dumps(sorted(codes))])
        return _status(run_id, before)

    def unfold(self, plan: RunPlan, batch: Sequence[Unfold], *, start: int, end: int | None) -> tuple[bool, bool]:
        """Take items out of a run's sums, and delete some of their results, so that they are issued again. One trip.

        Args:
            batch: Items of the stretch; one that is not in the sums stays as it is.
            start: Where the stretch begins: where the last one ended, 0 for the first one.
            end: Where the next one begins; None: that was the last, and the run goes on.

        Returns:
            Whether this was the next stretch: False when somebody else has been over it, and nothing was changed. And
            whether the run has ended with it, because there is nothing to be done.
        """
        run_id = plan.run_id
        names = [keys.run(run_id, part) for part in ("state", "attempts", "done", "sums", "error")]
        for grader in range(len(plan.graders)):
            names += [keys.run_worst(run_id, grader), keys.run_scores(run_id, grader), keys.run_passed(run_id, grader)]
        numbers = {name: number for number, name in enumerate(names, 1)}
        args: list[str | int] = [len(plan.graders), start, "" if end is None else end, len(batch)]
        for item in batch:
            args += [item.index, len(item.increments)]
            args += [part for field, amount in item.increments.items() for part in (field, -amount)]
            results = list(_results(run_id, item))
            args.append(len(results))
            args += [part for key, field in results for part in (numbers.setdefault(key, len(numbers) + 1), field)]
        with store_errors():
            was_next, ended = self._unfold(keys=list(numbers), args=args)
        return bool(was_next), bool(ended)

    def _paused(self, run_id: str, *, on: bool) -> RunStatus:
        names = [keys.run(run_id, part) for part in ("state", "leases", "waiting")]
        with store_errors():
            return _status(run_id, self._pause(keys=names, args=[int(on)]))


def _results(run_id: str, item: Unfold) -> list[tuple[str, str]]:
    """(key, field) of what is to be deleted."""
    bucket = item.index // keys.BUCKET
    found = [(keys.run_verdicts(run_id, bucket), verdict_field(item.index, grader)) for grader in item.verdicts]
    return [*found, (keys.run_samples(run_id, bucket), sample_field(item.index))] if item.sample else found


def _status(run_id: str, told: bytes) -> RunStatus:
    if not told:
        raise NotFound(f"no such run: {run_id}")
    return cast("RunStatus", told.decode())
