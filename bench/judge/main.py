"""Judgements side by side: `evaluate`, the bare clients that bound it, and other evaluation tools, all with one stand-in.

``COUNT`` judgements of short answers, with 100 in flight against a model that takes 50 ms, and with 32 against one that takes
none. For `evaluate` everything is on: authentication, validation, limits and a hard budget decided in the store on every call
(none of them felt), the check of the verdict, and the verdict kept under its id before it is answered. The others judge as
their own documentation has it, with one model call a judgement, and share nothing with other processes.

CPU is the operating system's accounting of the process tree that judges. What else it takes with `evaluate`, the store and
whoever asks, stands beside it. Each round measures every way, one after the other, so that a change of the machine's speed
falls on all alike; figures are medians of the rounds. Each way has judged a few samples before it is measured, and starting is
not in the figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.judge.driver import Driver, DriverError, driver
from bench.judge.load import Wanted
from bench.judge.peers import JUDGES, LIMITS, JudgePeer
from bench.judge.system import model_name, system
from bench.rig.homes import Missing, environment
from bench.rig.load import Load, drive
from bench.rig.processes import cpu_ms, peak_rss_mib
from bench.rig.programs import ended_by_signals, load_average
from bench.rig.table import show
from local.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.judge.system import System

COUNT = 2000
BATCH = 50
_WARM_UP = 200
_ALONE_S = 3.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How fast the model answers, and how many judgements are under way at once."""

    latency_ms: int
    in_flight: int

    @property
    def suffix(self) -> str:
        """Of the figures' names."""
        return "" if self.latency_ms else "_0ms"


