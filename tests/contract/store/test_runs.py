"""Runs on a real server: the scripts that issue, fold and end, under contention and after crashes."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from common.errors import InvalidInput, NotFound
from common.schemas.evaluation import Unscored, Verdict
from common.schemas.runs import StoredSample
from common.schemas.stopping import Stopped
from common.store.deadletters import DeadLetterStore
from common.store.results import ResultStore, indexes_in
from common.store.runs import WORST_KEPT, RunStore
from common.store.runstate import FoldItem, Issue

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from common.schemas.runs import RunPlan

    MakeRun = Callable[..., RunPlan]


def fold_item(index: int, *, outcome: str = "pass", score: float | None = None) -> FoldItem:
    scores = {} if score is None else {0: score}
    return FoldItem(index, outcome, {"n": 1, "micro": round((score or 0) * 1e9)}, scores)


def issue(runs: RunStore, plan: RunPlan, *, lease_s: float = 60, attempts: int = 3) -> list[tuple[int, int]]:
    return runs.issue(plan.run_id, lease_s=lease_s, attempts=attempts).items


def test_issue_fills_the_window_and_no_more(runs: RunStore, make_run: MakeRun) -> None:
    """A run hands out as many items as its window holds, and more only as results come in."""
    plan = make_run(10, window=4)
    assert issue(runs, plan) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert issue(runs, plan) == []
    runs.fold(plan, [fold_item(1), fold_item(2), fold_item(3)])
    assert issue(runs, plan) == [(4, 1), (5, 1), (6, 1)]
    state = runs.state(plan.run_id)
    assert (state.status, state.cursor, state.outstanding, state.done) == ("in_progress", 7, 4, 3)
    assert state.started_at is not None


def test_every_item_is_issued_once_by_many_threads(runs: RunStore, make_run: MakeRun) -> None:
    """Eight threads that issue and fold at once never hand out an item twice, and hand out all of them."""
    plan = make_run(400, window=40)

    def work() -> list[int]:
        mine: list[int] = []
        while not runs.state(plan.run_id).ended:
            items = [item for item, _ in issue(runs, plan)]
            runs.fold(plan, [fold_item(item) for item in items])
            mine += items
        return mine

    with ThreadPoolExecutor(8) as pool:
        parts = [future.result() for future in [pool.submit(work) for _ in range(8)]]
    assert sorted(item for part in parts for item in part) == list(range(400))
    assert runs.state(plan.run_id).status == "completed"


def test_twenty_threads_fold_the_same_items_once(runs: RunStore, make_run: MakeRun) -> None:
    """However often and by however many an item is brought, it counts once and one caller completes the run."""
    plan = make_run(30, window=30)
    issue(runs, plan)
    batch = [fold_item(index, score=index / 30) for index in range(30)]

    def work(seed: int) -> tuple[int, bool]:
        mine, new, completed = list(batch), 0, False
        random.Random(seed).shuffle(mine)
        for at in range(0, 30, 7):
            folded = runs.fold(plan, mine[at : at + 7])
            new, completed = new + folded.new, completed or folded.completed
        return new, completed

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(work, range(20)))
    assert sum(new for new, _ in outcomes) == 30
    assert [completed for _, completed in outcomes].count(True) == 1
    assert runs.sums(plan.run_id) == {"n": 30, "micro": sum(round(index / 30 * 1e9) for index in range(30))}


def test_sums_do_not_depend_on_the_order(runs: RunStore, make_run: MakeRun) -> None:
    """Shuffled arrival gives bit-identical sums, and the same worst items even among equal scores."""
    items = [fold_item(i, outcome="pass" if i % 3 else "fail", score=(i * 7 % 10) / 10) for i in range(100)]
    seen = set()
    for seed in range(4):
        plan = make_run(100, window=100)
        random.Random(seed).shuffle(items)
        for at in range(0, 100, 9):
            runs.fold(plan, items[at : at + 9])
        worst = runs.worst(plan)
        assert [w.score for w in worst[0]] == sorted((i * 7 % 10) / 10 for i in range(100))[:WORST_KEPT]
        assert worst[1] == []
        seen.add((tuple(sorted(runs.sums(plan.run_id).items())), tuple((w.index, w.score) for w in worst[0])))
    assert len(seen) == 1


def test_an_overflow_leaves_no_item_half_counted(runs: RunStore, make_run: MakeRun) -> None:
    """A sum that does not fit 64 bits is flagged; everything else about the item is counted."""
    plan = make_run(2, window=2)
    runs.fold(plan, [FoldItem(0, "pass", {"big": 2**63 - 1, "n": 1})])
    assert runs.fold(plan, [FoldItem(1, "pass", {"big": 1, "n": 1})]).completed
    assert runs.sums(plan.run_id) == {"big": 2**63 - 1, "n": 2, "overflow": 1}


def test_sums_are_exact_whatever_their_size(runs: RunStore, make_run: MakeRun) -> None:
    """Integers near the limits of 64 bits and of doubles add up exactly, also below zero and within one batch."""
    plan, seeded = make_run(60, window=60), random.Random(7)
    amounts = [seeded.choice([1, -1]) * seeded.randrange(10 ** seeded.randrange(1, 17)) for _ in range(60)]
    items = [FoldItem(index, "pass", {"x": amount, f"y.{index % 3}": 2**53 + 1}) for index, amount in enumerate(amounts)]
    for at in range(0, 60, 20):
        runs.fold(plan, items[at : at + 20])
    assert runs.sums(plan.run_id) == {"x": sum(amounts)} | {f"y.{part}": 20 * (2**53 + 1) for part in range(3)}


def test_fold_asks_for_more_once(runs: RunStore, make_run: MakeRun) -> None:
    """When a quarter of the window is free one fold asks for more, and none again until something was issued."""
    plan = make_run(20, window=8)
    issue(runs, plan)
    assert not runs.fold(plan, [fold_item(0)]).ask_for_more
    assert runs.fold(plan, [fold_item(1)]).ask_for_more
    assert not runs.fold(plan, [fold_item(2)]).ask_for_more
    assert runs.state(plan.run_id).advance_pending
    issue(runs, plan)
    assert not runs.state(plan.run_id).advance_pending


def test_items_beyond_the_run_are_ignored(runs: RunStore, make_run: MakeRun) -> None:
    """A malformed result cannot grow a run."""
    plan = make_run(2)
    assert runs.fold(plan, [fold_item(2), fold_item(10**9)]).new == 0


def test_an_expired_lease_is_issued_again_until_attempts_are_used_up(runs: RunStore, make_run: MakeRun) -> None:
    """Lost items come again with a rising attempt number, then are given up, repeatedly until someone folds them."""
    plan = make_run(2, window=2)
    assert issue(runs, plan, lease_s=0) == [(0, 1), (1, 1)]
    assert issue(runs, plan, lease_s=0) == [(0, 2), (1, 2)]
    runs.fold(plan, [fold_item(0)])
    assert issue(runs, plan, lease_s=0) == [(1, 3)]
    for _ in range(2):
        again = runs.issue(plan.run_id, lease_s=0, attempts=3)
        assert (again.items, again.given_up) == ([], [1])
    assert runs.fold(plan, [fold_item(1, outcome="error")]).completed


def test_release_brings_items_back_at_once(runs: RunStore, make_run: MakeRun) -> None:
    """A released item is issued next time; one that has no lease is not invented."""
    plan = make_run(10, window=4)
    issue(runs, plan)
    runs.release(plan.run_id, [2, 9])
    assert issue(runs, plan) == [(2, 2)]


def test_unissued_items_lose_no_attempt(runs: RunStore, make_run: MakeRun) -> None:
    """What the broker refused comes again under the same attempt number, however often."""
    plan = make_run(3, window=3)
    issue(runs, plan)
    for _ in range(5):
        assert runs.unissue(plan.run_id, [1, 2]) == 2
        assert issue(runs, plan, attempts=1) == [(1, 1), (2, 1)]
    runs.fold(plan, [fold_item(1)])
    assert runs.unissue(plan.run_id, [1]) == 0, "it is done"
    runs.delete(plan.run_id)
    assert runs.unissue(plan.run_id, [2]) == 0


def test_cancel_stops_issuing_and_still_counts_facts(runs: RunStore, make_run: MakeRun) -> None:
    """After cancel nothing is issued; results under way are counted but do not complete the run."""
    plan = make_run(4, window=2)
    issue(runs, plan)
    assert runs.cancel(plan.run_id) == "in_progress"
    assert runs.cancel(plan.run_id) == "canceled"
    assert runs.issue(plan.run_id, lease_s=60, attempts=3) == Issue(active=False, items=[], given_up=[])
    folded = runs.fold(plan, [fold_item(index) for index in range(4)])
    assert (folded.new, folded.completed, folded.ask_for_more, folded.status) == (4, False, False, "canceled")
    state = runs.state(plan.run_id)
    assert (state.done, state.outstanding, state.completed_event, state.ended) == (4, 0, "pending", True)


def test_fail_keeps_the_reason(runs: RunStore, make_run: MakeRun) -> None:
    """A failed run says why, and a later cancel does not change that."""
    plan = make_run()
    runs.fail(plan.run_id, Unscored(code="budget_exhausted", message="spent"))
    assert runs.cancel(plan.run_id) == "failed"
    assert runs.state(plan.run_id).error == Unscored(code="budget_exhausted", message="spent")


def test_a_run_is_active_until_its_end_was_announced(runs: RunStore, make_run: MakeRun) -> None:
    """The reconciler keeps seeing a run that has ended until its event is confirmed, and never loses one before its end."""
    plan, other = make_run(1), make_run(1)
    runs.confirm_completed(plan.run_id)
    assert runs.active() == [plan.run_id, other.run_id]
    runs.fold(plan, [fold_item(0)])
    assert runs.active() == [plan.run_id, other.run_id]
    assert runs.state(plan.run_id).completed_event == "pending"
    runs.confirm_completed(plan.run_id)
    assert runs.state(plan.run_id).completed_event == "sent"
    assert runs.active() == [other.run_id]


def test_an_empty_run_is_complete_at_once(runs: RunStore, make_run: MakeRun) -> None:
    """A run over no items ends when it is created, and its event is due."""
    state = runs.state(make_run(0).run_id)
    assert (state.status, state.completed_event, state.ended) == ("completed", "pending", True)


def test_delete_leaves_nothing(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Deletion leaves no key but the clock, and a straggler's results create none."""
    plan = make_run(200, window=200)
    issue(runs, plan)
    results, letters = ResultStore(client), DeadLetterStore(client)
    verdict = Verdict(name="a", type="string_check", score=1.0, passed=True)
    assert (
        results.save(plan, {i: StoredSample(output_text="x") for i in range(200)}, {(i, 0): verdict for i in range(200)}) == 400
    )
    runs.fold(plan, [fold_item(i, score=0.5) for i in range(100)])
    letters.append({"code": "500"}, run_id=plan.run_id, items=[150])
    runs.delete(plan.run_id)
    assert results.save(plan, {0: StoredSample(output_text="x")}, {}) == 0
    assert runs.fold(plan, [fold_item(0)]).status is None
    assert not letters.append({"code": "500"}, run_id=plan.run_id)
    runs.release(plan.run_id, [1])
    runs.confirm_completed(plan.run_id)
    assert not runs.issue(plan.run_id, lease_s=1, attempts=1).active
    assert list(client.scan_iter("*")) == [b"kn:clock"]
    for look in (runs.plan, runs.state, runs.cancel, runs.delete):
        with pytest.raises(NotFound):
            look(plan.run_id)


