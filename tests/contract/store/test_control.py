"""Runs that are paused, overdue, retried, redriven: the scripts behind it on a real server, recomputed from what is stored."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
import pytest

from common.errors import InvalidInput, NotFound, Unsupported
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.schemas.events import RunItems
from common.schemas.graders import PythonGrader
from common.schemas.runs import RunPlan, StoredSample, Target, run_deadline_s
from common.schemas.stopping import Stopped
from common.store import keys
from common.store.deadletters import DeadLetterStore
from common.store.results import ResultStore
from common.store.runcontrol import RunControl
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from functions.tasks.control.retrying import Retrier, check_retry
from functions.tasks.runs.shares import Shares, batch_size
from tests.support.judged import EXACT, QUALITY
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis

    from common.store.runs import RunStore
    from common.store.runstate import Issue

    MakeRun = Callable[..., RunPlan]

ITEMS, CANARIES = 90, 4
GRADERS = [QUALITY, EXACT]
CODES = ("provider_timeout", "malformed_reply", "attempts_exhausted")


def issue(runs: RunStore, plan: RunPlan, *, lease_s: float = 60, **limits: float) -> Issue:
    return runs.issue(plan.run_id, lease_s=lease_s, attempts=3, **limits)  # type: ignore[arg-type]


@pytest.fixture
def control(client: redis.Redis) -> RunControl:
    return RunControl(client)


def test_a_paused_run_issues_nothing_and_loses_no_attempt(runs: RunStore, control: RunControl, make_run: MakeRun) -> None:
    """Between pause and resume nothing goes out, results are counted, and what was under way comes again afterwards."""
    plan = make_run(6, window=4)
    issue(runs, plan, lease_s=0)
    assert [control.pause(plan.run_id) for _ in range(2)] == ["in_progress"] * 2
    assert runs.state(plan.run_id).paused
    assert plan.run_id not in runs.issuing()
    for _ in range(5):
        paused = issue(runs, plan)
        assert (paused.active, paused.items, paused.given_up) == (True, [], [])
    assert runs.fold(plan, []).status == "in_progress"
    assert [control.resume(plan.run_id) for _ in range(2)] == ["in_progress"] * 2
    assert issue(runs, plan).items == [(item, 2) for item in range(4)]
    assert runs.issuing() == [plan.run_id]


def test_what_was_handed_back_during_a_pause_is_due_after_it(
    runs: RunStore, control: RunControl, make_run: MakeRun, client: redis.Redis
) -> None:
    """Resuming waits neither for items that were handed back for a while, nor takes those away that are under way."""
    plan = make_run(4, window=2)
    issue(runs, plan)
    control.pause(plan.run_id)
    for part in ("leases", "waiting"):
        client.zadd(keys.run(plan.run_id, part), {"1": 4_000_000_000_000})
    client.hincrby(keys.run(plan.run_id, "attempts"), "1", -1)
    control.resume(plan.run_id)
    assert issue(runs, plan).items == [(1, 1)]


def test_an_end_ends_a_pause(runs: RunStore, control: RunControl, make_run: MakeRun) -> None:
    """A run that was canceled while it was paused is not paused any more, and neither pause nor resume brings it back."""
    plan = make_run(2)
    control.pause(plan.run_id)
    runs.cancel(plan.run_id)
    assert (control.pause(plan.run_id), control.resume(plan.run_id)) == ("canceled", "canceled")
    assert not runs.state(plan.run_id).paused
    with pytest.raises(NotFound):
        control.pause("run_gone")


def test_a_run_past_its_deadline_is_told(runs: RunStore, control: RunControl, make_run: MakeRun, client: redis.Redis) -> None:
    """Nothing is issued past the deadline, also of a paused run; a retry gives a run all its time again."""
    plan = make_run(3)
    assert not issue(runs, plan, deadline_s=60).overdue
    client.hincrby(keys.run(plan.run_id, "state"), "created_at", -100)
    control.pause(plan.run_id)
    late = issue(runs, plan, deadline_s=60)
    assert (late.active, late.overdue, late.items) == (True, True, [])
    runs.fail(plan.run_id, Unscored(code="run_deadline", message="late"))
    assert not issue(runs, plan, deadline_s=60).active
    control.begin_retry(plan.run_id, ())
    assert not issue(runs, plan, deadline_s=60).overdue


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "", "x", "99999999", "٣"])
def test_a_deadline_that_is_none_is_refused(text: str) -> None:
    """A deadline is a whole number of seconds, at least one and at most a year."""
    with pytest.raises(InvalidInput, match="knudge_deadline_s"):
        run_deadline_s({"knudge_deadline_s": text})


def test_deadlines_are_read_from_metadata() -> None:
    """A run says its own deadline, or none."""
    assert (run_deadline_s({"knudge_deadline_s": "90"}), run_deadline_s({})) == (90, None)


def test_what_was_handed_back_waits_for_room(runs: RunStore, make_run: MakeRun) -> None:
    """Items whose lease has expired are issued only as far as the window has room beside those under way."""
    plan = make_run(8, window=4)
    issue(runs, plan)
    runs.release(plan.run_id, [0, 1, 2])
    assert issue(runs, plan, window=2).items == [(0, 2)]
    assert issue(runs, plan, window=2).items == []
    assert issue(runs, plan, window=99).items == [(1, 2), (2, 2)]


def test_an_item_given_up_tells_its_history(runs: RunStore, make_run: MakeRun, client: redis.Redis) -> None:
    """Each attempt that counted has its time and last code; one that did not count has no entry."""
    plan, letters = make_run(1, window=1), DeadLetterStore(client)
    first = issue(runs, plan)
    runs.unissue(plan.run_id, [0])
    again = issue(runs, plan)
    assert again.items == first.items
    letters.append({}, run_id=plan.run_id, items=[0], lease="1", code="overtaken")
    assert issue(runs, plan).items == []
    letters.append({}, run_id=plan.run_id, items=[0], lease=again.lease, code="503; DROP")
    assert issue(runs, plan, lease_s=0).items == [(0, 2)]
    assert issue(runs, plan, lease_s=0).items == [(0, 3)]
    given_up = issue(runs, plan)
    assert given_up.given_up == [0]
    entries = [entry.split(" ") for entry in given_up.histories[0].rstrip(";").split(";")]
    assert [code for _, code in entries] == ["503__DROP", "no_answer", "no_answer"]
    assert all(abs(int(at) - runs.state(plan.run_id).created_at) < 60 for at, _ in entries)


def test_redriven_items_have_all_their_attempts_again(runs: RunStore, make_run: MakeRun, client: redis.Redis) -> None:
    """A redrive frees only items that are under way, gives their attempts back, and is noted in the letters."""
    plan, letters = make_run(4, window=3), DeadLetterStore(client)
    issue(runs, plan, lease_s=0)
    issue(runs, plan)
    kept = [{"event_id": f"e{number}", "items": [number]} for number in range(3)]
    for letter in kept:
        letters.append(letter, run_id=plan.run_id)
    assert letters.redrive(plan.run_id, kept[:2], [0, 1, 3], now=77) == [0, 1]
    assert issue(runs, plan).items == [(0, 1), (1, 1)]
    assert [letter.get("redriven_at") for letter in letters.list(plan.run_id)] == [None, 77, 77]
    with pytest.raises(NotFound):
        letters.redrive("run_gone", [], [], now=1)


def test_an_old_announcement_does_not_settle_a_new_end(runs: RunStore, control: RunControl, make_run: MakeRun) -> None:
    """The broker's word about an earlier end comes late: the later one is still to be announced."""
    plan = make_run(1)
    runs.cancel(plan.run_id)
    control.begin_retry(plan.run_id, ())
    runs.cancel(plan.run_id)
    runs.confirm_completed(plan.run_id, generation=0)
    assert runs.active() == [plan.run_id]
    runs.confirm_completed(plan.run_id, generation=1)
    assert runs.active() == []