SETTINGS = (Setting(50, 100), Setting(0, 32))


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: ``cpu_ms``, ``store_cpu_ms`` and ``asking_cpu_ms`` are per judgement, ``right`` of `COUNT`."""

    per_s: float
    cpu_ms: float
    rss_mib: float
    right: int
    store_cpu_ms: float = 0.0
    asking_cpu_ms: float = 0.0


Samples = defaultdict[tuple[str, Setting], list[Sample]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    names = [peer.name for peer in JUDGES]
    parser.add_argument("--peers", action="store_true", help="also other evaluation tools, set up below .knudge/bench")
    parser.add_argument("--only", type=_some(names), default=names, metavar="PEERS", help=f"some of {','.join(names)}")


def run(*, rounds: int, peers: bool, only: Sequence[str]) -> dict[str, float]:
    """Figures ``<way>_cpu_ms``, ``<way>_per_s``, ``<way>_rss_mib``; ``..._0ms`` without latency; ways as in the table."""
    others = [*LIMITS, *(peer for peer in JUDGES if peers and peer.name in only)]
    samples: Samples = defaultdict(list)
    with ended_by_signals(), TemporaryDirectory(prefix="knudge-judge-") as name, system(Path(name)) as under_way:
        figures = _stand_in(under_way)
        for number in range(rounds):
            print(f"  round {number + 1} of {rounds}, load average {load_average():.2f}", flush=True)
            _measure_ours(under_way, Path(name), samples)
            for peer in list(others):
                if why := _measure(peer, under_way, Path(name), samples):
                    print(f"  {peer.name}: not available: {why}", flush=True)
                    others.remove(peer)
    return figures | _report(samples)


def _stand_in(under_way: System) -> dict[str, float]:
    """What a reply of the stand-in costs, measured alone."""
    figures = {}
    for setting in SETTINGS:
        before, pid = cpu_ms(under_way.pid("model")), under_way.pid("model")
        where = f"{under_way.model_url}/knudge/{setting.latency_ms}/v1/chat/completions"
        seen = drive(Load(where, "x" * 1000, setting.in_flight, _ALONE_S))
        figures[f"model_cpu_ms{setting.suffix}"] = (cpu_ms(pid) - before) / seen.calls
        figures[f"model_per_s{setting.suffix}"] = seen.per_s
    text = ", ".join(f"{figures[f'model_cpu_ms{s.suffix}']:.3f} at {s.latency_ms} ms" for s in SETTINGS)
    print(f"  the stand-in for the model alone, CPU ms a reply: {text}")
    return figures


def _measure_ours(under_way: System, folder: Path, samples: Samples) -> None:
    argv = [sys.executable, "-m", "bench.judge.load"]
    with driver(argv, environment(PYTHONPATH=str(ROOT)), folder) as asking:
        for setting in SETTINGS:
            for name, lines in (("judge_batch", BATCH), ("judge_single", 1)):
                wanted = [_wanted(under_way, count, setting, lines) for count in (_WARM_UP, COUNT)]
                asking.ask(wanted[0])
                asking.ask({})
                asking.ask(wanted[1])
                samples[name, setting].append(_ours(under_way, asking))


def _ours(under_way: System, asking: Driver) -> Sample:
    pids = {"evaluate": under_way.pid("evaluate"), "redis": under_way.pid("redis"), "asking": asking.pid}
    before = {name: cpu_ms(pid) for name, pid in pids.items()}
    seconds, answer = asking.ask({})
    used = {name: (cpu_ms(pid) - before[name]) / COUNT for name, pid in pids.items()}
    rss = peak_rss_mib(pids["evaluate"])
    return Sample(COUNT / seconds, used["evaluate"], rss, answer["right"], used["redis"], used["asking"])


def _wanted(under_way: System, count: int, setting: Setting, lines: int) -> dict[str, object]:
    wanted = Wanted(under_way.evaluate_urls[0], model_name(setting.latency_ms), under_way.key, count, setting.in_flight, lines)
    return asdict(wanted)


def _measure(peer: JudgePeer, under_way: System, folder: Path, samples: Samples) -> str:
    """Both settings with one peer. Why it cannot be measured; nothing when it was."""
    scratch = folder / peer.name
    scratch.mkdir(exist_ok=True)
    try:
        with driver(peer.argv(), peer.environment(scratch), scratch) as judging:
            for setting in SETTINGS:
                url = f"{under_way.model_url}/{peer.reply}/{setting.latency_ms}/v1"
                wanted = {"base_url": url, "in_flight": setting.in_flight}
                judging.ask({**wanted, "count": _WARM_UP})
                samples[peer.name, setting].append(_theirs(judging, wanted))
    except (Missing, DriverError) as error:
        return str(error)
    return ""


def _theirs(judging: Driver, wanted: dict[str, object]) -> Sample:
    before = cpu_ms(judging.pid)
    seconds, answer = judging.ask({**wanted, "count": COUNT})
    return Sample(COUNT / seconds, (cpu_ms(judging.pid) - before) / COUNT, peak_rss_mib(judging.pid), answer["right"])


def _report(samples: Samples) -> dict[str, float]:
    figures: dict[str, float] = {}
    for setting in SETTINGS:
        rows: list[list[object]] = []
        for (name, measured), taken in samples.items():
            if measured != setting:
                continue
            row = _medians(taken)
            figures |= {f"{name}_{figure}{setting.suffix}": value for figure, value in row.items()}
            spread = f"{min(s.cpu_ms for s in taken):.2f}-{max(s.cpu_ms for s in taken):.2f}"
            wrong = COUNT * len(taken) - sum(sample.right for sample in taken)
            rest = [row["store_cpu_ms"], row["asking_cpu_ms"]] if name.startswith("judge_") else ["", ""]
            rows.append([name, row["per_s"], row["cpu_ms"], spread, row["rss_mib"], *rest, wrong])
        print(f"\n{setting.latency_ms} ms, {setting.in_flight} in flight")
        show(["way", "judgements/s", "CPU ms", "min-max", "peak RSS MiB", "store's CPU", "asking's CPU", "wrong"], rows)
    return figures


def _medians(taken: Sequence[Sample]) -> dict[str, float]:
    names = ("per_s", "cpu_ms", "rss_mib", "store_cpu_ms", "asking_cpu_ms")
    return {name: statistics.median(getattr(sample, name) for sample in taken) for name in names}


def _some(names: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"no such peer: {', '.join(sorted(unknown))}")
        return chosen

    return parse