def test_delete_all_finishes_what_a_crash_left(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Deleting an eval's runs also clears one whose deletion stopped half-way, and leaves other evals' runs alone."""
    plans, other = [make_run(3) for _ in range(3)], make_run(1, eval_id="eval_2")
    client.delete(f"kn:run:{{{plans[0].run_id}}}:state")
    client.delete(f"kn:run:{{{plans[1].run_id}}}:plan")
    runs.delete_all("eval_1")
    assert client.zcard("kn:eval:{eval_1}:runs") == 0
    assert runs.state(other.run_id).total == 1
    assert not list(client.scan_iter(f"*{plans[0].run_id}*"))
    assert not list(client.scan_iter(f"*{plans[2].run_id}*"))


def test_lists_page_without_gaps_whatever_happens_between(runs: RunStore, make_run: MakeRun) -> None:
    """Paging sees every run once in either order, also when the cursor's run is deleted meanwhile."""
    ids = [make_run(1).run_id for _ in range(7)]
    make_run(1, eval_id="eval_2")
    page = runs.list("eval_1", limit=3)
    assert ([plan.run_id for plan in page.data], page.has_more) == (ids[:3], True)
    runs.delete(ids[2])
    assert [plan.run_id for plan in runs.list("eval_1", after=ids[2], limit=3).data] == ids[3:6]
    last = runs.list("eval_1", after=ids[5], limit=1)
    assert ([plan.run_id for plan in last.data], last.has_more) == (ids[6:], False)
    assert [plan.run_id for plan in runs.list("eval_1", order="desc", after=ids[5]).data] == [ids[4], ids[3], ids[1], ids[0]]
    with pytest.raises(InvalidInput, match="after"):
        runs.list("eval_1", after="nonsense")


def test_list_filters_by_status(runs: RunStore, make_run: MakeRun) -> None:
    """A filtered page holds only runs of that status and says truly whether more follow."""
    ids = [make_run(1).run_id for _ in range(6)]
    for run_id in ids[::2]:
        runs.cancel(run_id)
    page = runs.list("eval_1", status="canceled", limit=2)
    assert ([plan.run_id for plan in page.data], page.has_more) == ([ids[0], ids[2]], True)
    rest = runs.list("eval_1", status="canceled", limit=2, after=ids[2])
    assert ([plan.run_id for plan in rest.data], rest.has_more) == ([ids[4]], False)
    assert runs.list("eval_1", status="failed").data == []


def test_identifiers_cannot_leave_their_place(runs: RunStore) -> None:
    """An identifier that could name another key is simply not found."""
    for hostile in ("a}b", "{a", "a b", "", "x" * 200, "a\nb"):
        with pytest.raises(NotFound):
            runs.plan(hostile)


def test_results_read_lines_samples_and_verdicts_together(client: redis.Redis, make_run: MakeRun) -> None:
    """A page of results holds each item with its sample and its verdicts, judged or not."""
    plan = make_run(130, window=130)
    results = ResultStore(client)
    verdict = Verdict(name="a", type="string_check", score=0.0, passed=False)
    unscored = Verdict(name="b", type="string_check", unscored=Unscored(code="no_verdict", message="?"))
    assert results.save(plan, {64: StoredSample(output_text="hi")}, {(64, 0): verdict, (64, 1): unscored}) == 3
    assert results.save(plan, {}, {(64, 0): verdict.model_copy(update={"score": 1.0})}) == 0, "the first write wins"
    page = results.results(plan, 63, 2)
    assert [(r.index, r.item, len(r.verdicts)) for r in page] == [(63, {"n": 63}, 0), (64, {"n": 64}, 2)]
    assert page[1].sample == StoredSample(output_text="hi")
    assert page[1].verdicts == [verdict, unscored]
    assert [r.index for r in results.results(plan, 128, 10)] == [128, 129]
    assert results.results(plan, 500, 10) == []


def test_outcomes_can_be_found_without_reading_items(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Folding marks each item's outcome, so that the failed ones of a large run are found in one read."""
    plan = make_run(100, window=100)
    outcomes = {3: "fail", 40: "error", 77: "fail", 8: "pass"}
    runs.fold(plan, [fold_item(index, outcome=outcome) for index, outcome in outcomes.items()])
    results = ResultStore(client)
    assert indexes_in(results.finished(plan), after=None, limit=10) == [3, 8, 40, 77]
    assert indexes_in(results.finished(plan, outcome="fail"), after=3, limit=10) == [77]
    assert indexes_in(results.finished(plan, outcome="fail"), after=None, limit=1, descending=True) == [77]
    with pytest.raises(InvalidInput):
        results.finished(plan, outcome="other")


def test_dead_letters_are_bounded_and_release_their_items(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Letters are kept newest first, and their items are free to be issued again."""
    plan, letters = make_run(4, window=4), DeadLetterStore(client)
    issue(runs, plan)
    assert letters.append({"n": 1}, run_id=plan.run_id, items=[1, 3])
    assert issue(runs, plan) == [(1, 2), (3, 2)]
    for number in range(1005):
        letters.append({"n": number}, run_id=plan.run_id)
    assert letters.list(plan.run_id, limit=2) == [{"n": 1004}, {"n": 1003}]
    assert len(letters.list(plan.run_id, limit=5000)) == 1000
    letters.append({"n": 0})
    assert letters.list() == [{"n": 0}]


def test_a_run_that_stops_is_completed_once(runs: RunStore, make_run: MakeRun) -> None:
    """One of many callers ends it; nothing more is issued, what arrives later still counts, and completes nothing again."""
    plan = make_run(10, window=4)
    issue(runs, plan)
    runs.fold(plan, [fold_item(0), fold_item(1)])
    decided = Stopped(rule="a: mean above 0.5", decision="above", at_items=2, interval=(0.6, 1.0))
    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(lambda _: runs.stop(plan.run_id, decided), range(8)))
    assert sorted(before) == ["completed"] * 7 + ["in_progress"]
    state = runs.state(plan.run_id)
    assert (state.status, state.stopped, state.outstanding, state.completed_event) == ("completed", decided, 0, "pending")
    assert not runs.issue(plan.run_id, lease_s=60, attempts=3).active
    folded = runs.fold(plan, [fold_item(index) for index in range(10)])
    assert (folded.new, folded.completed, folded.ask_for_more, folded.done) == (8, False, False, 10)


def test_a_run_that_has_ended_otherwise_does_not_stop(runs: RunStore, make_run: MakeRun) -> None:
    """A decision that comes too late changes nothing."""
    plan = make_run(10)
    runs.cancel(plan.run_id)
    assert runs.stop(plan.run_id, Stopped(rule="r", decision="below", at_items=1)) == "canceled"
    assert (runs.state(plan.run_id).status, runs.state(plan.run_id).stopped) == ("canceled", None)


def test_a_canary_is_done_but_no_outcome(runs: RunStore, client: redis.Redis, make_run: MakeRun) -> None:
    """A canary counts towards the end of the run and in the sums it names, and shows up nowhere else."""
    plan = make_run(3)
    mixed = plan.model_copy(update={"item_count": 2, "canary_count": 1, "canary_dataset_id": plan.dataset_id})
    assert mixed.arrangement.canary_positions() == [1]
    runs.fold(mixed, [fold_item(0, score=1.0), FoldItem(1, None, {"canary.passed": 1})])
    assert runs.fold(mixed, [fold_item(2, score=0.0)]).completed
    results = ResultStore(client)
    assert runs.sums(plan.run_id)["canary.passed"] == 1
    assert indexes_in(results.finished(mixed), after=None, limit=9) == [0, 2]
    assert [indexes_in(results.finished(mixed, outcome=kind), after=None, limit=9) for kind in ("pass", "fail")] == [[0, 2], []]
    assert [entry.index for entry in runs.worst(mixed)[0]] == [2, 0]