def test_a_project_shares_one_window(runs: RunStore, control: RunControl, make_run: MakeRun) -> None:
    """A run's window is its project's by the number of runs that issue; another project's runs do not count."""
    plans = [make_run(9, window=90) for _ in range(3)]
    now = [0.0]
    shares = Shares(runs, lambda: now[0])
    assert [shares.window(plan) for plan in plans] == [30, 30, 30]
    control.pause(plans[0].run_id)
    assert shares.window(plans[1]) == 30, "it is looked at now and then"
    now[0] = 10
    assert shares.window(plans[1]) == 45
    assert shares.window(plans[1].model_copy(update={"project": "other"})) == 90
    assert shares.window(plans[1].model_copy(update={"window_items": 1})) == 1


def test_events_are_many_enough_for_many_pods(make_run: MakeRun) -> None:
    """What goes out at once makes some sixteen events; little that comes back does not make them tiny."""
    plan = make_run(target=Target(model="lab:target")).model_copy(update={"batch_items": 50})
    assert [batch_size(plan, issued, window=512) for issued in (512, 256, 3)] == [32, 16, 16]
    assert (batch_size(plan, 4, window=4), batch_size(plan, 5000, window=5000)) == (1, 50)


def test_events_of_checks_are_larger(make_run: MakeRun) -> None:
    """Where no model is asked, an event costs more than what it carries: there are half as many."""
    plan = make_run().model_copy(update={"batch_items": 50})
    assert [batch_size(plan, issued, window=512) for issued in (320, 256, 3)] == [40, 32, 32]
    assert (batch_size(plan, 4, window=4), batch_size(plan, 5000, window=5000)) == (1, 50)


