"""``python -m bench.chaos.provider --port N``: the simulator, with an account of every call that a provider would keep.

``GET /calls`` answers a list of ``[item, grader, outcome, prompt tokens, completion tokens]``, in the order in which the calls
ended; outcomes are those of `Outcome`. ``GET /open`` is the number of calls that are not accounted for yet.

The item's id is in the prompt, fenced as ``item.id``, and the grader's name after ``Grader:``: the provider asks nobody. A
reply is ``kept`` when its connection is still open `LIVED_S` after it was sent: a process keeps connections for seconds that it
does not use, so one that is closed so soon has died with its process.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Literal

import orjson

from bench.rig.witness import command
from simulator.server import Exchange, Simulator

if TYPE_CHECKING:
    from simulator.answers import Answer
    from simulator.faults import Fault
    from simulator.server import Receive, Scope, Send

Outcome = Literal["kept", "died", "malformed", "refused", "left"]
"""A usable reply to a process that lived on, or to one that had died or died within `LIVED_S`; a reply that is no JSON; 429,
5xx or no answer at all; a caller that left before the answer."""

LIVED_S = 0.1
_ITEM, _GRADER = re.compile(r'name="item.id">\n([^\n]+)\n'), re.compile(r"Grader: (\w+)")
_CALL = "knudge.bench.call"


class Witness(Simulator):
    """A simulator that remembers what it was asked, and what became of its answers."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[str, str, Outcome, int, int]] = []
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/calls":
                await Exchange(scope, receive, send).reply(200, orjson.dumps(self._calls))
            case "/open":
                await Exchange(scope, receive, send).reply(200, orjson.dumps(self._open))
            case "/v1/chat/completions":
                await self._witnessed(scope, receive, send)
            case _:
                await super().__call__(scope, receive, send)

    async def _witnessed(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard = bytearray()

        async def overhear() -> dict[str, Any]:
            message = await receive()
            heard.extend(message.get("body", b""))
            return message

        call = _Call(scope["extensions"]["transport"])
        self._open += 1
        try:
            scope[_CALL] = call
            await super().__call__(scope, overhear, send)
        finally:
            asyncio.get_running_loop().call_later(LIVED_S, self._account, call, bytes(heard))

    def _account(self, call: _Call, body: bytes) -> None:
        item, grader = identity(body)
        self._calls.append((item, grader, call.outcome(), call.prompt_tokens, call.completion_tokens))
        self._open -= 1

    async def _refused(self, said: Answer, fault: Fault | None, exchange: Exchange) -> bool:
        call: _Call = exchange.scope[_CALL]
        refused = await super()._refused(said, fault, exchange)
        call.ended = "refused" if refused else "malformed" if fault == "malformed" else "replied"
        if not refused:
            call.prompt_tokens, call.completion_tokens = said.prompt_tokens, said.completion_tokens
        return refused


class _Call:
    """One call under way."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.ended: Literal["left", "refused", "malformed", "replied"] = "left"
        self.prompt_tokens = self.completion_tokens = 0

    def outcome(self) -> Outcome:
        """What became of it, asked `LIVED_S` after its end."""
        if self.ended != "replied":
            return self.ended
        return "died" if self._transport.is_closing() else "kept"


def identity(body: bytes) -> tuple[str, str]:
    """(item, grader) that a request is about; empty where it does not say."""
    try:
        messages = orjson.loads(body)["messages"]
        text = "\n".join(str(message["content"]) for message in messages)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = ""
    item, grader = _ITEM.search(text), _GRADER.search(text)
    return item[1] if item else "", grader[1] if grader else ""


if __name__ == "__main__":
    command(Witness)()
