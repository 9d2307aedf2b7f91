"""A run while everything around it fails: nothing lost, nothing counted twice, nothing paid twice.

Two judges and a check over invented items, through the whole local runtime with two processes of `evaluate` and of `aggregate`.
The provider refuses a fifth of the calls (429 with ``Retry-After``), fails 5 %, garbles 2 % and leaves 1 % without an answer.
Against all this a calm run goes first; then the same with chaos: a random function process is killed every few seconds, the
store twice (SIGKILL, SIGTERM), and the broker loses 2 % of the deliveries, doubles 10 % and brings all of them out of order.

Figures, those of the synchronous broker with ``sync_`` before the name:

* ``items`` went in, ``results`` came out; ``duplicates``, ``lost``: `bench.chaos.oracle.delivered`.
* ``summary_mismatch``: fields of the run's summary that are not, to the last digit, what its raw results make.
* ``calls_needless_share``, ``calls_repeated_share``: `bench.chaos.oracle.Account`, by the provider's own account.
* ``cost_mismatch_microusd``: the run's cost against the provider's, for replies that somebody lived to keep.
  ``cost_died_microusd`` and ``cost_malformed_microusd`` are what the provider charges besides: no result could come of it.
* ``time_ratio``: with chaos to calm. ``seconds`` and ``calm_seconds`` are from the run's creation to its end. With
  ``--no-calm`` there is no calm run to compare with.
* ``completed_events``: different ids of ``run.completed`` that the broker got; one run has one end, however often it is told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from bench.chaos.monkey import VICTIMS, Monkey
from bench.chaos.oracle import account, delivered, differences, shown, summarised
from bench.chaos.system import Times, running
from bench.rig.table import show
from common.schemas.events import RUN_COMPLETED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench.chaos.system import System

_PROVIDER = {
    "latency_ms": 20,
    "rate_limit": 0.2,
    "server_error": 0.05,
    "malformed": 0.02,
    "hang": 0.01,
    "retry_after_s": 0.25,
}
_BROKER = "lose=0.02,duplicate=0.1,reorder=1,late_s=0.2"
_KILL_EVERY_S = (3.0, 6.0)
_JUDGES = 2
_POLL_S = 0.25
_SETTLE_S = 30.0
_SAY_EVERY_S = 5.0
_PAGE = 200
_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "juniper",
    "kettle",
    "lagoon",
    "meadow",
    "nectar",
    "orchid",
    "pebble",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--items", type=int, default=2_000, help="items of each run (default 2000)")
    parser.add_argument("--mode", choices=["async", "sync", "both"], default="both", help="when the broker answers publishers")
    parser.add_argument(
        "--no-calm", dest="calm", action="store_false", help="leave out the calm run that times are compared with"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the provider's and the broker's faults, and of the kills")


def run(*, rounds: int, items: int, mode: str, seed: int, calm: bool) -> dict[str, float]:
    """Figures as above. Takes the time of two runs a mode; a run that does not end is given up, and told."""
    del rounds
    figures: dict[str, float] = {"items": items}
    for each in ("async", "sync") if mode == "both" else (mode,):
        prefix = "sync_" if each == "sync" else ""
        calm_s = trial(Trial(items, each, seed))["seconds"] if calm else None
        found = trial(Trial(items, each, seed, chaos=True))
        if calm_s is not None:
            found |= {"calm_seconds": calm_s, "time_ratio": found["seconds"] / calm_s}
        figures |= {f"{prefix}{name}": value for name, value in found.items()}
    show(["figure", "value"], [[name, value] for name, value in figures.items()])
    return figures


@dataclass(frozen=True, slots=True)
class Trial:
    """One run. ``chaos``: processes are killed every ``kill_every_s`` (from, to), and the broker misbehaves."""

    items: int
    mode: str
    seed: int
    chaos: bool = False
    kill_every_s: tuple[float, float] = _KILL_EVERY_S
    times: Times = field(default_factory=Times)

    @property
    def limit_s(self) -> float:
        """When to give up."""
        return 120 + self.items / 10

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.mode}, {'chaos' if self.chaos else 'calm'}"


def trial(wanted: Trial) -> dict[str, float]:
    """Run once, and ask the oracles."""
    faults = f"{_BROKER},seed={wanted.seed}" if wanted.chaos else ""
    provider = {**_PROVIDER, "seed": wanted.seed}
    with running(provider=provider, broker_mode=wanted.mode, broker_faults=faults, times=wanted.times) as system:
        item_ids = [f"{'chaos' if wanted.chaos else 'calm'}-{number}" for number in range(wanted.items)]
        run_id = start(system, item_ids, Random(wanted.seed))
        journey = Journey(system, run_id, wanted)
        journey.travel()
        return {**journey.figures(), **judged(system, run_id, item_ids), **_transport(system, run_id)}


class Journey:
    """A run on its way, with or without somebody who kills."""

    def __init__(self, system: System, run_id: str, wanted: Trial) -> None:
        self._system, self._run_id, self._wanted = system, run_id, wanted
        self._monkey = Monkey(system.supervisor, Random(wanted.seed), every_s=wanted.kill_every_s)
        self._began_s = time.monotonic()
        self._polled_s = self._said_s = 0.0
        self._share = 0.0
        self._ended_s: float | None = None

    def travel(self) -> None:
        """Return when the run has ended and all is quiet, or it is out of time. Raises `SystemExit` when asked to stop."""
        self._system.supervisor.watch(until=self._over)
        quiet_by_s = time.monotonic() + _SETTLE_S
        self._system.supervisor.watch(until=lambda: time.monotonic() > quiet_by_s or self._is_told())
        if self._system.supervisor.asked_to_stop():
            raise SystemExit(1)

    def figures(self) -> dict[str, float]:
        """Time and kills."""
        seconds = (self._ended_s or time.monotonic()) - self._began_s
        kills = self._monkey.kills
        print(f"{self._wanted.name}: {seconds:.1f} s, {self._share:.0%} done", flush=True)
        killed = {"kills": sum(kills[name] for name in VICTIMS), "store_restarts": kills["redis"]}
        return {"seconds": seconds, "ended": int(self._ended_s is not None), **killed}

    def _over(self) -> bool:
        now_s = time.monotonic()
        if self._wanted.chaos:
            self._monkey.act(self._share)
        if now_s - self._polled_s >= _POLL_S:
            self._polled_s = now_s
            self._look()
        if now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            print(f"{self._wanted.name}: {now_s - self._began_s:4.0f} s, {self._share:.0%} done", flush=True)
        return self._ended_s is not None or now_s - self._began_s > self._wanted.limit_s

    def _is_told(self) -> bool:
        """All is quiet, and the broker knows of the run's end: whoever was to tell may have been killed, and the tick does."""
        return is_quiet(self._system) and RUN_COMPLETED in self._system.get("broker", "/stats")["types"]

    def _look(self) -> None:
        try:
            summary = self._system.get("aggregate", f"/runs/{self._run_id}")
        except httpx.HTTPError:
            return  # it was killed, or the store was
        self._share = summary["done"] / summary["total"]
        if summary["status"] not in ("queued", "in_progress"):
            self._ended_s = time.monotonic()


