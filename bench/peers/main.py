"""``bin/bench peers --setup``: install the programs that others are measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gateway.peers import LITELLM, PORTKEY
from bench.judge.peers import JUDGES
from bench.rig.homes import Missing
from bench.rig.table import show

if TYPE_CHECKING:
    import argparse

    from bench.rig.homes import Home

_THERE = "there"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--setup", action="store_true", help="install what is missing (several GB, minutes); else only look")


def run(*, rounds: int, setup: bool) -> dict[str, float]:
    """Figures ``<peer>_there``: 1 where it is installed as pinned, else 0."""
    del rounds
    homes = [LITELLM, PORTKEY, *(peer.home for peer in JUDGES if peer.home)]
    states = {home.name: _state(home, setup=setup) for home in homes}
    show(["peer", "pinned", "state"], [[home.name, home.requirements[0], states[home.name]] for home in homes])
    return {f"{name}_there": float(state == _THERE) for name, state in states.items()}


def _state(home: Home, *, setup: bool) -> str:
    try:
        if setup:
            home.made()
    except Missing as error:
        return f"missing: {error}"
    return _THERE if home.is_there else "missing: bin/bench peers --setup"
