"""Evals, files and API keys on a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from common.errors import InvalidInput, NotFound, StoreUnavailable
from common.schemas.caller import Caller
from common.schemas.graders import StringCheckGrader
from common.settings import Settings
from common.store.apikeys import ApiKeyStore, lookup_async
from common.store.connect import sync_client
from common.store.evals import EvalStore
from common.store.files import FileStore
from common.store.keys import new_id, tick_of
from common.store.paging import tick

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    import redis.asyncio

    from common.schemas.runs import EvalVersion, RunPlan
    from common.store.runs import RunStore

GRADER = StringCheckGrader(type="string_check", name="a", input="", reference="", operation="eq")


def make_eval(evals: EvalStore, name: str = "e", *, project: str = "default") -> EvalVersion:
    return evals.create(name, graders=[GRADER], data_source_config={"type": "custom"}, metadata={"k": "v"}, project=project)


def test_ticks_are_unique_and_rising_across_threads(client: redis.Redis) -> None:
    """Ten threads drawing from the clock never get the same number."""
    with ThreadPoolExecutor(10) as pool:
        drawn = list(pool.map(lambda _: [tick(client) for _ in range(50)], range(10)))
    everything = [number for part in drawn for number in part]
    assert len(set(everything)) == 500
    assert all(part == sorted(part) for part in drawn)
    assert tick_of(new_id("eval", everything[0])) == everything[0]
    assert tick_of("eval_zz") is None
    assert tick_of("eval_zzzzzzzzzzzzzzzzzz") is None


def test_versions_are_immutable(client: redis.Redis) -> None:
    """An update makes a new version and leaves the old ones as they were."""
    evals = EvalStore(client)
    first = make_eval(evals)
    second = evals.update(first.eval_id, name="renamed")
    third = evals.update(first.eval_id, metadata={})
    assert (second.version, second.name, second.metadata) == (2, "renamed", {"k": "v"})
    assert (third.version, third.name, third.metadata) == (3, "renamed", {})
    assert evals.get(first.eval_id) == third
    assert evals.get(first.eval_id, version=1) == first
    with pytest.raises(NotFound):
        evals.get(first.eval_id, version=4)


def test_concurrent_updates_all_land(client: redis.Redis) -> None:
    """Updates at the same time become one version each."""
    evals = EvalStore(client)
    eval_id = make_eval(evals).eval_id
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda n: evals.update(eval_id, name=f"n{n}").version, range(8)))
    assert sorted(versions) == list(range(2, 10))


def test_evals_page_by_creation_and_by_update(client: redis.Redis) -> None:
    """Both orders see every eval once; a cursor that is gone is fine by creation and a clear error by update."""
    evals = EvalStore(client)
    ids = [make_eval(evals).eval_id for _ in range(5)]
    evals.update(ids[0], name="late")
    assert [e.eval_id for e in evals.list().data] == ids
    assert [e.eval_id for e in evals.list(order_by="updated_at").data] == [*ids[1:], ids[0]]
    assert [e.eval_id for e in evals.list(order_by="updated_at", order="desc", after=ids[0], limit=2).data] == [ids[4], ids[3]]
    evals.delete(ids[1])
    assert [e.eval_id for e in evals.list(after=ids[1], limit=2).data] == ids[2:4]
    with pytest.raises(InvalidInput):
        evals.list(after=ids[1], order_by="updated_at")
    with pytest.raises(InvalidInput):
        evals.list(after="x")


def test_projects_do_not_see_each_other(client: redis.Redis) -> None:
    """What one project made, another can neither list nor get nor change."""
    evals = EvalStore(client)
    eval_id = make_eval(evals, project="blue").eval_id
    assert evals.list().data == []
    assert len(evals.list(project="blue").data) == 1
    for look in (evals.get, evals.delete, evals.update):
        with pytest.raises(NotFound):
            look(eval_id, project="default")


def test_deleting_an_eval_leaves_nothing(client: redis.Redis) -> None:
    """A deleted eval leaves no key but the clock."""
    evals = EvalStore(client)
    evals.delete(make_eval(evals).eval_id)
    assert list(client.scan_iter("*")) == [b"kn:clock"]


def test_files_list_content_and_delete(client: redis.Redis) -> None:
    """A file is listed newest first, read back byte for byte, and gone after deletion."""
    files = FileStore(client)
    made = []
    for name in ("a.jsonl", "b.jsonl"):
        with files.datasets.writer(max_bytes=1000) as writer:
            writer.write(b'{"item":{}}\n\n')
            made.append(files.create(writer, filename=name, purpose="evals"))
    assert [record.filename for record in files.list().data] == ["b.jsonl", "a.jsonl"]
    assert [record.filename for record in files.list(after=made[1].file_id).data] == ["a.jsonl"]
    assert b"".join(files.content(made[0].file_id)) == b'{"item":{}}\n\n'
    assert (files.get(made[0].file_id).size_bytes, made[0].lines) == (13, 1)
    with pytest.raises(NotFound):
        files.get(made[0].file_id, project="blue")
    for record in made:
        files.delete(record.file_id)
    assert list(client.scan_iter("*")) == [b"kn:clock"]


def test_a_run_outlives_the_file_it_reads(client: redis.Redis, runs: RunStore, make_run: Callable[..., RunPlan]) -> None:
    """Deleting a file never breaks a run, and deleting the run then frees the data."""
    files = FileStore(client)
    with files.datasets.writer(max_bytes=1000) as writer:
        writer.write(b'{"item":{}}\n')
        record = files.create(writer, filename="a", purpose="evals")
    run_id = runs.new_identity().id("run")
    plan = make_run(1).model_copy(update={"run_id": run_id, "dataset_id": record.dataset_id})
    runs.create(plan)
    files.delete(record.file_id)
    assert files.datasets.lines(record.dataset_id, [0]) == {0: b'{"item":{}}'}
    runs.delete(run_id)
    with pytest.raises(NotFound):
        files.datasets.info(record.dataset_id)


async def test_keys_are_stored_hashed_and_can_be_revoked(client: redis.Redis, aclient: redis.asyncio.Redis) -> None:
    """A key is known by its digest until revoked, and its secret is nowhere in the store."""
    store = ApiKeyStore(client)
    key, secret = store.create("ci", project="blue")
    assert secret.startswith("kn-")
    assert len(secret) >= 46
    assert store.lookup(secret) == Caller(key.key_id, "blue")
    assert await lookup_async(aclient, secret) == Caller(key.key_id, "blue")
    assert store.lookup("kn-other") is None
    assert store.list() == [key]
    stored = b"".join(client.dump(name) for name in client.scan_iter("*"))
    assert secret.encode() not in stored
    store.revoke(key.key_id)
    assert store.lookup(secret) is None
    assert store.list() == []
    with pytest.raises(NotFound):
        store.revoke(key.key_id)


def test_a_store_that_is_away_says_so() -> None:
    """Without a server every call raises the retryable error, whatever the client library says."""
    with sync_client(Settings(redis_url="redis://127.0.0.1:1/0")) as client, pytest.raises(StoreUnavailable) as caught:
        EvalStore(client).get("eval_1")
    assert caught.value.retryable
    assert caught.value.__cause__ is not None
