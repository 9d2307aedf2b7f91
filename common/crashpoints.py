"""Named places between two steps, at each of which a test may kill the process to prove that nothing is lost there.

``KNUDGE_CRASH_AT=evaluate.saved:3`` kills it the third time it passes ``evaluate.saved``. In service none is armed, and
passing a point costs a comparison.

A server and its workers die together, as a killed pod does: a server that lived on would start another worker, armed as the
first one was.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

POINTS = (
    "evaluate.received",  # an event was understood, nothing is done
    "evaluate.taken",  # the items are claimed and loaded
    "evaluate.sampled",  # a target has answered, the sample is not stored
    "evaluate.judged",  # a grader has spoken, the verdict is not stored
    "evaluate.saved",  # everything of the event is stored, nobody was told
    "evaluate.replying",  # the answer stands, it is not sent
    "aggregate.received",
    "aggregate.loaded",  # results are read, not counted
    "aggregate.folded",  # counted; no more was asked for, no end announced
    "aggregate.announced",  # the broker has `run.completed`, which is not noted
    "tasks.received",
    "tasks.issued",  # items have leases, no event is sent
    "tasks.published",  # events are accepted, what became of them is not noted
    "tasks.given_up",  # unscored verdicts are stored, nobody was told
    "tasks.unfolded",  # a stretch of a retry is taken out, nobody was asked to go on
    "tasks.announced",  # the broker has `run.completed`, which is not noted
)
_SPEC = re.compile(r"([a-z_.]+)(?::([1-9]\d{0,6}))?")


@dataclass(slots=True)
class _Bomb:
    """Which point, and how many passes are left."""

    point: str = ""
    left: int = 0


_bomb = _Bomb()


def arm(spec: str) -> None:
    """Kill this process at ``POINT`` or ``POINT:N`` (the n-th pass); an empty `spec` disarms.

    Raises:
        ValueError: no such point, or no such form.
    """
    found = _SPEC.fullmatch(spec)
    if spec and (found is None or found[1] not in POINTS):
        raise ValueError(f"KNUDGE_CRASH_AT: expected POINT or POINT:N with a point of {', '.join(POINTS)}")
    _bomb.point = found[1] if found else ""
    _bomb.left = int(found[2] or 1) if found else 0


def crash_point(name: str) -> None:
    """The process passes `name`, or its process group ends here as if the machine had lost power."""
    if name != _bomb.point:
        return
    _bomb.left -= 1
    if _bomb.left == 0:
        os.killpg(os.getpgrp(), signal.SIGKILL)
