"""What is deleted leaves no key on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from common.errors import NotFound
from common.gateway import keys as gateway
from common.limits import keys as limits
from common.schemas.evaluation import Unscored, Verdict
from common.schemas.runs import RunPlan, StoredSample
from common.stats.summary import counters
from common.store import keys
from common.store.apikeys import ApiKeyStore
from common.store.deadletters import DeadLetterStore
from common.store.evals import EvalStore
from common.store.files import FileStore
from common.store.results import ResultStore
from common.store.runs import RunStore
from common.store.runstate import FoldItem
from functions.tasks.control.deletion import Deletion
from functions.tasks.control.retention import Retention
from tests.support.runs import CHECKS, new_run

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from common.schemas.runs import EvalVersion
    from common.store.files import FileRecord

_DAY_S = 86_400
_ITEMS = 70  # more than a bucket
_CRASHES = 12


class Place:
    """A project with everything that there can be in one."""

    def __init__(self, client: redis.Redis, project: str) -> None:
        self.client, self.project = client, project
        self.evals, self.files, self.runs = EvalStore(client), FileStore(client), RunStore(client)
        self.deletion = Deletion(client, self.evals, self.files, self.runs)

    def eval(self) -> EvalVersion:
        """Of two versions."""
        first = self.evals.create(
            "E", graders=list(CHECKS), data_source_config={"type": "custom"}, metadata={}, project=self.project
        )
        return self.evals.update(first.eval_id, name="F", project=self.project)

    def file(self, lines: int = _ITEMS) -> FileRecord:
        with self.files.datasets.writer(max_bytes=1 << 20) as writer:
            for number in range(lines):
                writer.write_object({"item": {"n": number}, "expected": {"a": {"passed": True}}})
            record = self.files.create(writer, filename="f", purpose="evals", project=self.project)
        self.files.datasets.note_fitting(record.dataset_id, "digest", 1)
        return record

    def run(self, eval_id: str, file: FileRecord, canaries: FileRecord | None = None, *, keep_days: int = 7) -> RunPlan:
        """A run half done, with every kind of key."""
        plan = new_run(
            self.client,
            self.files.datasets.info(file.dataset_id),
            eval_id=eval_id,
            window_items=_ITEMS,
            project=self.project,
            canary_dataset_id=canaries.dataset_id if canaries else None,
            canary_count=canaries.lines if canaries else 0,
            keep_days=keep_days,
        )
        self._judge(plan)
        for scope in (f"run:{plan.run_id}",):
            self.client.hset(gateway.budget(scope), "spent", 1)
            self.client.zadd(gateway.reservations(scope), {"call": 1})
        return plan

    def _judge(self, plan: RunPlan) -> None:
        self.runs.issue(plan.run_id, lease_s=1, attempts=3)
        scored = [Verdict(name=grader.name, type=grader.type, score=1.0, passed=True) for grader in CHECKS]
        errored = [scored[0], Verdict(name="b", type="string_check", unscored=Unscored(code="x", message="y"))]
        failed = [scored[0], Verdict(name="b", type="string_check", score=0.0, passed=False)]
        for item, (verdicts, outcome) in enumerate([(scored, "pass"), (errored, "error"), (failed, "fail")]):
            saved = {(item, number): verdict for number, verdict in enumerate(verdicts)}
            ResultStore(self.client).save(plan, {item: StoredSample(output_text="t")}, saved)
            scores = {number: verdict.score for number, verdict in enumerate(verdicts) if verdict.score is not None}
            passed = [number for number, verdict in enumerate(verdicts) if verdict.passed]
            self.runs.fold(plan, [FoldItem(item, outcome, counters(CHECKS, None, verdicts), scores, passed)])  # type: ignore[arg-type]
        last = plan.position_count - 1
        ResultStore(self.client).save(plan, {last: StoredSample(output_text="t")}, {(last, 0): scored[0]})
        DeadLetterStore(self.client).append({"code": "500"}, run_id=plan.run_id, items=[5])
        self.client.zadd(keys.run(plan.run_id, "told"), {str(last): 1})

    def api_key(self) -> str:
        """With a budget, a limit, and an evaluation of its own."""
        key, _ = ApiKeyStore(self.client).create("k", project=self.project)
        for scope in (f"project:{self.project}", f"project:{self.project}:2026-11", f"key:{key.key_id}:2026-11-21"):
            self.client.hset(gateway.budget(scope), "spent", 1)
            self.client.zadd(gateway.reservations(scope), {"call": 1})
        self.client.set(limits.bucket("project", self.project), 1)
        self.client.set(limits.bucket("key", key.key_id), 1)
        self.client.hset(keys.evaluation(self.project, "once"), "fingerprint", "x")
        self.client.set(keys.evaluation_claim(self.project, "once"), "x")
        return key.key_id

    def everything(self) -> None:
        self.api_key()
        self.run(self.eval().eval_id, self.file(), self.file(3))


@pytest.fixture
def place(client: redis.Redis) -> Place:
    Place(client, "other").everything()
    return Place(client, "mine")


def _stored(client: redis.Redis) -> dict[bytes, Any]:
    """Every key with its content; of the index by time, which a look at it moves on, its members."""
    found = {name: client.dump(name) for name in client.scan_iter() if name != keys.CLOCK.encode()}
    return {**found, keys.EXPIRING_RUNS.encode(): set(client.zrange(keys.EXPIRING_RUNS, 0, -1))}


def test_a_run_leaves_nothing(client: redis.Redis, place: Place) -> None:
    """A run of every kind of key, canaries and a budget included, is gone to the last one; others stand as they stood."""
    eval_id, data, canaries = place.eval().eval_id, place.file(), place.file(3)
    before = _stored(client)
    plan = place.run(eval_id, data, canaries)
    place.deletion.run(plan.run_id)
    assert _stored(client) == before
    with pytest.raises(NotFound):
        place.deletion.run(plan.run_id)


def test_an_eval_with_its_runs_and_their_files_leave_nothing(client: redis.Redis, place: Place) -> None:
    """The file may go before the run that reads it or after: with the last holder the data is gone."""
    before = _stored(client)
    version, early, late = place.eval(), place.file(), place.file()
    for file in (early, late, late):
        place.run(version.eval_id, file)
    place.files.delete(early.file_id)
    place.deletion.eval(version.eval_id, project="mine")
    place.files.delete(late.file_id)
    assert _stored(client) == before


def test_a_project_leaves_nothing(client: redis.Redis, place: Place) -> None:
    """Its keys, evals, runs, files, budgets, limits and evaluations are gone, another project's are untouched."""
    before = _stored(client)
    place.everything()
    place.everything()
    assert place.deletion.project("mine") == 8
    assert _stored(client) == before
    with pytest.raises(NotFound):
        place.deletion.project("mine")


