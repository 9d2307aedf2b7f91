"""What `evaluate` reads and writes of a run, on the event loop: a trip to load, a trip to save."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from common.errors import NotFound
from common.schemas.runs import ENDED, RunPlan
from common.store import keys
from common.store.connect import script, store_errors
from common.store.results import reads, writes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis.asyncio

    from common.schemas.evaluation import Verdict
    from common.schemas.runs import StoredSample
    from common.store.results import Loaded

_PLANS_KEPT = 64


class RedisRunReader:
    """Implements `common.ports.RunReader`. Plans never change, so the last few are kept in the process."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._save = client.register_script(script("common.store", "save_results.lua"))
        self._plans: OrderedDict[str, RunPlan] = OrderedDict()

    async def plan(self, run_id: str, /) -> RunPlan:
        """The run's plan. Raises `NotFound`. No trip when it was asked for lately."""
        known = self._plans.get(run_id)
        if known is not None:
            self._plans.move_to_end(run_id)
            return known
        with store_errors():
            raw = await self._client.get(keys.run(run_id, "plan"))
        if raw is None:
            raise NotFound(f"no such run: {run_id}")
        plan = RunPlan.model_validate_json(raw)
        self._plans[run_id] = plan
        while len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    async def load(self, plan: RunPlan, items: Sequence[int], /) -> Loaded:
        """Lines, samples and verdicts of `items`; inactive when the run has ended or was deleted. One trip."""
        wanted = reads(plan, [index for index in items if 0 <= index < plan.position_count])
        with store_errors():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hget(keys.run(plan.run_id, "state"), "status")
                for key, names in wanted.commands():
                    pipe.hmget(key, names)
                status, *replies = await pipe.execute()
        return wanted.parse(replies, active=status is not None and status.decode() not in ENDED)

    async def save(self, plan: RunPlan, samples: dict[int, StoredSample], verdicts: dict[tuple[int, int], Verdict], /) -> None:
        """Keep what is new; the first write wins, and a run that was deleted keeps nothing. One trip."""
        if not samples and not verdicts:
            return
        names, args = writes(plan, samples, verdicts)
        with store_errors():
            await self._save(keys=names, args=args)
