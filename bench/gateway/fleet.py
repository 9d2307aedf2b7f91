"""Several gateway processes that do the same job at the same time."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from bench.gateway.member import Made
from bench.rig.homes import environment
from local.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.gateway.member import Job

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Members, each with a gateway of its own and the shared store. All are ready; none has begun."""

    members: tuple[subprocess.Popen[str], ...]

    def go(self) -> float:
        """Let all begin; returns the unix time."""
        for member in self.members:
            _tell(member, "go")
        return time.time()

    def finish(self, *, within_s: float) -> list[Made]:
        """Every call that was made, once the calls under way have ended. Members whose job is endless are told to stop."""
        for member in self.members:
            _tell(member, "stop")
        return self.wait(within_s=within_s)

    def wait(self, *, within_s: float) -> list[Made]:
        """Every call that was made by members whose job has an end."""
        deadline_s = time.monotonic() + within_s
        made: list[Made] = []
        for member in self.members:
            told = _heard(member, within_s=deadline_s - time.monotonic())
            made += [Made(**each) for each in json.loads(told)]
        return made


@contextmanager
def fleet(job: Job, processes: int) -> Iterator[Fleet]:
    """`processes` members with `job`, each with a seed of its own; ended on the way out."""
    argv = [sys.executable, "-m", "bench.gateway.member"]
    members: list[subprocess.Popen[str]] = []
    try:
        for number in range(processes):
            member = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            members.append(member)
            _tell(member, json.dumps(asdict(replace(job, seed=number))))
        for member in members:
            _heard(member, within_s=_START_S)
        yield Fleet(tuple(members))
    finally:
        for member in members:
            if member.poll() is None:
                member.kill()
            member.wait(_START_S)
            for pipe in (member.stdin, member.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()


def _tell(member: subprocess.Popen[str], line: str) -> None:
    if member.stdin is not None and member.poll() is None:
        member.stdin.write(line + "\n")
        member.stdin.flush()


def _heard(member: subprocess.Popen[str], *, within_s: float) -> str:
    """The next line that `member` says. Its input stays open: at its end it would stop."""
    if member.stdout is None or not select.select([member.stdout], [], [], max(0.0, within_s))[0]:
        raise RuntimeError("a gateway process is not done in time")
    line = member.stdout.readline()
    if not line:
        raise RuntimeError(f"a gateway process ended with exit code {member.wait(_START_S)}")
    return line


def behave(provider_url: str, **behaviour: Any) -> None:
    """Tell a simulator how to answer from now on."""
    httpx.post(f"{provider_url}/faults", json=behaviour).raise_for_status()


@dataclass(frozen=True, slots=True)
class Seen:
    """A call as the provider saw it, at unix time ``at_s``; ``refused`` with 429 or failed."""

    at_s: float
    tokens: int
    refused: bool


def seen_by(provider_url: str) -> list[Seen]:
    """Every call that reached a provider, in order."""
    return [Seen(at_s, tokens, bool(refused)) for at_s, tokens, refused in httpx.get(f"{provider_url}/calls").json()]
