"""Figure 5: what a call through `completions` costs, beside a call straight to the provider, and beside other gateways.

The provider is the simulator with a latency of 40 to 60 ms, drawn from the same seed for each measurement, so that every way
meets the same latencies, and connections do not march in step. Each round measures every way at every number of connections,
one after the other, and differences are taken within a round: a change of the machine's speed falls on all alike. Connections
are closed-loop: each has one request under way at all times, so a gateway that is slower than the load adds its own queue.

CPU is the operating system's accounting of the gateway's whole process tree; the store's, the provider's and the load
generator's are not in it. Trips are the store's own count of reads from its clients, pipelines counting once.
"""

from __future__ import annotations

import json
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import redis

from bench.gateway.fleet import behave
from bench.gateway.peers import PEERS
from bench.rig.homes import Missing
from bench.rig.load import Load, drive
from bench.rig.ports import free_port
from bench.rig.processes import cpu_ms, peak_rss_mib
from bench.rig.programs import completions, load_average, provider, running, url, valkey
from bench.rig.table import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.rig.load import Seen
    from local.programs import Program

CONNECTIONS = (1, 32, 100)
_LATENCY_MS, _JITTER_MS = 40, 20
_MANY = 1_000_000
_TEXT = "Which of these two answers is better, and why? Answer in one sentence."
_DIRECT, _OURS = "direct", "knudge"
_AT = 32  # connections at which CPU per call is given where one number has to do


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the provider. ``pid`` is 0 where there is nothing in between."""

    name: str
    url: str
    model: str
    pid: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def load(self, connections: int, seconds: float) -> Load:
        """The load of one measurement."""
        body = {"model": self.model, "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 64}
        path = f"{self.url}/v1/chat/completions"
        return Load(path, json.dumps(body), connections, seconds, headers=dict(self.headers))


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement; ``reads`` are the store's, per call."""

    seen: Seen
    cpu_ms: float
    reads: float


Samples = dict[tuple[str, int], list[Sample]]


def run(*, rounds: int, seconds: float, peers: bool) -> dict[str, float]:
    """Figures ``call_cpu_ms``, ``call_redis_trips``, ``added_p50_ms_<connections>`` and others; a peer's with its name."""
    with TemporaryDirectory(prefix="knudge-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        store, model = valkey(folder), provider("model", "simulator")
        stack.enter_context(running([store, model], folder))
        ways = [Way(_DIRECT, url(model), "simulated-judge"), _ours(store, model, folder, stack)]
        ways += [way for name in PEERS if peers and (way := _peer(name, model, folder, stack))]
        with redis.Redis(port=store.port) as client:
            for way in ways:
                drive(way.load(8, 1.0))  # imports, connections, compiled scripts
            samples = _measure(ways, client, rounds, seconds)
            rss = {way.name: peak_rss_mib(way.pid) for way in ways if way.pid}
    return _report(samples, rss)


def _ours(store: Program, model: Program, folder: Path, stack: ExitStack) -> Way:
    config = folder / "gateway.json"
    config.write_text(json.dumps(_config(model)), encoding="utf-8")
    function = completions(f"redis://127.0.0.1:{store.port}/0", config, folder)
    child = stack.enter_context(running([function], folder))[function.name]
    return Way(_OURS, url(function), "bench:simulated-judge", child.process.pid)


def _config(model: Program) -> dict[str, Any]:
    """Every limit and a hard budget on, none of them felt."""
    limits = {
        "rpm": _MANY,
        "tpm": 1000 * _MANY,
        "max_concurrency": _MANY,
        "price": {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 4.0},
    }
    return {
        "budgets": {"projects": {"default": _MANY}},
        "providers": {"bench": {"kind": "simulator", "base_url": f"{url(model)}/v1"}},
        "models": {"bench:simulated-judge": limits},
    }


def _peer(name: str, model: Program, folder: Path, stack: ExitStack) -> Way | None:
    try:
        peer = PEERS[name](url(model), free_port(), folder)
        child = stack.enter_context(running([peer.program], folder))[name]
        way = Way(name, url(peer.program), peer.model, child.process.pid, peer.headers)
        bad = drive(way.load(1, 1.0)).bad
    except (Missing, RuntimeError) as error:
        print(f"  {name}: not available: {error}")
        return None
    if bad:
        print(f"  {name}: not available: {bad} calls were not answered with 200")
        return None
    print(f"  {name}: {peer.note}")
    return way


def _measure(ways: list[Way], client: redis.Redis, rounds: int, seconds: float) -> Samples:
    samples: Samples = {(way.name, connections): [] for way in ways for connections in CONNECTIONS}
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}, load average {load_average():.2f}", flush=True)
        for connections in CONNECTIONS:
            for way in ways:
                samples[way.name, connections].append(_sample(ways, way, client, connections, seconds))
    return samples


