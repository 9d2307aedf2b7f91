"""Small runs through the whole system while it is being killed, by a seed; ``bin/bench chaos`` does the same at size.

And completion events in every order and number, folded by the code of `aggregate` over a real store.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from bench.chaos.main import Trial, trial
from bench.chaos.system import Times
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.schemas.events import RunItems
from common.schemas.graders import LabelModelGrader, ScoreModelGrader, StringCheckGrader
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from common.schemas.runs import RunPlan
    from local.dispatch import Mode

TIMES = Times(model_s=2, deadline_s=6, delivery_s=7, lease_s=8, overtaken_s=1, tick_s=2)
ITEMS = 120
FOLDED_ITEMS, DATASETS, ORDERS = 14, 20, 50
INPUT = [{"role": "user", "content": "?"}]
GRADERS = [
    ScoreModelGrader(type="score_model", name="quality", model="lab:a", input=INPUT, range=(0, 10), pass_threshold=5),
    LabelModelGrader(
        type="label_model", name="tone", model="lab:b", input=INPUT, labels=["kind", "rude"], passing_labels=["kind"]
    ),
    StringCheckGrader(type="string_check", name="exact", input="", reference="", operation="eq"),
]


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_nothing_is_lost_or_counted_twice(mode: Mode) -> None:
    """Killed processes, a store that restarts twice and a broker that loses and doubles leave a run exactly as it must be.

    Each item has one result and each grader spoke once; the summary is, to the last digit, what the results make; what the run
    says it cost is what its results cost; the run ended once, whatever was told of it.
    """
    found = trial(Trial(ITEMS, mode, seed=1, chaos=True, kill_every_s=(1.5, 3.0), times=TIMES))
    assert (found["ended"], found["completed_events"]) == (1, 1)
    assert (found["results"], found["lost"], found["duplicates"]) == (ITEMS, 0, 0)
    assert found["summary_mismatch"] == 0
    assert found["kills"] > 0
    assert found["store_restarts"] == 2


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(Settings(redis_url=redis_url)) as connected:
        yield connected


def test_any_order_makes_the_same_summary(client: redis.Redis) -> None:
    """1,000 seeds: results that come in any order, any batches and any number make bit-identical sums, summaries and scores."""
    runs, results = RunStore(client), ResultStore(client)
    for dataset in range(DATASETS):
        records = Records(runs, results, public_url="")
        plan = judged_run(client, runs, results, Random(dataset))
        before = dump(client, plan.run_id)
        first = None
        for order in range(ORDERS):
            restore(client, before)
            completed = [
                fold_items(event, runs, records).completed for event in events(plan, Random(DATASETS * order + dataset))
            ]
            assert sum(completed) == 1
            found = (
                records.summary(plan).model_dump_json(exclude={"ended_at"}),
                runs.sums(plan.run_id),
                [(records.scores(plan, grader), records.passed(plan, grader)) for grader in range(len(GRADERS))],
                [records.settled(plan, outcome=outcome) for outcome in ("passed", "failed", "errored", None)],
            )
            first = first or found
            assert found == first


def judged_run(client: redis.Redis, runs: RunStore, results: ResultStore, rng: Random) -> RunPlan:
    """A run whose items are all judged, and none is counted."""
    plan = new_run(client, FOLDED_ITEMS, graders=GRADERS, window_items=64)
    runs.issue(plan.run_id, lease_s=1000, attempts=5)
    results.save(
        plan, {}, {(item, grader): verdict(grader, rng) for item in range(FOLDED_ITEMS) for grader in range(len(GRADERS))}
    )
    return plan


def verdict(number: int, rng: Random) -> Verdict:
    """One in six has no score; scores are such as floats cannot add without rounding."""
    grader = GRADERS[number]
    call = ModelCall(
        model=f"lab:{rng.choice('ab')}",
        usage=Usage(prompt_tokens=rng.randrange(1000), completion_tokens=rng.randrange(100)),
        cost_microusd=rng.randrange(500),
    )
    calls = [] if number == 2 else [call] * rng.randint(1, 2)
    if rng.random() < 1 / 6:
        reason = Unscored(code=rng.choice(["refusal", "no_score"]), message="")
        return Verdict(name=grader.name, type=grader.type, unscored=reason, calls=calls)
    score = rng.uniform(0, 10) if number == 0 else float(rng.random() < 0.5)
    label = ("kind" if score else "rude") if number == 1 else None
    return Verdict(
        name=grader.name, type=grader.type, score=score, passed=score >= (5 if number == 0 else 1), label=label, calls=calls
    )


def events(plan: RunPlan, rng: Random) -> list[RunItems]:
    """Every item at least once, in batches of one to four; two of three events come again, and items in other batches, too."""
    items = [*range(FOLDED_ITEMS), *rng.sample(range(FOLDED_ITEMS), 5)]
    rng.shuffle(items)
    found = [RunItems(run_id=plan.run_id, items=batch) for batch in batches(items, rng)]
    found += [event for event in found if rng.random() < 2 / 3]
    rng.shuffle(found)
    return found


def batches(items: Sequence[int], rng: Random) -> Iterator[list[int]]:
    at = 0
    while at < len(items):
        size = rng.randint(1, 4)
        yield list(items[at : at + size])
        at += size


def dump(client: redis.Redis, run_id: str) -> dict[bytes, bytes | None]:
    """All keys of a run, as they are now."""
    names = list(client.scan_iter(match=f"kn:run:{{{run_id}}}*", count=1000))
    return {name: client.dump(name) for name in names}


def restore(client: redis.Redis, kept: dict[bytes, bytes | None]) -> None:
    """Nothing but what was kept."""
    prefix = next(iter(kept)).partition(b"}")[0] + b"}"
    pipe = client.pipeline(transaction=False)
    pipe.delete(*client.scan_iter(match=prefix + b"*", count=1000))
    for name, value in kept.items():
        pipe.restore(name, 0, value)
    pipe.execute()
