"""``Idempotency-Key``: whoever sends a creating request again, from anywhere and after any crash, creates nothing twice."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from common.errors import InProgress
from common.store.apikeys import ApiKeyStore
from common.store.idempotency import HeldKey, IdempotencyStore, KnownAnswer
from tests.integration.test_evals_api.test_resources import CONFIG, EQUAL

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

EVAL = {"name": "e", "data_source_config": CONFIG, "testing_criteria": [EQUAL]}
RUN = {
    "data_source": {
        "type": "jsonl",
        "source": {"type": "file_content", "content": [{"item": {"a": "x"}, "sample": {"output_text": "x"}}]},
    }
}


class Caller:
    """Raw HTTP with a key of a project."""

    def __init__(self, world: World, project: str = "default") -> None:
        _, secret = ApiKeyStore(world.store).create("once", project=project)
        self._url, self._authorization = world.url, f"Bearer {secret}"

    def post(self, path: str, key: str, **content: Any) -> httpx.Response:
        headers = {"authorization": self._authorization, "idempotency-key": key}
        return httpx.post(self._url + path, headers=headers, timeout=30, **content)


def test_the_same_request_again_gets_the_same_answer(world: World) -> None:
    """An eval, a run and a file are made once each; the second answer is the first one, and says so."""
    caller = Caller(world)
    made = caller.post("/v1/evals", "k1", json=EVAL)
    again = caller.post("/v1/evals", "k1", json=EVAL)
    assert (made.status_code, again.status_code) == (201, 201)
    assert again.content == made.content
    assert (made.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    runs = f"/v1/evals/{made.json()['id']}/runs"
    assert len({caller.post(runs, "k2", json=RUN).json()["id"] for _ in range(3)}) == 1
    files = [
        caller.post("/v1/files", "k3", data={"purpose": "evals"}, files={"file": ("a.jsonl", b'{"item":{}}\n')}) for _ in "ab"
    ]
    assert files[0].json() == files[1].json()
    assert len(world.client.files.list().data) == 1
    assert len(world.client.evals.runs.list(made.json()["id"]).data) == 1


def test_another_request_under_the_key_is_refused(world: World) -> None:
    """A key stands for one request; another content under it is a conflict, and elsewhere it is another key."""
    caller = Caller(world)
    assert caller.post("/v1/evals", "k", json=EVAL).status_code == 201
    other = caller.post("/v1/evals", "k", json={**EVAL, "name": "other"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert Caller(world, project="p2").post("/v1/evals", "k", json={**EVAL, "name": "other"}).status_code == 201


def test_a_failure_leaves_the_key_free(world: World) -> None:
    """Bad input under a key creates nothing, and the corrected request may use the same key."""
    caller = Caller(world)
    for _ in range(2):
        assert caller.post("/v1/evals", "k", json={**EVAL, "testing_criteria": []}).status_code == 400
    assert caller.post("/v1/evals", "k", json=EVAL).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
def test_what_is_no_key_is_refused(world: World, key: str) -> None:
    """A key that cannot be one is told, instead of creating without it."""
    assert Caller(world).post("/v1/evals", key, json=EVAL).status_code == 400


def test_many_at_once_create_one(world: World) -> None:
    """Twelve requests at the same moment create one eval; those that came too early are told to ask again."""
    caller = Caller(world)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: caller.post("/v1/evals", "k", json=EVAL), range(12)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 409)
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert len(world.client.evals.list().data) == 1


def test_a_busy_key_says_how_long(world: World) -> None:
    """Who comes while the first request is worked on may ask again, no later than the lease of the first can last."""
    caller, lease_s = Caller(world), 4.0
    made = caller.post("/v1/evals", "k1", json=EVAL)
    body = made.request.content
    IdempotencyStore(world.store, lease_s=lease_s).claim(
        "k2", scope="default\nPOST\n/v1/evals", fingerprint=hashlib.sha256(body).hexdigest()
    )
    busy = caller.post("/v1/evals", "k2", json=EVAL)
    assert (busy.status_code, busy.json()["error"]["code"], busy.headers["x-should-retry"]) == (409, "in_progress", "true")
    assert 1 <= int(busy.headers["retry-after"]) <= lease_s


def test_a_killed_process_frees_its_key(world: World) -> None:
    """A lease that nobody renews ends by itself, and the next one goes on with the same object."""
    store = IdempotencyStore(world.store, lease_s=0.05)
    first, found = store.claim("k", scope="s", fingerprint="f"), None
    while found is None:
        with suppress(InProgress):
            found = store.claim("k", scope="s", fingerprint="f")
    assert isinstance(first, HeldKey)
    assert isinstance(found, HeldKey)
    assert (found.again, found.identity) == (True, first.identity)


def test_a_key_is_held_while_its_request_works(world: World) -> None:
    """However long a request takes, its key stays held."""
    store = IdempotencyStore(world.store, lease_s=0.5)
    held = store.claim("k", scope="s", fingerprint="f")
    assert isinstance(held, HeldKey)
    until = world.store.hget(held.record, "held_until")
    with store.renewing(held):
        while world.store.hget(held.record, "held_until") == until:
            time.sleep(0.01)
        with pytest.raises(InProgress):
            store.claim("k", scope="s", fingerprint="f")
    store.settle(held, KnownAnswer(201, b"{}"))
    assert store.claim("k", scope="s", fingerprint="f") == KnownAnswer(201, b"{}")


def test_after_a_crash_the_object_is_the_same(world: World) -> None:
    """Whoever held the key and died has fixed who the object is: the next one finds it, or makes it under that id."""
    store, made = IdempotencyStore(world.store), []
    for _ in range(2):
        held = store.claim("k", scope="s", fingerprint="f")
        assert isinstance(held, HeldKey)
        made.append(held)
        world.store.hdel(held.record, "held_until")  # its time is over
    first, second = made
    assert (first.again, second.again) == (False, True)
    assert first.identity == second.identity
    store.release(first, forget=True)  # the dead one comes back: it has nothing to say any more
    world.store.hset(second.record, "held_until", "1")
    assert isinstance(store.claim("k", scope="s", fingerprint="f"), HeldKey)
