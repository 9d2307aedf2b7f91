"""The model's answers as tables, for a terminal and for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.capacity.check import Compared
    from bench.capacity.simulation import Outcome

    Table = tuple[list[str], list[list[str]]]

_MINUTE_S, _HOUR_S = 60, 3600
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BUSY = 3  # stations that are named


def outcomes(found: Sequence[Outcome]) -> Table:
    """A run a row."""
    header = [
        "run",
        "items an event",
        "time",
        "items/s",
        "pods: evaluate, aggregate",
        "pod-seconds: evaluate, aggregate, tasks",
    ]
    header += ["events", "Redis: commands", "sent", "kept", "first bottleneck", "twice of it brings"]
    return header, [_outcome(each) for each in found]


def _outcome(found: Outcome) -> list[str]:
    system = found.system
    name, gain = system.bottleneck()
    return [
        found.scenario.name,
        str(system.event_items),
        duration(found.wall_s) if found.ends else f"refused ({duration(found.wall_s)})",
        f"{system.items_per_s:,.0f}",
        f"{system.evaluate_pods}, {system.aggregate_pods}",
        ", ".join(amount(found.pod_s[function]) for function in ("evaluate", "aggregate", "tasks")),
        amount(found.events),
        amount(found.redis_commands),
        f"{amount(found.redis_wire_bytes)}B",
        f"{amount(found.redis_kept_bytes)}B",
        name,
        f"{gain:+.0%}",
    ]


def utilisations(found: Sequence[Outcome]) -> Table:
    """The busiest stations of each run."""
    rows = []
    for each in found:
        busiest = sorted(each.system.utilisation().items(), key=lambda one: -one[1])[:_BUSY]
        rows.append([each.scenario.name, ", ".join(f"{name} {share:.0%}" for name, share in busiest)])
    return ["run", "busiest"], rows


def checks(compared: Sequence[Compared]) -> Table:
    """Measured beside modelled."""
    header = [
        "items",
        "a judge's latency",
        "processes of `evaluate`",
        "window",
        "items an event",
        "measured",
        "modelled",
        "error",
        "CPU ms an item: measured",
        "modelled",
    ]
    rows = [
        [
            f"{each.measured.items:,}",
            f"{each.measured.latency_s:g} s" if each.measured.judged else "-",
            str(each.measured.evaluate),
            f"{each.measured.window:,}",
            str(each.event_items),
            f"{each.measured.seconds:.1f} s",
            f"{each.seconds:.1f} s",
            f"{each.error:+.0%}",
            f"{each.measured.cpu_ms:.2f}" if each.measured.cpu_ms else "-",
            f"{each.cpu_ms:.2f}",
        ]
        for each in compared
    ]
    return header, rows


def duration(seconds: float) -> str:
    """``46 s``, ``12 min`` or ``2.1 h``."""
    if seconds < 3 * _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 3 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def amount(number: float) -> str:
    """To two digits: ``960``, ``1.5 k``, ``230 M``."""
    for size, unit in _UNITS:
        if number >= size:
            return f"{float(f'{number:.2g}') / size:g} {unit}"
    return f"{number:.0f}"
