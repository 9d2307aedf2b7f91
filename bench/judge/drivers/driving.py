"""What every driver is: a program that judges so many samples, so many at once, whenever a line on its input says so.

A line is ``{"base_url": ..., "count": ..., "in_flight": ...}``; the answer a line with the number of samples that were judged
to be right, which is all of them when everything went well. Runs in each program's own environment: the standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MODEL, KEY = "stand-in", "none"
CRITERION = "The answer names the same city as the reference. Wording does not matter."


class Case(NamedTuple):
    """What is judged."""

    question: str
    expected: str
    answer: str


def cases(count: int) -> list[Case]:
    """`count` of them, no two alike, so that no cache can answer."""
    return [
        Case(f"What is the capital of the country on page {i} of the atlas?", f"City {i}", f"It is City {i}, I believe.")
        for i in range(count)
    ]


def drive(judge: Callable[[str, int, int], int]) -> None:
    """Serve lines until the input ends. `judge` gets base URL, count and how many at once; returns how many it found right.

    Whatever else is written to standard output goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        wanted = json.loads(line)
        right = judge(wanted["base_url"], wanted["count"], wanted["in_flight"])
        print(json.dumps({"right": right}), file=answers, flush=True)


async def each(count: int, in_flight: int, judge: Callable[[Case], Awaitable[bool]]) -> int:
    """How many of `count` cases `judge` finds right, `in_flight` at once."""
    waiting = iter(cases(count))

    async def work() -> int:
        return sum([await judge(case) for case in waiting])

    return sum(await asyncio.gather(*(work() for _ in range(in_flight))))