def start(system: System, item_ids: list[str], rng: Random) -> str:
    """Make the eval, its data and a run of it, as a user does; returns the run's id."""
    made = system.post("tasks", "/v1/evals", json=eval_body())
    upload = {"file": ("items.jsonl", b"\n".join(_lines(item_ids, rng)))}
    file = system.post("tasks", "/v1/files", data={"purpose": "evals"}, files=upload)
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file["id"]}}
    run_id: str = system.post("tasks", f"/v1/evals/{made['id']}/runs", json={"data_source": source})["id"]
    return run_id


def eval_body() -> dict[str, Any]:
    """What creates the bench's eval."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "reference": {"type": "string"}}}
    config = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    return {"data_source_config": config, "testing_criteria": _criteria()}


def _criteria() -> list[dict[str, Any]]:
    def asked(name: str) -> list[dict[str, str]]:
        text = (
            f"Grader: {name}\nItem:\n{{{{item.id}}}}\nReference:\n{{{{item.reference}}}}\nAnswer:\n{{{{sample.output_text}}}}"
        )
        return [{"role": "user", "content": text}]

    return [
        {
            "type": "score_model",
            "name": "accuracy",
            "model": "judge",
            "range": [0, 10],
            "pass_threshold": 5,
            "input": asked("accuracy"),
        },
        {
            "type": "label_model",
            "name": "quality",
            "model": "judge",
            "labels": ["good", "fair", "poor"],
            "passing_labels": ["good"],
            "input": asked("quality"),
        },
        {
            "type": "string_check",
            "name": "exact",
            "input": "{{sample.output_text}}",
            "operation": "eq",
            "reference": "{{item.reference}}",
        },
    ]


def _lines(item_ids: list[str], rng: Random) -> Iterator[bytes]:
    for item_id in item_ids:
        words = rng.sample(_WORDS, 6)
        said = rng.sample(words, rng.randint(0, 6)) + rng.sample(_WORDS, 2)
        yield orjson.dumps({"item": {"id": item_id, "reference": " ".join(words)}, "sample": {"output_text": " ".join(said)}})


def is_quiet(system: System) -> bool:
    """No event is on its way and no call under way."""
    try:
        return not system.get("broker", "/stats")["in_flight"] and not system.get("simulator", "/open")
    except httpx.HTTPError:
        return False


def judged(system: System, run_id: str, item_ids: list[str]) -> dict[str, float]:
    """What the oracles say of a run of `item_ids`."""
    summary = system.get("aggregate", f"/runs/{run_id}")
    found = delivered(rows_of(system, run_id), item_ids)  # read twice, and not held: there may be many
    wrong = differences(summarised(rows_of(system, run_id), summary["graders"]), shown(summary))
    paid = account(system.get("simulator", "/calls"), needed=_JUDGES * len(item_ids))
    for path in wrong:
        print(f"  summary differs in {path}")
    return {
        "results": found.results,
        "duplicates": found.duplicates,
        "lost": found.lost,
        "errored": summary["errored"],
        "summary_mismatch": len(wrong),
        "calls_needless_share": paid.needless_share,
        "calls_repeated_share": paid.repeated_share,
        "cost_mismatch_microusd": abs(paid.kept_microusd - (summary["cost_microusd"] or 0)),
        "cost_kept_microusd": paid.kept_microusd,
        "cost_died_microusd": paid.died_microusd,
        "cost_malformed_microusd": paid.malformed_microusd,
        **{f"calls_{outcome}": count for outcome, count in sorted(paid.outcomes.items())},
    }


def rows_of(system: System, run_id: str) -> Iterator[dict[str, Any]]:
    """A run's results, page by page."""
    after: str | None = None
    while True:
        query = {"limit": _PAGE} if after is None else {"limit": _PAGE, "after": after}
        page = system.get("aggregate", f"/runs/{run_id}/results", **query)
        yield from page["data"]
        after = page["next"]
        if not page["has_more"]:
            return


def _transport(system: System, run_id: str) -> dict[str, float]:
    """What the broker did, and how often it was told of the run's end."""
    triggers = system.get("broker", "/stats")["triggers"].values()
    told = ends_told(system, run_id)
    named = ("delivered", "retried", "lost", "duplicated", "reordered", "dead_lettered", "dropped")
    counts = {f"deliveries_{name}": sum(trigger.get(name, 0) for trigger in triggers) for name in named}
    return {"completed_events": len(set(told)), "completed_told": len(told), **counts}


def ends_told(system: System, run_id: str) -> list[str]:
    """Ids of the ``run.completed`` events of a run that the broker got, one as often as it came."""
    return [
        entry["event_id"]
        for line in system.log("broker").read_bytes().splitlines()
        if b"run.completed" in line
        and (entry := orjson.loads(line))["event"] == "broker.received"
        and run_id in entry["event_id"]
    ]
