"""What was measured, in one place, each with where it was printed. One thread of an AMD EPYC, Python 3.11, Valkey 9.1.

CPU is in ms. Every `Cost` of a program was fitted to ``bin/bench events``, which has 1, 10 and 50 items an event, and to the
100,000 items of ``bin/bench scale``, which have 32: commit 41e2a3e. Figures that both write with ``--json`` can replace them
(`measured`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from common.store.scores import MAX_ITEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

_BENCHES = "`bin/bench events` with 1, 10 and 50 items an event, `bin/bench scale` with 32"
_COMMANDS = "`INFO commandstats` and `INFO stats` of Valkey around runs of commit 47e902f with 1, 16 and 50 items an event"
_SHARED = "CPU a second of checks in both benches, without start and end: 0.82 to 0.96 of two cores"
_DESIGN = "an item's way on Knative 1.22, through functions that do nothing"
_KEPT = "`bin/bench scale`, [Operations](operations.md#redis)"
_CREATED = "`bin/bench scale`, 100,000 items"
_PER_CALL = "both benches with a judge, less the same events with two checks"
_PROGRAMS = {
    "tasks": "tasks_ms",
    "evaluate": "evaluate_ms",
    "aggregate": "aggregate_ms",
    "redis": "redis_ms",
    "broker": "local_broker_ms",
}
_LARGE = 50  # items of an event
_USUAL = {"items": 1.0, "events": 1 / 32, "waves": 1 / 128, "calls": 0.0}  # a check of a large run, by default


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount that grows with the items, with the events that carry them, with waves of events, and with model calls."""

    item: float = 0.0
    event: float = 0.0
    wave: float = 0.0
    call: float = 0.0

    def of(self, *, items: float, events: float, waves: float, calls: float) -> float:
        """The sum for so many of each."""
        return self.item * items + self.event * events + self.wave * waves + self.call * calls

    def scaled(self, factor: float) -> Cost:
        """As much of everything."""
        return Cost(**{name: value * factor for name, value in asdict(self).items()})


def _said(what: str, source: str) -> dict[str, str]:
    return {"what": what, "source": source}


@dataclass(frozen=True, slots=True)
class Constants:
    """Everything that the model is told. The metadata of each field says what it is and where it was measured."""

    tasks_ms: Cost = field(
        default=Cost(0.0075, 0.175, wave=1.0), metadata=_said("CPU of `tasks`: items issued, events published", _BENCHES)
    )
    evaluate_ms: Cost = field(
        default=Cost(0.075, 0.625, call=0.5),
        metadata=_said("CPU of `evaluate`: two checks an item; what a judge takes beyond that", _BENCHES),
    )
    aggregate_ms: Cost = field(
        default=Cost(0.042, 1.52, call=0.03), metadata=_said("CPU of `aggregate`: verdicts read and counted", _BENCHES)
    )
    redis_ms: Cost = field(
        default=Cost(0.039, 0.205, wave=0.6), metadata=_said("CPU of Redis for the keys of runs and data sets", _BENCHES)
    )
    gateway_ms: Cost = field(default=Cost(call=0.06), metadata=_said("CPU of Redis for admission and settlement", _PER_CALL))
    local_broker_ms: Cost = field(
        default=Cost(0.002, 0.68, wave=0.5), metadata=_said("CPU of the local broker: requested, completed", _BENCHES)
    )
    knative_ms: Cost = field(
        default=Cost(event=5.5), metadata=_said("CPU of Knative: queue-proxies, ingress, channel, filter, activator", _DESIGN)
    )
    commands: Cost = field(
        default=Cost(13.3, 34.5, wave=50, call=14), metadata=_said("commands that Redis runs, scripts' own too", _COMMANDS)
    )
    wire_bytes: Cost = field(
        default=Cost(850, 2050, wave=3000, call=1840), metadata=_said("bytes to and from Redis", _COMMANDS)
    )
    result_bytes: Cost = field(
        default=Cost(92, call=650), metadata=_said("kept in Redis: a result of two checks; a judge's verdict", _KEPT)
    )
    row_extra_bytes: float = field(default=8.0, metadata=_said("kept in Redis for a row, beyond its own bytes", _KEPT))
    hops_ms: float = field(
        default=2.0,
        metadata=_said("what an event waits that is nobody's CPU", "`bin/bench scale` with `KNUDGE_RUN_WINDOW=1`"),
    )
    rows_per_s: float = field(default=170_000.0, metadata=_said("rows checked when a run is created", _CREATED))
    pod_start_s: float = field(
        default=1.2, metadata=_said("a pod, from nothing to ready", "a functions-framework function on a cluster of two cores")
    )
    cores_used: float = field(
        default=0.88,
        metadata=_said("share of a full machine's cores that a run gets, the bench's own work beside it", _SHARED),
    )
    pace: float = field(
        default=0.99, metadata=_said("share of a model's limit that the gateway uses", "`common/gateway/admission.py`")
    )
    most_items: int = field(
        default=MAX_ITEMS, metadata=_said("items of one run", "`common/store/scores.py`: scores are one string of Redis")
    )

    def table(self) -> list[tuple[str, str, str, str]]:
        """(name, value, what it is, where it was measured)."""
        return [
            (each.name, _shown(getattr(self, each.name)), each.metadata["what"], each.metadata["source"])
            for each in fields(self)
        ]


def measured(constants: Constants, figures: Mapping[str, float]) -> Constants:
    """`constants`, with what `figures` of ``bin/bench events`` or ``bin/bench scale`` say instead.

    The former measured events of two sizes, which gives the cost of an item and of an event; the latter one size, the default
    of a large run, so the known cost is scaled.
    """
    changed: dict[str, Any] = {}
    for program, name in _PROGRAMS.items():
        known: Cost = getattr(constants, name)
        small, large = (figures.get(f"event_cpu_ms_{program}_{size}") for size in (1, _LARGE))
        if small is not None and large is not None:
            event = max(0.0, (small - large) / (1 - 1 / _LARGE))
            known = replace(known, item=max(0.0, large - event / _LARGE), event=event)
            judged = figures.get(f"event_model_cpu_ms_{program}_{_LARGE}")
            if judged is not None and known.call:
                known = replace(known, call=max(0.0, judged - large))
        if now := figures.get(f"cpu_ms_per_item_{program}"):
            known = replace(known.scaled(now / known.of(**_USUAL)), call=known.call)
        changed[name] = known
    if kept := figures.get("bytes_per_result"):
        changed["result_bytes"] = replace(constants.result_bytes, item=kept)
    return replace(constants, **changed)


def _shown(value: Cost | float) -> str:
    if isinstance(value, Cost):
        return " + ".join(f"{amount:g}/{name}" for name, amount in asdict(value).items() if amount)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
