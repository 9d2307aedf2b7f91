"""Simulators of a bench's own kind, which note what they see, served as the simulator itself is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simulator.running import make_server

if TYPE_CHECKING:
    from simulator.server import Simulator


def command(kind: type[Simulator]) -> click.Command:
    """``--port N``: serve one of `kind` until interrupted."""

    @click.command()
    @click.option("--host", default="127.0.0.1", show_default=True)
    @click.option("--port", type=int, required=True)
    def main(host: str, port: int) -> None:
        make_server(kind(), host=host, port=port).run()

    return main