def _sample(ways: Sequence[Way], way: Way, client: redis.Redis, connections: int, seconds: float) -> Sample:
    behave(ways[0].url, latency_ms=_LATENCY_MS, jitter_ms=_JITTER_MS)  # which also begins the seed's numbers again
    cpu, reads = cpu_ms(way.pid) if way.pid else 0.0, _reads(client)
    seen = drive(way.load(connections, seconds))
    used, read = (cpu_ms(way.pid) - cpu if way.pid else 0.0), _reads(client) - reads - 1
    return Sample(seen, used / max(1, seen.calls), read / max(1, seen.calls))


def _reads(client: redis.Redis) -> int:
    return int(client.info("stats")["total_reads_processed"])


def _report(samples: Samples, rss: dict[str, float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    rows: list[list[object]] = []
    for (name, connections), taken in samples.items():
        row = {key: statistics.median(values) for key, values in _columns(taken, samples[_DIRECT, connections]).items()}
        bad = sum(sample.seen.bad for sample in taken)
        rows.append(
            [
                f"{name}, {connections}",
                row["per_s"],
                row["p50"],
                row["p99"],
                row["added_p50"],
                row["added_p99"],
                row["cpu"],
                bad,
            ]
        )
        if name != _DIRECT:
            figures |= dict(_figures(name, connections, row))
    show(["way, connections", "calls/s", "p50 ms", "p99 ms", "added p50", "added p99", "CPU ms a call", "not 200"], rows)
    print("  peak RSS of the largest process, MiB: " + ", ".join(f"{name} {mib:.0f}" for name, mib in rss.items()))
    return figures


def _columns(taken: list[Sample], direct: list[Sample]) -> dict[str, list[float]]:
    pairs = list(zip(taken, direct, strict=True))
    return {
        "per_s": [sample.seen.per_s for sample in taken],
        "p50": [sample.seen.p50_ms for sample in taken],
        "p99": [sample.seen.p99_ms for sample in taken],
        "added_p50": [sample.seen.p50_ms - base.seen.p50_ms for sample, base in pairs],
        "added_p99": [sample.seen.p99_ms - base.seen.p99_ms for sample, base in pairs],
        "cpu": [sample.cpu_ms for sample in taken],
        "reads": [sample.reads for sample in taken],
    }


def _figures(name: str, connections: int, row: dict[str, float]) -> Iterator[tuple[str, float]]:
    prefix = "" if name == _OURS else f"{name}_"
    yield f"{prefix}added_p50_ms_{connections}", row["added_p50"]
    yield f"{prefix}added_p99_ms_{connections}", row["added_p99"]
    yield f"{prefix}call_cpu_ms_{connections}", row["cpu"]
    yield f"{prefix}calls_per_s_{connections}", row["per_s"]
    if connections == _AT:
        yield f"{prefix}call_cpu_ms", row["cpu"]
    if name == _OURS:
        yield f"call_redis_trips_{connections}", row["reads"]
        if connections == 1:
            # One caller alone shares its trips with nobody: what a call needs, not what a busy process saves.
            yield "call_redis_trips", row["reads"]
