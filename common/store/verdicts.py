"""What `evaluate` reads and writes of a run, on the event loop: items are taken, worked on, and kept or handed back.

An event is worked on by one process at a time. Its claim lasts a few seconds and is renewed while the work goes on, so that
what a killed process held is free again soon. The same look every half second tells whether the run still wants the work.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import OrderedDict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from common.errors import NotFound, Overloaded, StoreUnavailable
from common.schemas.runs import ENDED, RunPlan
from common.store import keys
from common.store.connect import store_errors
from common.store.results import reads, writes
from common.store.scripts import Script, ScriptRunner
from common.store.working import Waits, note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import redis.asyncio

    from common.ports import HandBack
    from common.schemas.evaluation import Verdict
    from common.schemas.events import RunItems
    from common.schemas.progress import WaitReason
    from common.schemas.runs import StoredSample
    from common.store.results import Loaded
    from common.store.scripts import Word

_TAKE, _LET_GO, _SAVE, _HAND_BACK = (
    Script(f"{name}.lua", package="common.store") for name in ("take", "let_go", "save_results", "hand_back")
)
_PLANS_KEPT = 64
_HELD_MS = 2_500  # renewed five times meanwhile; a broker that tries again after 1 and 2 s finds it free
_LOOK_S = 0.5
_SAVE_AGAIN_S = (0.1, 0.2, 0.4, 0.8, *[1.6] * 18)  # about half a minute in all
_BUSY_S = 1.0  # after which a second delivery of the same event may ask again


class RedisRunReader:
    """Implements `common.ports.RunReader`. Plans never change, so the last few are kept in the process."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._runner = ScriptRunner(client)
        self._plans: OrderedDict[str, RunPlan] = OrderedDict()
        self._taken: set[TakenItems] = set()
        self._process = secrets.token_hex(4)
        self._looking: asyncio.Task[None] | None = None

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

    @asynccontextmanager
    async def take(self, plan: RunPlan, wanted: RunItems, /) -> AsyncIterator[TakenItems]:
        """Hold the items that are still this event's, with what there is about them. One trip, and one to let go.

        Raises:
            Overloaded: another process works on the same event; it is to come again in a second.
        """
        claim = keys.run_claim(plan.run_id, wanted.items[0], wanted.lease)
        token = secrets.token_hex(8)
        inside = [index for index in wanted.items if 0 <= index < plan.position_count]
        taking = self._runner.submit(
            _TAKE,
            [keys.run(plan.run_id, "state"), keys.run(plan.run_id, "leases"), claim, keys.run(plan.run_id, "sent")],
            [token, _HELD_MS, wanted.lease, *inside],
        )
        loading = reads(plan, inside)
        replies = [self._runner.ask("HMGET", key, *names) for key, names in loading.commands()]
        asked_s = time.monotonic()
        (status, paused, held, left_ms, *ours), *found = await asyncio.gather(taking, *replies)
        wants = bool(status) and status.decode() not in ENDED
        if wants and not held:
            raise Overloaded("another process works on this event", retry_after_s=_BUSY_S)
        loaded = loading.parse(found, active=wants and not paused)
        taken = TakenItems(self._runner, plan, loaded, items=ours, claim=claim, lease=wanted.lease)
        taken.until_s = asked_s + left_ms / 1000 if left_ms >= 0 else math.inf
        if not held:
            yield taken
            return
        self._watch(taken)
        try:
            yield taken
        finally:
            self._taken.discard(taken)
            names = [claim, keys.run(plan.run_id, "leases"), keys.run(plan.run_id, "told")]
            words: list[Word] = [token, wanted.lease, *taken.judged]
            self._runner.submit_along(_LET_GO, names, words)  # one that cannot be let go ends by itself

    def _watch(self, taken: TakenItems) -> None:
        self._taken.add(taken)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Renew what is held and learn whether it is still wanted, for as long as anything is."""
        while self._taken:
            await asyncio.sleep(_LOOK_S)
            taken = list(self._taken)
            for one in taken:
                self._runner.send_along("PEXPIRE", one.claim, str(_HELD_MS))
            note(self._runner, self._process, taken)
            runs = {one.plan.run_id for one in taken}
            asked = {run: self._runner.ask("HMGET", keys.run(run, "state"), "status", "paused") for run in runs}
            with suppress(StoreUnavailable):  # nobody knows: what is under way goes on
                states = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
                for one in taken:
                    status, paused = states[one.plan.run_id]
                    one.active = status is not None and status.decode() not in ENDED and not paused


class TakenItems:
    """Implements `common.ports.TakenItems`. ``claim`` is the key that holds the event."""

    def __init__(
        self, runner: ScriptRunner, plan: RunPlan, loaded: Loaded, *, items: Sequence[int], claim: str, lease: str
    ) -> None:
        self.plan = plan
        self.claim = claim
        self.active = loaded.active
        self.until_s = math.inf
        self.items = [index for index in items if index in loaded.lines]
        self.lines, self.samples, self.verdicts = loaded.lines, loaded.samples, loaded.verdicts
        self.judged: Sequence[int] = ()
        self.waiting = Waits()
        self._runner = runner
        self._lease = lease
        self._unsaved: tuple[dict[int, StoredSample], dict[tuple[int, int], Verdict]] = ({}, {})
        self._saving: asyncio.Task[None] | None = None

    async def save(self, samples: Mapping[int, StoredSample], verdicts: Mapping[tuple[int, int], Verdict], /) -> None:
        """Keep what is new; the first write wins, and a run that was deleted keeps nothing.

        What is reached in the same turn of the loop goes in one script, and returns when it is kept. It was paid for, so a
        store that restarts or fails over is waited for.

        Raises:
            StoreUnavailable: the store was away for half a minute.
        """
        self._unsaved[0].update(samples)
        self._unsaved[1].update(verdicts)
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save())
        await asyncio.shield(self._saving)

    async def _save(self) -> None:
        await asyncio.sleep(0)
        (samples, verdicts), self._unsaved, self._saving = self._unsaved, ({}, {}), None
        names, args = writes(self.plan, samples, verdicts)
        for wait_s in _SAVE_AGAIN_S:
            try:
                await self._runner.submit(_SAVE, names, args)
            except StoreUnavailable:
                await asyncio.sleep(wait_s)
            else:
                return
        await self._runner.submit(_SAVE, names, args)

    async def hand_back(self, items: Mapping[int, HandBack], /) -> None:
        """Let the run issue these items again, each when it is due. One trip."""
        if not items:
            return
        names = [keys.run(self.plan.run_id, part) for part in ("state", "leases", "attempts", "waiting", "pace", "sent")]
        words: list[Any] = [self._lease]
        for index, back in items.items():
            words += [index, int(back.after_s * 1000), int(back.counts), back.code, f"{back.reason} {back.model}"]
        await self._runner.submit(_HAND_BACK, names, words)

    def waits(self, model: str, reason: WaitReason, seconds: float, /) -> None:
        """A call waits; the next look tells of it, if it lasts."""
        self.waiting.begin(model, reason, seconds)
