"""Evaluations of 1 MB of text: one process of `evaluate` and two, beside what the same request costs without our work.

Closed-loop connections, the request's bytes made once, so that the load generator costs little; it, the stand-in for the model
and the store share the machine with what is measured. ``checks`` is a deterministic grader, ``model`` a judge that is shown
all of the text. ``echo`` is a functions-framework async function that sends the body back, ``read`` one that reads it and
says how long it is, ``nginx`` a ``proxy_pass`` to the stand-in, which reads it and answers.
"""

from __future__ import annotations

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.gateway.peers import nginx
from bench.judge.system import model_name, system
from bench.rig.homes import Missing
from bench.rig.load import Load, drive
from bench.rig.ports import free_port
from bench.rig.processes import cpu_ms, peak_rss_mib
from bench.rig.programs import ended_by_signals, function, load_average, running, url
from bench.rig.table import show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from bench.judge.system import System
    from bench.rig.load import Seen
    from local.programs import Program

TEXT_BYTES = 1024 * 1024
_CONNECTIONS = 8  # to each process
_PROCESSES = (1, 2)
_WARM_UP_S = 1.0
_LINE = "The quick brown fox jumps over the lazy dog, and the “judge” says that this is line %06d.\n"


@dataclass(frozen=True, slots=True)
class Way:
    """What takes the request: where, the processes that work on it, and which request."""

    name: str
    urls: tuple[str, ...]
    pids: tuple[int, ...]
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement over all of a way's processes; ``cpu_ms`` per request."""

    per_s: float
    p99_ms: float
    cpu_ms: float
    bad: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a measurement (default 4; 9 of them a round)")


def run(*, rounds: int, seconds: float) -> dict[str, float]:
    """Figures ``payload_1mb_rps_<processes>``, ``payload_1mb_<way>_rps_<processes>``, ``payload_1mb_cpu_ms``, ….."""
    samples: dict[str, list[Sample]] = {}
    with ended_by_signals(), TemporaryDirectory(prefix="knudge-payload-") as name, ExitStack() as stack:
        folder = Path(name)
        under_way = stack.enter_context(system(folder, processes=max(_PROCESSES)))
        ways = [*_ours(under_way), *_limits(under_way, folder, stack)]
        for way in ways:
            _measure(way, _WARM_UP_S)  # imports, connections
        for number in range(rounds):
            print(f"  round {number + 1} of {rounds}, load average {load_average():.2f}", flush=True)
            for way in ways:
                samples.setdefault(way.name, []).append(_measure(way, seconds))
        rss = {way.name: max(map(peak_rss_mib, way.pids)) for way in ways}
    return _report(samples, rss)


def _ours(under_way: System) -> list[Way]:
    check = {
        "type": "string_check",
        "name": "mentions",
        "operation": "like",
        "input": "{{sample.output_text}}",
        "reference": "nothing of the kind",
    }
    judge = {
        "type": "score_model",
        "name": "judged",
        "model": model_name(0),
        "input": [{"role": "user", "content": "How good is this? {{sample.output_text}}"}],
        "range": [1, 5],
    }
    headers = {"authorization": f"Bearer {under_way.key}"}
    names = ("evaluate", "evaluate-2")
    return [
        Way(
            f"{kind}_{count}",
            tuple(f"{base}/" for base in under_way.evaluate_urls[:count]),
            tuple(under_way.pid(name) for name in names[:count]),
            _evaluation(grader),
            headers,
        )
        for kind, grader in (("checks", check), ("model", judge))
        for count in _PROCESSES
    ]


def _limits(under_way: System, folder: Path, stack: ExitStack) -> list[Way]:
    programs = [_echo(number, folder) for number in range(1, max(_PROCESSES) + 1)]
    children = stack.enter_context(running(programs, folder))
    body = _evaluation({})
    ways = [
        Way(
            f"{kind}_{count}",
            tuple(f"{url(program)}/{kind}" for program in programs[:count]),
            tuple(children[program.name].process.pid for program in programs[:count]),
            body,
        )
        for kind in ("echo", "read")
        for count in _PROCESSES
    ]
    try:
        peer = nginx(under_way.model_url, free_port(), folder)
        child = stack.enter_context(running([peer.program], folder))[peer.program.name]
    except (Missing, RuntimeError) as error:
        print(f"  nginx: not available: {error}")
        return ways
    where = f"{url(peer.program)}/knudge/0/v1/chat/completions"
    return [*ways, Way("nginx_1", (where,), (child.process.pid,), body)]


def _echo(number: int, folder: Path) -> Program:
    return function(f"echo-{number}", "bench/payload/echo.py", "echo", folder, ready="/livez")


def _evaluation(grader: Mapping[str, Any]) -> str:
    lines = TEXT_BYTES // len((_LINE % 0).encode()) + 1
    text = "".join(_LINE % number for number in range(lines)).encode()[:TEXT_BYTES].decode("utf-8", "ignore")
    return json.dumps({"item": {}, "sample": {"output_text": text}, "graders": [grader]}, ensure_ascii=False)


def _measure(way: Way, seconds: float) -> Sample:
    before = sum(map(cpu_ms, way.pids))
    loads = [Load(where, way.body, _CONNECTIONS, seconds, headers=dict(way.headers)) for where in way.urls]
    with ThreadPoolExecutor(len(loads)) as threads:
        seen: list[Seen] = list(threads.map(drive, loads))
    calls = max(1, sum(one.calls for one in seen))
    return Sample(
        per_s=sum(one.per_s for one in seen),
        p99_ms=max(one.p99_ms for one in seen),
        cpu_ms=(sum(map(cpu_ms, way.pids)) - before) / calls,
        bad=sum(one.bad for one in seen),
    )


def _report(samples: Mapping[str, Sequence[Sample]], rss: Mapping[str, float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    rows: list[list[object]] = []
    for name, taken in samples.items():
        kind, _, processes = name.partition("_")
        per_s, p99_ms, cpu = (statistics.median(getattr(one, part) for one in taken) for part in ("per_s", "p99_ms", "cpu_ms"))
        prefix = "payload_1mb_" if kind == "checks" else f"payload_1mb_{kind}_"
        figures[f"{prefix}rps_{processes}"] = per_s
        if processes == "1":
            figures |= {f"{prefix}cpu_ms": cpu, f"{prefix}p99_ms": p99_ms, f"{prefix}rss_mib": rss[name]}
        else:
            figures |= {f"{prefix}cpu_ms_{processes}": cpu, f"{prefix}p99_ms_{processes}": p99_ms}
        rows.append([kind, processes, per_s, p99_ms, cpu, rss[name], sum(one.bad for one in taken)])
    show(["way", "processes", "requests/s", "p99 ms", "CPU ms", "peak RSS MiB", "not 200"], rows)
    return figures
