"""What was measured, in one place, each with where it was printed. One thread of an AMD EPYC, Python 3.11, Valkey 9.1.

CPU is in ms. Every `Cost` was fitted to runs of ``bin/bench scale`` with 1, 16 and 50 items an event; figures that
``bin/bench events`` and ``scale`` write with ``--json`` can replace them (`measured`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from common.store.scores import MAX_ITEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCALE = "`bin/bench scale` with `KNUDGE_RUN_BATCH` 1, 16 and 50"
_COMMANDS = "`INFO commandstats` and `INFO stats` of Valkey around the same runs"
_DESIGN = "an item's way on Knative 1.22, through functions that do nothing"
_KEPT = "`bin/bench scale`, [Operations](operations.md#redis)"
_ROWS = "[Operations](operations.md#capacity)"
_PER_CALL = "`bin/bench scale --model-items`, less the same run without a judge"
_PROGRAMS = {
    "tasks": "tasks_ms",
    "evaluate": "evaluate_ms",
    "aggregate": "aggregate_ms",
    "redis": "redis_ms",
    "broker": "local_broker_ms",
}
_LARGE = 50  # items of an event
_USUAL = {"items": 1.0, "events": 1 / 32, "waves": 1 / 256, "calls": 0.0}  # a check of a large run, by default


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
        default=Cost(0.009, 0.42, wave=2.0), metadata=_said("CPU of `tasks`: items issued, events published", _SCALE)
    )
    evaluate_ms: Cost = field(
        default=Cost(0.11, 0.63, call=0.55), metadata=_said("CPU of `evaluate`: two checks an item, model calls", _SCALE)
    )
    aggregate_ms: Cost = field(
        default=Cost(0.05, 1.4, call=0.07), metadata=_said("CPU of `aggregate`: verdicts read and counted", _SCALE)
    )
    redis_ms: Cost = field(
        default=Cost(0.035, 0.2, wave=0.4), metadata=_said("CPU of Redis for the keys of runs and data sets", _SCALE)
    )
    gateway_ms: Cost = field(default=Cost(call=0.07), metadata=_said("CPU of Redis for admission and settlement", _PER_CALL))
    local_broker_ms: Cost = field(
        default=Cost(0.004, 0.57, wave=0.75), metadata=_said("CPU of the local broker: requested, completed", _SCALE)
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
        default=Cost(89, call=650), metadata=_said("kept in Redis: a result of two checks; a judge's verdict", _KEPT)
    )
    row_extra_bytes: float = field(default=8.0, metadata=_said("kept in Redis for a row, beyond its own bytes", _KEPT))
    hops_ms: float = field(
        default=2.0,
        metadata=_said("what an event waits that is nobody's CPU", "`bin/bench scale` with `KNUDGE_RUN_WINDOW=1`"),
    )
    rows_per_s: float = field(default=250_000.0, metadata=_said("rows checked when a run is created", _ROWS))
    pod_start_s: float = field(
        default=1.2, metadata=_said("a pod, from nothing to ready", "a functions-framework function on a cluster of two cores")
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
