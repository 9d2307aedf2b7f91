"""Items of a run, over a store that is a dictionary."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.errors import StoreUnavailable
from common.schemas.completion import Completion
from common.schemas.evaluation import ModelCall, Verdict
from common.schemas.events import RunItems
from common.schemas.graders import LabelModelGrader
from common.schemas.runs import RunPlan
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from common.ports import HandBack
    from common.schemas.completion import CompletionRequest
    from common.schemas.progress import WaitReason
    from common.schemas.runs import StoredSample

GRADER = LabelModelGrader(
    type="label_model",
    name="tone",
    model="lab:judge",
    input=[{"role": "user", "content": "{{item.text}}"}],
    labels=["kind", "rude"],
    passing_labels=["kind"],
)
PLAN = RunPlan(
    run_id="run_1",
    eval_id="eval_1",
    eval_version=1,
    name="r",
    created_at=0,
    dataset_id="ds_1",
    item_count=3,
    graders=[GRADER],
    data_source={},
    window_items=3,
)


@dataclass
class Taken:
    """`common.ports.TakenItems` in memory."""

    items: list[int]
    active: bool = True
    until_s: float = math.inf
    judged: Sequence[int] = ()
    lines: dict[int, bytes] = field(default_factory=lambda: dict.fromkeys(range(3), b'{"item": {"text": "hello"}}'))
    samples: dict[int, StoredSample] = field(default_factory=dict)
    verdicts: dict[tuple[int, int], Verdict] = field(default_factory=dict)
    back: dict[int, HandBack] = field(default_factory=dict)

    async def save(self, samples: Mapping[int, StoredSample], verdicts: Mapping[tuple[int, int], Verdict], /) -> None:
        self.samples.update(samples)
        self.verdicts.update(verdicts)

    async def hand_back(self, items: Mapping[int, HandBack], /) -> None:
        self.back.update(items)

    def waits(self, model: str, reason: WaitReason, seconds: float, /) -> None:
        """Nobody asks."""


@dataclass
class Runs:
    """`common.ports.RunReader` of one run."""

    taken: Taken

    async def plan(self, run_id: str, /) -> RunPlan:
        assert run_id == PLAN.run_id
        return PLAN

    @asynccontextmanager
    async def take(self, _plan: RunPlan, _wanted: RunItems, /) -> AsyncIterator[Taken]:
        yield self.taken


async def test_a_store_that_restarts_is_waited_for() -> None:
    """Calls that had no leave, because the store was away, are made when it is back; the event need not come again."""
    asked = 0

    async def complete(_request: CompletionRequest, /) -> Completion:
        nonlocal asked
        asked += 1
        if asked <= PLAN.item_count:
            raise StoreUnavailable("away", retry_after_s=1.0)
        return Completion('{"label": "kind"}', "stop", ModelCall(model="lab:judge"))

    taken = Taken([0, 1, 2])
    wanted = RunItems(run_id=PLAN.run_id, items=[0, 1, 2])
    done = await evaluate_items(wanted, Judging(complete, lambda: "m"), Runs(taken), deadline_s=time.monotonic() + 30)
    assert done is not None
    assert done.items == taken.judged == [0, 1, 2]
    assert [verdict.label for verdict in taken.verdicts.values()] == ["kind"] * 3
    assert (asked, taken.back) == (6, {})
