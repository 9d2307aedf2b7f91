"""The supervisor with real programs: small web servers and a real Valkey, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")

DRIVER = """
import json, sys
from pathlib import Path
from local.programs import Program
from local.supervisor import Supervisor

spec = json.loads(sys.argv[1])
programs = [Program(p["name"], tuple(p["argv"]), p["env"], p["port"], p["ready"]) for p in spec["programs"]]
supervisor = Supervisor(programs, Path(spec["data_dir"]), restart=spec["restart"])
with supervisor.running():
    print(json.dumps([child.process.pid for child in supervisor.children]), flush=True)
    supervisor.watch()
"""

# Answers 200 to everything; what it does besides comes as a statement.
SERVER = """
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

{besides}
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def port() -> Callable[[], int]:
    """Ports that were free a moment ago."""

    def free() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return free


def server(name: str, port: int, besides: str = "") -> dict[str, Any]:
    argv = [sys.executable, "-c", SERVER.format(besides=besides), str(port)]
    return {"name": name, "argv": argv, "env": dict(os.environ), "port": port, "ready": "/readyz"}


def valkey(port: int, data_dir: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", "local.valkey", "--port", str(port), "--data-dir", str(data_dir / "valkey")]
    return {"name": "redis", "argv": argv, "env": dict(os.environ), "port": port, "ready": "PING"}


@dataclass
class Running:
    process: subprocess.Popen[str]

    def pids(self) -> list[int]:
        """Waits until everything is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return [int(pid) for pid in json.loads(line)]

    def ended(self) -> tuple[int, str]:
        """Exit code and stderr."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with contextlib.ExitStack() as stack:

        def run(*programs: dict[str, Any], data_dir: Path = tmp_path, restart: bool = False) -> Running:
            spec = json.dumps({"programs": programs, "data_dir": str(data_dir), "restart": restart})
            argv = [sys.executable, "-c", DRIVER, spec]
            process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return Running(process)

        yield run


def _gone(pid: int) -> bool:
    """True once the process is no more, or only waits to be reaped by somebody else."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(OSError):
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(
    start: Callable[..., Running], port: Callable[[], int], number: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C or SIGTERM ends every program and then the supervisor, without an error."""
    running = start(valkey(port(), tmp_path), server("one", port()), server("two", port()))
    pids = running.pids()
    running.process.send_signal(number)
    assert running.ended() == (0, "")
    assert all(map(_gone, pids))


def test_data_survives_a_restart(start: Callable[..., Running], port: Callable[[], int], tmp_path: Path) -> None:
    """What was written just before the stop is there after the next start: the store ends last and flushes its file."""
    at = port()
    for expected in (None, b"1", b"2"):
        running = start(valkey(at, tmp_path))
        running.pids()
        with redis.Redis(port=at) as client:
            assert client.get("n") == expected
            client.incr("n")
        running.process.terminate()
        assert running.ended() == (0, "")


def test_a_dying_program_takes_the_rest_down(start: Callable[..., Running], port: Callable[[], int], tmp_path: Path) -> None:
    """When one program ends by itself, the message has its name, exit code and last words, and nothing keeps running."""
    dies = "threading.Timer(0.5, lambda: (print('out of cheese', flush=True), os._exit(7))).start()"
    running = start(server("steady", port()), server("frail", port(), dies))
    pids = running.pids()
    code, errors = running.ended()
    assert code != 0
    assert "frail stopped by itself with exit code 7" in errors
    assert "out of cheese" in errors
    assert str(tmp_path / "logs" / "frail.log") in errors
    assert all(map(_gone, pids))


def test_a_dead_program_leaves_no_workers(start: Callable[..., Running], port: Callable[[], int], tmp_path: Path) -> None:
    """A program killed outright does not leave behind the workers that it had forked and that nobody else would end."""
    worker = tmp_path / "worker"
    forks = f"""
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open({str(worker)!r}, "w").write(str(os.getpid()))
    time.sleep(60)
    os._exit(0)
"""
    running = start(server("steady", port()), server("frail", port(), forks))
    pids = running.pids()
    os.kill(pids[1], signal.SIGKILL)
    code, errors = running.ended()
    assert code != 0
    assert "frail was ended by SIGKILL" in errors
    assert all(map(_gone, [*pids, int(worker.read_text())]))


def test_a_killed_program_is_started_again(start: Callable[..., Running], port: Callable[[], int], tmp_path: Path) -> None:
    """With restarts, a killed program comes back, its workers gone; one that gives up by itself still ends everything."""
    at, worker = port(), tmp_path / "worker"
    forks = f"""
if os.path.exists({str(worker)!r}):
    threading.Timer(0.3, lambda: os._exit(7)).start()
elif forked := os.fork():
    open({str(worker)!r}, "w").write(str(forked))
else:
    time.sleep(60)
    os._exit(0)
"""
    running = start(server("frail", at, forks), restart=True)
    (pid,) = running.pids()
    os.kill(pid, signal.SIGKILL)
    code, errors = running.ended()
    assert code != 0
    assert "frail stopped by itself with exit code 7" in errors
    assert _gone(int(worker.read_text()))


def test_a_program_that_dies_at_start(start: Callable[..., Running], port: Callable[[], int]) -> None:
    """A program that never gets ready because it crashed is reported at once, not after the deadline."""
    code, errors = start(server("one", port()), server("broken", port(), "raise ValueError('bad start')")).ended()
    assert code != 0
    assert "broken stopped by itself with exit code 1" in errors
    assert "bad start" in errors


@LINUX
def test_nothing_survives_a_killed_supervisor(start: Callable[..., Running], port: Callable[[], int], tmp_path: Path) -> None:
    """Even SIGKILL on the supervisor leaves no orphans."""
    running = start(valkey(port(), tmp_path), server("one", port()))
    pids = running.pids()
    running.process.kill()
    assert all(map(_gone, pids))


def test_taken_ports_are_named(start: Callable[..., Running], port: Callable[[], int]) -> None:
    """When ports are taken nothing starts; the message names each one, who needs it and how to move."""
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        ports = [taken.getsockname()[1] for taken in (first, second)]
        code, errors = start(server("free", port()), server("tasks", ports[0]), server("broker", ports[1])).ended()
    assert code != 0
    assert f"{ports[0]} (tasks), {ports[1]} (broker)" in errors
    assert "KNUDGE_PORT_BASE" in errors


def test_one_instance_per_data_folder(start: Callable[..., Running], port: Callable[[], int]) -> None:
    """A second supervisor on the same data refuses to start, because two stores would ruin one file."""
    first = start(server("one", port()))
    first.pids()
    code, errors = start(server("one", port())).ended()
    assert code != 0
    assert "KNUDGE_DATA_DIR" in errors
    first.process.terminate()
    assert first.ended() == (0, "")


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m local` to its end, on a data folder of its own."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "KNUDGE_REDIS_URL"}
        environment = {**inherited, "KNUDGE_DATA_DIR": str(tmp_path / "data"), **env}
        argv = [sys.executable, "-m", "local", *arguments]
        return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_the_command_says_what_cannot_be(serve: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """Ports beyond the last, a folder that is none, a store that is away and flags without sense end it with 2 and a line."""
    file = tmp_path / "file"
    file.touch()
    for arguments, env, named in (
        ((), {"KNUDGE_PORT_BASE": "70000"}, "KNUDGE_PORT_BASE"),
        ((), {"KNUDGE_DATA_DIR": str(file)}, "KNUDGE_DATA_DIR"),
        ((), {"KNUDGE_REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, "KNUDGE_REDIS_URL"),
        ((), {"KNUDGE_REDIS_URL": "nonsense"}, "KNUDGE_REDIS_URL"),
        (("--exit",), {}, "--demo"),
    ):
        done = serve(*arguments, **env)
        assert done.returncode == 2, done.stderr
        assert named in done.stderr
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stderr


def test_the_command_says_what_is_wrong(serve: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """`python -m local` ends with 2 and one line for a taken port, a broken configuration or an unknown fault."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        config = tmp_path / "gateway.yaml"
        config.write_text("routes: {judge: {models: [nobody:model]}}")
        for arguments, named in (
            ((), f"{port} (broker)"),
            (("--config", str(config)), "nobody:model"),
            (("--broker-faults", "explode=1"), "explode"),
        ):
            done = serve(*arguments, KNUDGE_PORT_BASE=port)
            assert done.returncode == 2
            assert named in done.stderr
            assert "Traceback" not in done.stderr
