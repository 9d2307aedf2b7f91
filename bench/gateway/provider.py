"""``python -m bench.gateway.provider --port N``: the simulator, with a list of when each call arrived.

``GET /calls`` answers ``[[unix time in s, tokens, 1 if refused or failed else 0], ...]``. A call is noted when the simulator
has waited its latency and decides, which is the moment that its own limit counts by.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from bench.rig.witness import command
from simulator.server import Exchange, Simulator

if TYPE_CHECKING:
    from simulator.answers import Answer
    from simulator.faults import Fault
    from simulator.server import Receive, Scope, Send


class Witness(Simulator):
    """A simulator that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[float, int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/calls":
            await Exchange(scope, receive, send).reply(200, orjson.dumps(self._seen))
        else:
            await super().__call__(scope, receive, send)

    async def _refused(self, said: Answer, fault: Fault | None, exchange: Exchange) -> bool:
        decided_s = time.time()
        refused = await super()._refused(said, fault, exchange)
        self._seen.append((decided_s, said.prompt_tokens + said.completion_tokens, int(refused)))
        return refused


if __name__ == "__main__":
    command(Witness)()