def test_a_deletion_that_was_cut_short_is_finished_by_the_next(client: redis.Redis, place: Place) -> None:
    """After a crash between any two commands the run is deleted by asking again, by its eval, or when its time is over."""
    eval_id, data = place.eval().eval_id, place.file()
    before = _stored(client)
    again: list[Callable[[RunPlan], object]] = [
        lambda plan: place.deletion.run(plan.run_id),
        lambda _: place.runs.delete_all(eval_id, each=place.deletion.run),
        lambda plan: Retention(place.runs, place.deletion).expire(now_s=plan.created_at + 8 * _DAY_S),
    ]
    for number in range(_CRASHES):
        plan = place.run(eval_id, data)
        broken = Place(_Dying(client, after=number), "mine")  # type: ignore[arg-type]
        try:
            broken.deletion.run(plan.run_id)
        except KeyboardInterrupt:
            again[number % len(again)](plan)
        assert _stored(client) == before, number


class _Dying:
    """A client whose process dies after some commands that write."""

    def __init__(self, client: redis.Redis, *, after: int) -> None:
        self._client, self._left = client, after

    def __getattr__(self, name: str) -> Any:
        if name in ("delete", "unlink", "zrem"):
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return getattr(self._client, name)


def test_runs_expire_when_their_time_is_over(place: Place) -> None:
    """Days count from a run's end: one that goes on, or has ended lately, stays, and one that is kept for ever too."""
    eval_id, data = place.eval().eval_id, place.file()
    going, ended, ever = (place.run(eval_id, data, keep_days=days) for days in (7, 7, 0))
    place.runs.cancel(ended.run_id)
    place.runs.cancel(ever.run_id)
    retention = Retention(place.runs, place.deletion)
    now_s = ended.created_at + 60
    assert [retention.expire(now_s=now_s + days * _DAY_S) for days in (0, 6.9, 7, 7)] == [0, 0, 1, 0]
    with pytest.raises(NotFound):
        place.runs.plan(ended.run_id)
    assert retention.expire(now_s=now_s + 10_000 * _DAY_S) == 0
    assert place.runs.plan(going.run_id)
    assert place.runs.plan(ever.run_id)
