"""What came from elsewhere, on a real server: written once, under ids that follow from its origin, and never issued."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.schemas.evaluation import Unscored
from common.schemas.graders import StringCheckGrader
from common.schemas.runs import EvalVersion, RunPlan
from common.settings import Settings
from common.store import keys
from common.store.connect import sync_client
from common.store.datasets import DatasetStore
from common.store.evals import EvalStore
from common.store.imports import ImportedNotes, ImportStore, derived_id
from common.store.runs import RunStore
from common.store.runstate import FoldItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

GRADER = StringCheckGrader(type="string_check", name="exact", input="a", reference="b", operation="eq")
CREATED_AT = 1_700_000_000


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    client = sync_client(Settings(redis_url=redis_url))
    yield client
    client.close()


def _plan(store: redis.Redis, *, items: int) -> RunPlan:
    with DatasetStore(store).writer(max_bytes=1000) as writer:
        for _ in range(items):
            writer.write_object({"item": {}})
        dataset = writer.finish("file:one")
    return RunPlan(
        run_id=derived_id("run", "there", "evalrun_1", created_at=CREATED_AT),
        eval_id="eval_1",
        eval_version=1,
        name="run",
        created_at=CREATED_AT,
        dataset_id=dataset.dataset_id,
        item_count=items,
        graders=[GRADER],
        data_source={},
        window_items=1,
    )


def test_an_id_follows_from_its_origin_and_sorts_by_its_time() -> None:
    """The same origin gives the same id; the second of creation is in it, and an id of our own make keeps its moment."""
    hosted = derived_id("run", "https://there/v1", "evalrun_67e579652b5481909e8f6b5f8f8f8f8f", created_at=CREATED_AT)
    assert hosted == derived_id("run", "https://there/v1", "evalrun_67e579652b5481909e8f6b5f8f8f8f8f", created_at=CREATED_AT)
    assert hosted != derived_id("run", "https://there/v2", "evalrun_67e579652b5481909e8f6b5f8f8f8f8f", created_at=CREATED_AT)
    assert (keys.tick_of(hosted) or 0) // 1_000_000 == CREATED_AT
    ours = keys.new_id("run", CREATED_AT * 1_000_000 + 77)
    assert keys.tick_of(derived_id("run", "x", ours, created_at=CREATED_AT)) == CREATED_AT * 1_000_000 + 77


def test_an_eval_is_put_once(store: redis.Redis) -> None:
    """The second time nothing changes, also when somebody has renamed the eval meanwhile."""
    version = EvalVersion(
        eval_id=derived_id("eval", "there", "eval_1", created_at=CREATED_AT),
        version=1,
        name="first",
        data_source_config={},
        graders=[GRADER],
        created_at=CREATED_AT,
        updated_at=CREATED_AT,
    )
    imports, evals = ImportStore(store), EvalStore(store)
    assert imports.put_eval(version)
    evals.update(version.eval_id, name="second")
    assert not imports.put_eval(version)
    assert [found.name for found in evals.list().data] == ["second"]
    assert evals.list(order_by="updated_at").data[0].version == 2


def test_a_completed_run_is_whole_when_its_last_item_is_counted(store: redis.Redis) -> None:
    """Put again half way it stays where it is; at its end it has the dates it had, and nobody is told."""
    imports, runs, plan = ImportStore(store), RunStore(store), _plan(store, items=2)
    notes = ImportedNotes(usage_counted=True, ended_at=CREATED_AT + 9)
    for index in range(2):
        imports.put_run(
            plan, status="completed", started_at=CREATED_AT + 1, notes=notes, error=None, sums={"m.judge.x.calls": 2}
        )
        assert runs.state(plan.run_id).status == "in_progress"
        runs.fold(plan, [FoldItem(index, "pass", {"items.passed": 1})])
    assert runs.state(plan.run_id).completed_event == "pending"
    assert imports.notes(plan.run_id) == notes
    imports.settle(plan.run_id, notes)
    state = runs.state(plan.run_id)
    assert (state.status, state.started_at, state.ended_at) == ("completed", CREATED_AT + 1, CREATED_AT + 9)
    assert state.completed_event == "sent"
    assert runs.sums(plan.run_id) == {"items.passed": 2, "m.judge.x.calls": 2}
    assert runs.active() == []


def test_nothing_of_a_run_under_import_is_ever_issued(store: redis.Redis) -> None:
    """An advance that comes by mistake finds nothing to evaluate."""
    imports, runs, plan = ImportStore(store), RunStore(store), _plan(store, items=3)
    imports.put_run(plan, status="completed", started_at=None, notes=ImportedNotes(), error=None, sums={})
    assert runs.issue(plan.run_id, lease_s=1, attempts=1).items == []


def test_a_failed_run_and_an_empty_one_have_ended_at_once(store: redis.Redis) -> None:
    """A run that failed there is failed here with its reason, and items counted later do not complete it."""
    imports, runs = ImportStore(store), RunStore(store)
    failed = _plan(store, items=1)
    reason = Unscored(code="quota", message="none left")
    imports.put_run(failed, status="failed", started_at=None, notes=ImportedNotes(), error=reason, sums={})
    runs.fold(failed, [FoldItem(0, "fail", {"items.failed": 1})])
    state = runs.state(failed.run_id)
    assert (state.status, state.error, state.done, state.ended_at) == ("failed", reason, 1, None)
    empty = _plan(store, items=0).model_copy(update={"run_id": "run_empty"})
    imports.put_run(empty, status="completed", started_at=None, notes=ImportedNotes(), error=None, sums={})
    assert runs.state("run_empty").status == "completed"


def test_a_run_that_was_not_imported_has_no_notes(store: redis.Redis) -> None:
    """Ordinary runs are told apart from imported ones."""
    assert ImportStore(store).notes("run_1") is None
    imports, runs, plan = ImportStore(store), RunStore(store), _plan(store, items=1)
    imports.put_run(plan, status="completed", started_at=None, notes=ImportedNotes(), error=None, sums={})
    runs.fold(plan, [FoldItem(0, "pass", {})])
    imports.settle(plan.run_id, ImportedNotes())
    assert runs.state(plan.run_id).ended_at is None
