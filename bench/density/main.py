"""1,000 evaluations in flight in one process of `evaluate`, while the model takes 2 s: memory, lag, Flask threads.

``burst`` sends all at the same moment, ``steady`` keeps as many under way, spread over the model's latency. Everything that
`evaluate` does is on. The event loop's lag is what a request takes that does nothing: ``GET /livez`` every 10 ms on a
connection of its own, from the first request to the last answer. The twin on Flask threads does the same judgement without
limits and stores, once with 100 threads and once with as many as the framework sets by itself.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.judge.driver import driver
from bench.judge.load import Wanted
from bench.judge.system import model_name, system
from bench.rig.homes import environment
from bench.rig.processes import cpu_ms, peak_rss_mib, rss_mib
from bench.rig.programs import ended_by_signals, function, load_average, running, url
from bench.rig.table import show
from local.programs import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench.judge.driver import Driver
    from bench.judge.system import System

IN_FLIGHT = 1000
_LATENCY_MS = 2000
_CYCLES = 4  # of the steady load
_PROBE_S = 0.01
_THREADS = 100
_TWIN = 200  # judgements


@dataclass(frozen=True, slots=True)
class Seen:
    """One load; ``right`` of ``count`` were as expected, ``cpu_ms`` is per evaluation, ``lags_ms`` one for each probe."""

    count: int
    right: int
    per_s: float
    cpu_ms: float
    lags_ms: tuple[float, ...]

    def lag_ms(self, percent: int) -> float:
        """A percentile of the lag."""
        lags = sorted(self.lags_ms) or [0.0]
        return lags[min(len(lags) - 1, len(lags) * percent // 100)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=f"evaluations under way (default {IN_FLIGHT})")


def run(*, rounds: int, in_flight: int) -> dict[str, float]:
    """Figures ``density_ok`` (of those in the worst burst), ``density_rss_mib``, ``density_lag_p99_ms``, …."""
    places = str(2 * in_flight)
    taken: dict[str, list[Seen]] = {}
    with (
        ended_by_signals(),
        TemporaryDirectory(prefix="knudge-density-") as name,
        system(Path(name), KNUDGE_MAX_CONCURRENCY=places) as under_way,
    ):
        folder = Path(name)
        with driver([sys.executable, "-m", "bench.judge.load"], environment(PYTHONPATH=str(ROOT)), folder) as asking:
            wanted = Wanted(under_way.evaluate_urls[0], model_name(_LATENCY_MS), under_way.key, in_flight, in_flight, 1)
            _asked(asking, replace(wanted, count=50, in_flight=50, model=model_name(0)))
            idle_mib = rss_mib(under_way.pid("evaluate"))
            steady = replace(wanted, count=_CYCLES * in_flight, spread_s=_LATENCY_MS / 1000)
            for number in range(rounds):
                print(f"  round {number + 1} of {rounds}, load average {load_average():.2f}", flush=True)
                for load, what in (("steady", steady), ("burst", wanted)):
                    taken.setdefault(load, []).append(_loaded(under_way.pid("evaluate"), asking, what))
            rss = {"idle": idle_mib, "peak": peak_rss_mib(under_way.pid("evaluate"))}
            twins = {threads: _twin(under_way, asking, folder, threads) for threads in (_THREADS, None)}
    return _report(taken, rss, twins)


def _asked(asking: Driver, wanted: Wanted) -> tuple[float, int]:
    """Seconds, and how many were right."""
    asking.ask(asdict(wanted))
    seconds, answer = asking.ask({})
    return seconds, answer["right"]


def _loaded(pid: int, asking: Driver, wanted: Wanted) -> Seen:
    lags: list[float] = []
    before = cpu_ms(pid)
    with _probing(wanted.base_url, lags):
        seconds, right = _asked(asking, wanted)
    return Seen(wanted.count, right, wanted.count / seconds, (cpu_ms(pid) - before) / wanted.count, tuple(lags))


@contextmanager
def _probing(base_url: str, lags_ms: list[float]) -> Iterator[None]:
    """Ask for ``/livez`` again and again, in a thread."""
    over = threading.Event()
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc)

    def probe() -> None:
        while not over.wait(_PROBE_S):
            began_s = time.perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            lags_ms.append((time.perf_counter() - began_s) * 1000)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        connection.close()


def _twin(under_way: System, asking: Driver, folder: Path, threads: int | None) -> Seen:
    """The same judgements on Flask; None leaves the number of threads to the framework."""
    environ = {"JUDGE_URL": f"{under_way.model_url}/knudge/{_LATENCY_MS}/v1"}
    if threads is not None:
        environ["THREADS"] = str(threads)
    program = function(f"twin-{threads}", "bench/density/twin.py", "judge", folder, ready="/livez", **environ)
    count = _TWIN if threads else _TWIN // 10
    with running([program], folder) as children:
        pid = children[program.name].process.pid
        wanted = Wanted(url(program), "judge", under_way.key, count, count, 1, keeps=False)
        before = cpu_ms(pid)
        seconds, right = _asked(asking, wanted)
        return Seen(count, right, count / seconds, (cpu_ms(pid) - before) / count, ())


def _report(taken: dict[str, list[Seen]], rss: dict[str, float], twins: dict[int | None, Seen]) -> dict[str, float]:
    steady, burst = taken["steady"], taken["burst"]
    per_s = statistics.median(seen.per_s for seen in steady)
    figures = {
        "density_ok": float(min(seen.right for seen in burst)),
        "density_wrong": float(sum(seen.count - seen.right for seen in (*steady, *burst))),
        "density_rss_mib": rss["peak"],
        "density_rss_idle_mib": rss["idle"],
        "density_per_s": per_s,
        "density_cpu_ms": statistics.median(seen.cpu_ms for seen in steady),
        "density_lag_p50_ms": statistics.median(seen.lag_ms(50) for seen in steady),
        "density_lag_p99_ms": statistics.median(seen.lag_ms(99) for seen in steady),
        "density_burst_lag_p99_ms": statistics.median(seen.lag_ms(99) for seen in burst),
        "density_sync_per_s": twins[_THREADS].per_s,
        "density_sync_cpu_ms": twins[_THREADS].cpu_ms,
        "density_sync_ratio": per_s / twins[_THREADS].per_s,
        "density_sync_default_ratio": per_s / twins[None].per_s,
        "density_sync_wrong": float(sum(twin.count - twin.right for twin in twins.values())),
    }
    show(["figure", "value"], list(figures.items()))
    return figures