@dataclass(slots=True)
class Judged:
    """A run with a target and canaries, judged at random; it knows every call that was paid for."""

    client: redis.Redis
    runs: RunStore
    results: ResultStore
    records: Records
    plan: RunPlan
    dice: random.Random
    calls: list[ModelCall] = field(default_factory=list)

    @classmethod
    def of(cls, client: redis.Redis, runs: RunStore, seed: int) -> Judged:
        results = ResultStore(client)
        plan = _plan(client, runs)
        return cls(client, runs, results, Records(runs, results, public_url=""), plan, random.Random(seed))

    def judge(self, items: Iterable[int], *, unscored: float) -> None:
        """Do for `items` what `evaluate` does: only what is not there is asked, and paid for."""
        wanted = list(items)
        known = self.results.load(self.plan, wanted)
        samples, verdicts = {}, {}
        for item in wanted:
            sample = known.samples.get(item)
            if sample is None and not self.plan.arrangement.place(item).canary:
                sample = samples[item] = self._sample(unscored)
            for number, _ in enumerate(GRADERS):
                if (item, number) not in known.verdicts:
                    verdicts[item, number] = self._verdict(number, sample, unscored)
        self.results.save(self.plan, samples, verdicts)

    def fold(self, items: Iterable[int]) -> None:
        shuffled = list(items)
        self.dice.shuffle(shuffled)
        for at in range(0, len(shuffled), 13):
            fold_items(RunItems(run_id=self.plan.run_id, items=shuffled[at : at + 13]), self.runs, self.records)

    def run_on(self, *, unscored: float) -> set[int]:
        """Issue, judge and count until the run has ended; the items that were issued."""
        issued: set[int] = set()
        while items := [item for item, _ in issue(self.runs, self.plan).items]:
            issued.update(items)
            self.judge(items, unscored=unscored)
            self.fold(items)
        return issued

    def again(self) -> Judged:
        """A run in which the results of this one are counted for the first time."""
        other = Judged(self.client, self.runs, self.results, self.records, _plan(self.client, self.runs), self.dice)
        everything = range(self.plan.position_count)
        known = self.results.load(self.plan, everything)
        self.results.save(other.plan, known.samples, known.verdicts)
        other.fold(everything)
        return other

    def unscored(self, codes: tuple[str, ...] = ()) -> set[int]:
        known = self.results.load(self.plan, range(self.plan.position_count)).verdicts
        found = {(item, v.unscored.code) for (item, _), v in known.items() if v.unscored}
        return {item for item, code in found if not codes or code in codes}

    def counted(self) -> dict[str, object]:
        """All that a summary, a comparison or a list of items is made from, without the calls."""
        sums = {name: value for name, value in self.runs.sums(self.plan.run_id).items() if value and not name.startswith("m.")}
        scores = {f"scores.{g}": self.results.scores.scores(self.plan, g) for g in range(2)}
        passed = {f"passed.{g}": self.results.scores.passed(self.plan, g).rstrip(b"\0") for g in range(2)}
        items = {name: self.results.finished(self.plan, outcome=name).rstrip(b"\0") for name in ("pass", "fail", "error")}
        return {**sums, **scores, **passed, **items, "worst": self.runs.worst(self.plan)}

    def check_costs(self) -> None:
        """The sums hold every call that was made, whatever became of its verdict."""
        sums = self.runs.sums(self.plan.run_id)
        for role, model in (("judge", "lab:judge"), ("target", "lab:target")):
            paid = [call for call in self.calls if call.model == model]
            assert sums[f"m.{role}.{model}.calls"] == len(paid)
            assert sums[f"m.{role}.{model}.prompt"] == sum(call.usage.prompt_tokens for call in paid)
            assert sums[f"m.{role}.{model}.microusd"] == sum(call.cost_microusd or 0 for call in paid)

    def _call(self, model: str) -> ModelCall:
        usage = Usage(prompt_tokens=self.dice.randrange(100), completion_tokens=3)
        call = ModelCall(model=model, usage=usage, cost_microusd=self.dice.randrange(1000))
        self.calls.append(call)
        return call

    def _sample(self, unscored: float) -> StoredSample:
        call = self._call("lab:target")
        missing = Unscored(code=self.dice.choice(CODES), message="m") if self.dice.random() < unscored / 3 else None
        return StoredSample(
            output_text=None if missing else "text",
            model=call.model,
            usage=call.usage,
            cost_microusd=call.cost_microusd,
            unscored=missing,
        )

    def _verdict(self, number: int, sample: StoredSample | None, unscored: float) -> Verdict:
        grader = GRADERS[number]
        if sample is not None and sample.unscored is not None:
            return Verdict(name=grader.name, type=grader.type, unscored=sample.unscored)
        calls = [self._call("lab:judge") for _ in range(self.dice.randrange(3))] if number == 0 else []
        if self.dice.random() < unscored:
            reason = Unscored(code=self.dice.choice(CODES), message="m")
            return Verdict(name=grader.name, type=grader.type, unscored=reason, calls=calls)
        score = float(self.dice.randrange(1, 11)) if number == 0 else float(self.dice.randrange(2))
        passed = score >= (7 if number == 0 else 1)
        return Verdict(name=grader.name, type=grader.type, score=score, passed=passed, calls=calls)


