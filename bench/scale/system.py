"""The local runtime, and a run over generated data from the upload to its end."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis

from bench.rig.ports import free_base
from common.settings import Settings
from local.judge import Judge, write_config
from local.manifests import read_wiring
from local.programs import Options, plan
from local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTS = 30  # of the programs, and of a function's further processes
_LOOK_S = 0.5
_LINES = 2000  # generated at a time
_BOUNDARY = "scale"

_SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "expected": {"type": "string"}},
    "required": ["question", "expected"],
}
CHECKS: list[dict[str, Any]] = [
    {
        "type": "string_check",
        "name": "exact",
        "input": "{{sample.output_text}}",
        "reference": "{{item.expected}}",
        "operation": "eq",
    },
    {"type": "numeric", "name": "near", "reference": "{{item.expected}}", "absolute_tolerance": 1},
]
JUDGE: list[dict[str, Any]] = [
    {
        "type": "score_model",
        "name": "judged",
        "model": "simulator:judge",
        "input": [{"role": "user", "content": "{{item.question}} Reference: {{item.expected}} Answer: {{sample.output_text}}"}],
        "pass_threshold": 0.5,
    }
]


class SlowError(RuntimeError):
    """The bench's time is up."""


@dataclass(frozen=True, slots=True)
class System:
    """The local runtime, started for this bench; ``until_s`` is when it gives up, on the monotonic clock."""

    settings: Settings
    supervisor: Supervisor
    http: httpx.Client
    store: redis.Redis
    until_s: float

    def url(self, function: str) -> str:
        """Where a function answers."""
        return self.settings.public_urls[function]

    def pids(self) -> dict[str, int]:
        """Processes by program."""
        return {child.name: child.process.pid for child in self.supervisor.children}

    def used_bytes(self) -> int:
        """Memory that the store has in use for data, without its clients' buffers."""
        found = self.store.info("memory")
        return int(found["used_memory"] - found["mem_clients_normal"] - found.get("mem_aof_buffer", 0))

    def upload(self, items: int) -> str:
        """Stream a file of so many rows up; its id."""
        headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
        answer = self.http.post(f"{self.url('tasks')}/v1/files", content=_form(items), headers=headers)
        return str(_created(answer)["id"])

    def create_eval(self, graders: list[dict[str, Any]]) -> str:
        """An eval with these graders; its id."""
        config = {"type": "custom", "item_schema": _SCHEMA, "include_sample_schema": True}
        body = {"name": "scale", "data_source_config": config, "testing_criteria": graders}
        return str(_created(self.http.post(f"{self.url('tasks')}/v1/evals", json=body))["id"])

    def start(self, eval_id: str, file_id: str) -> str:
        """Start a run over a file; its id."""
        source = {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}
        answer = self.http.post(f"{self.url('tasks')}/v1/evals/{eval_id}/runs", json={"name": "scale", "data_source": source})
        return str(_created(answer)["id"])

    def wait(self, run_id: str, *, look_s: float = _LOOK_S) -> dict[str, Any]:
        """The run's summary when it has ended, looked at so often. Raises `SlowError`."""
        while True:
            summary: dict[str, Any] = _created(self.http.get(f"{self.url('aggregate')}/runs/{run_id}"))
            if summary["status"] not in ("queued", "in_progress"):
                return summary
            if self.supervisor.asked_to_stop():
                raise KeyboardInterrupt
            if time.monotonic() > self.until_s:
                raise SlowError(f"{summary['done']} of {summary['total']} items are done when the time is up")
            time.sleep(look_s)


@contextlib.contextmanager
def running(*, limit_s: float, evaluate: int = 1, environment: dict[str, str] | None = None) -> Iterator[System]:
    """Start everything, with so many processes of `evaluate`, in a folder of its own, and stop it in the end."""
    with tempfile.TemporaryDirectory(prefix="knudge-bench-") as folder:
        own = {"KNUDGE_PORT_BASE": str(free_base(_PORTS)), "KNUDGE_DATA_DIR": folder, "KNUDGE_MAX_FILE_BYTES": str(1 << 34)}
        inherited = {name: value for name, value in os.environ.items() if name != "KNUDGE_REDIS_URL"}
        settings = Settings.from_env({**inherited, **own, **(environment or {})})
        config = Path(folder) / "gateway.json"
        write_config(Judge("simulator:judge", "simulated"), settings, config)
        options = Options(config, Path(folder) / "homes", scale={"evaluate": evaluate})
        supervisor = Supervisor(plan(settings, read_wiring(), options), Path(folder))
        with (
            supervisor.running(),
            httpx.Client(timeout=max(60.0, limit_s)) as http,
            redis.Redis.from_url(settings.redis_url) as store,
        ):
            yield System(settings, supervisor, http, store, time.monotonic() + limit_s)


def _form(items: int) -> Iterator[bytes]:
    """A multipart form with the file, generated as it is sent."""
    yield f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nevals\r\n'.encode()
    yield f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="scale.jsonl"\r\n\r\n'.encode()
    for start in range(0, items, _LINES):
        yield "".join(map(line, range(start, min(items, start + _LINES)))).encode()
    yield f"\r\n--{_BOUNDARY}--\r\n".encode()


def line(number: int) -> str:
    """One row; every third answer is wrong."""
    answer = number + (2 if number % 3 == 0 else 0)
    item = f'{{"question":"What is the number of this row, counted from zero?","expected":"{number}"}}'
    return f'{{"item":{item},"sample":{{"output_text":"{answer}"}}}}\n'


def _created(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found
