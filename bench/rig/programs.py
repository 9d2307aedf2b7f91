"""The programs that the gateway's benches need: started together on free ports, stopped together."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.rig.homes import environment
from bench.rig.ports import free_port
from local.children import Child, spawn, stop
from local.programs import ROOT, Program
from local.supervisor import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import FrameType

_START_S = 90.0
_GRACE_S = 6.0
_POLL_S = 0.05


def valkey(folder: Path) -> Program:
    """The embedded store, as `bin/serve` runs it: with its append-only file."""
    port = free_port()
    argv = (sys.executable, "-m", "local.valkey", "--port", str(port), "--data-dir", str(folder / "valkey"))
    return Program("redis", argv, environment(), port, ready="PING")


def provider(name: str, module: str = "bench.gateway.provider") -> Program:
    """A model server: the simulator, or with the default `module` one that also notes when each call arrives."""
    port = free_port()
    return Program(name, (sys.executable, "-m", module, "--port", str(port)), environment(), port, ready="/livez")


def function(name: str, source: str, target: str, folder: Path, *, ready: str = "/readyz", **environ: str) -> Program:
    """A function in the file `source` of the checkout, as `bin/serve` serves it: one worker, and a home of its own."""
    port, home = free_port(), folder / f"home-{name}"
    home.mkdir()
    served = environment(
        FUNCTION_SOURCE=str(ROOT / source),
        FUNCTION_TARGET=target,
        HOME=str(home),
        HOST="127.0.0.1",
        PORT=str(port),
        WORKERS="1",
    )
    return Program(name, (sys.executable, "-m", "functions_framework"), {**served, **environ}, port, ready=ready)


def completions(redis_url: str, config_path: Path, folder: Path) -> Program:
    """The gateway as a function, without authentication."""
    return function(
        "completions",
        "functions/completions/main.py",
        "completions",
        folder,
        KNUDGE_AUTH="off",
        KNUDGE_CONFIG=str(config_path),
        KNUDGE_FUNCTION="completions",
        KNUDGE_MAX_CONCURRENCY="200",
        KNUDGE_REDIS_URL=redis_url,
    )


def url(program: Program) -> str:
    """Where `program` listens."""
    return f"http://127.0.0.1:{program.port}"


@contextmanager
def running(programs: Sequence[Program], folder: Path) -> Iterator[dict[str, Child]]:
    """Children by name, each of them ready. Raises `RuntimeError`, with the end of a log, when one does not get ready."""
    children: dict[str, Child] = {}
    try:
        for program in programs:
            log = folder / f"{program.name}.log"
            children[program.name] = spawn(program.name, program.argv, env=program.env, cwd=ROOT, log_path=log)
        for program in programs:
            _await_ready(program, children[program.name])
        yield children
    finally:
        stores = {program.name for program in programs if program.ready == "PING"}
        stop([child for name, child in children.items() if name not in stores], grace_s=_GRACE_S)
        stop([child for name, child in children.items() if name in stores], grace_s=_GRACE_S)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the bench as Ctrl-C does, so that everything it started is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def load_average() -> float:
    """Runnable processes of the whole machine, averaged over the last minute."""
    return os.getloadavg()[0]


def _await_ready(program: Program, child: Child) -> None:
    deadline_s = time.monotonic() + _START_S
    while not is_ready(program):
        if child.exit_code is not None or time.monotonic() > deadline_s:
            msg = f"{program.name} did not get ready; the end of its log:\n{child.tail()}"
            raise RuntimeError(msg)
        time.sleep(_POLL_S)