def _plan(client: redis.Redis, runs: RunStore) -> RunPlan:
    known = ({"item": {}, "sample": {"output_text": "x"}, "expected": {"quality": {"passed": True}}} for _ in range(CANARIES))
    with runs.datasets.writer(max_bytes=1 << 20) as writer:
        for line in known:
            writer.write_object(line)
        canaries = writer.finish("test")
    return new_run(
        client,
        ITEMS,
        graders=GRADERS,
        target=Target(model="lab:target"),
        window_items=40,
        canary_dataset_id=canaries.dataset_id,
        canary_count=CANARIES,
    )


@pytest.mark.parametrize("codes", [(), ("provider_timeout",)])
@pytest.mark.parametrize("seed", range(6))
def test_a_retry_leaves_what_a_first_count_of_its_results_would(
    client: redis.Redis, runs: RunStore, control: RunControl, seed: int, codes: tuple[str, ...]
) -> None:
    """Only unscored items are judged again; then every figure is that of the final results, and every paid call is counted."""
    judged = Judged.of(client, runs, seed)
    judged.run_on(unscored=0.3)
    wanted = judged.unscored(codes)
    assert 0 < len(wanted) < ITEMS
    control.begin_retry(judged.plan.run_id, codes)
    assert issue(runs, judged.plan).retrying
    walk_as_if_killed(Retrier(runs, judged.results, control, stretch=5, at_a_time=12), judged.plan)
    state = runs.state(judged.plan.run_id)
    assert (state.status, state.generation, state.done) == ("in_progress", 1, ITEMS + CANARIES - len(wanted))
    assert judged.run_on(unscored=0.2) == wanted
    state = runs.state(judged.plan.run_id)
    assert (state.status, state.completed_event, state.done) == ("completed", "pending", ITEMS + CANARIES)
    assert judged.counted() == judged.again().counted()
    judged.check_costs()


