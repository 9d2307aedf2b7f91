"""The gateway: shared limits, a dead provider, a budget, single flight, and what a call costs. All on loopback.

Each part has a module of its own, which says what its figures mean.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from bench.rig.programs import ended_by_signals

PARTS = ("limit", "dead", "budget", "flight", "cost")
_PROCESSES = (1, 4, 16)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--only", type=_parts, default=PARTS, metavar="PARTS", help=f"some of {','.join(PARTS)} (default: all)")
    parser.add_argument(
        "--processes", type=_numbers, default=_PROCESSES, metavar="N,...", help="limit: gateway processes (default 1,4,16)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="cost: length of a measurement (default 5; 15 to 60 of them a round)"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="cost: also LiteLLM and Portkey, set up below .knudge/bench, and nginx if it is here",
    )


def run(*, rounds: int, only: tuple[str, ...], processes: tuple[int, ...], seconds: float, peers: bool) -> dict[str, float]:
    """Figures of the parts in `only`."""
    arguments: dict[str, dict[str, Any]] = {
        "limit": {"processes": processes},
        "cost": {"rounds": rounds, "seconds": seconds, "peers": peers},
    }
    figures: dict[str, float] = {}
    with ended_by_signals():
        for part in only:
            print(f"\n{part}", flush=True)
            figures |= importlib.import_module(f"bench.gateway.{part}").run(**arguments.get(part, {}))
    return figures


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return chosen


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