def walk_as_if_killed(retrier: Retrier, plan: RunPlan) -> None:
    """Walk in pieces, by several at once: each may be overtaken at any point."""
    with ThreadPoolExecutor(4) as pool:
        while not all(pool.map(lambda _: retrier.walk(plan), range(4))):
            pass


def test_a_retry_within_a_retry_and_a_cancel(client: redis.Redis, runs: RunStore, control: RunControl) -> None:
    """A retry that is canceled half way can be retried, and goes on with what was never judged; the end is the same."""
    judged = Judged.of(client, runs, 99)
    retrier = Retrier(runs, judged.results, control, stretch=3, at_a_time=3)
    first = [item for item, _ in issue(runs, judged.plan).items]
    judged.judge(first, unscored=0.5)
    judged.fold(first[:30])
    runs.cancel(judged.plan.run_id)
    judged.fold(first[30:])  # facts
    control.begin_retry(judged.plan.run_id, ())
    assert not retrier.walk(judged.plan)
    runs.cancel(judged.plan.run_id)
    assert retrier.walk(judged.plan), "there is nothing to walk over any more"
    assert control.begin_retry(judged.plan.run_id, ()) == "canceled"
    while not retrier.walk(judged.plan):
        pass
    assert judged.run_on(unscored=0.0) >= set(range(40, ITEMS + CANARIES))
    assert (runs.state(judged.plan.run_id).status, runs.state(judged.plan.run_id).generation) == ("completed", 2)
    assert judged.unscored() == set()
    assert judged.counted() == judged.again().counted()
    judged.check_costs()


def test_a_late_result_cannot_end_a_run_that_is_being_opened(client: redis.Redis, runs: RunStore, control: RunControl) -> None:
    """While a retry walks, duplicated events change nothing; a walk that finds nothing ends the run again."""
    judged = Judged.of(client, runs, 5)
    judged.run_on(unscored=0.0)
    control.begin_retry(judged.plan.run_id, ())
    judged.fold(range(10))
    assert runs.state(judged.plan.run_id).status == "in_progress"
    assert Retrier(runs, judged.results, control).walk(judged.plan)
    assert runs.state(judged.plan.run_id).status == "completed"


def test_a_retry_that_would_do_nothing_is_refused(client: redis.Redis, runs: RunStore, control: RunControl) -> None:
    """Without anything unscored, for other reasons, after an early stop, or for foreign graders there is no retry."""
    judged = Judged.of(client, runs, 7)
    judged.run_on(unscored=0.4)
    snapshot = runs.snapshot_of(judged.plan)
    check_retry(snapshot, ())
    check_retry(snapshot, ["provider_timeout"])
    with pytest.raises(InvalidInput, match=r"there are: .*provider_timeout") as refused:
        check_retry(snapshot, ["provider_timeout", "other"])
    assert refused.value.pointer == "/codes"
    control.begin_retry(judged.plan.run_id, ())
    walk_as_if_killed(Retrier(runs, judged.results, control), judged.plan)
    judged.run_on(unscored=0.0)
    with pytest.raises(InvalidInput, match="every item is scored"):
        check_retry(runs.snapshot_of(judged.plan), ())
    foreign = judged.plan.model_copy(update={"graders": [PythonGrader(type="python", name="p", source="x")]})
    with pytest.raises(Unsupported):
        check_retry(runs.snapshot_of(foreign), ())
    client.hset(
        keys.run(judged.plan.run_id, "state"),
        "stopped",
        Stopped(rule="r", decision="above", at_items=3).model_dump_json(),
    )
    with pytest.raises(InvalidInput, match="stopped early"):
        check_retry(runs.snapshot_of(judged.plan), ())


def test_letters_survive_being_read_and_written(client: redis.Redis) -> None:
    """A letter is found again by its own text, whatever stands in it."""
    letter = {"event_id": "e\u2028\x00é", "items": [1], "code": None, "n": 1}
    assert orjson.dumps(orjson.loads(orjson.dumps(letter))) == orjson.dumps(letter)
    DeadLetterStore(client).append(letter)
    assert DeadLetterStore(client).list() == [letter]
