"""Figure 1: one limit, shared by 1, 4 and 16 gateway processes, against providers that enforce it truly.

Two providers at once, each with a limit over any 60 s: one of 600 requests a minute, one of 60,000 tokens a minute. 32 callers
in all, as many of them for either. After a warm-up of 5 s a window of 60 s is looked at:

* share of 429s: refused calls / calls that reached the provider, from the first call to the last.
* use: what the provider answered within that window / what it allows in 60 s.
* overshoot: what reached the provider, refused or not, in the fullest of all windows of 60 s / what it allows - 1; 0 if less.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.gateway.fleet import behave, fleet, seen_by
from bench.gateway.member import Job
from bench.rig.programs import load_average, provider, running, url, valkey
from bench.rig.table import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gateway.fleet import Seen
    from local.programs import Program

_CALLERS = 32
_RPM, _TPM = 600, 60_000
_WARM_UP_S = 5.0
WINDOW_S = 60.0
_LATENCY_MS, _JITTER_MS = 50, 50
_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it was kept, in shares."""

    share_429: float
    use: float
    overshoot: float


def run(processes: Sequence[int]) -> dict[str, float]:
    """Figures ``limit_<n>_...`` for the requests, ``limit_<n>_tokens_...`` for the tokens. 70 s for each of `processes`."""
    figures: dict[str, float] = {}
    rows: list[list[object]] = []
    for number in processes:
        load = load_average()
        for name, limit in _measure(number).items():
            prefix = f"limit_{number}_" if name == "rpm" else f"limit_{number}_tokens_"
            figures |= {
                f"{prefix}share_429": limit.share_429,
                f"{prefix}use": limit.use,
                f"{prefix}overshoot": limit.overshoot,
            }
            percent = [f"{100 * share:.2f}" for share in (limit.share_429, limit.use, limit.overshoot)]
            rows.append([f"{number} processes, {name}", *percent, load])
    show(["shared limit", "429s %", "use %", "overshoot %", "load before"], rows)
    return figures


def _measure(processes: int) -> dict[str, Limit]:
    with TemporaryDirectory(prefix="knudge-bench-") as name:
        folder = Path(name)
        store, by_requests, by_tokens = valkey(folder), provider("requests"), provider("tokens")
        job = Job(
            redis_url=f"redis://127.0.0.1:{store.port}/0",
            config=_config(by_requests, by_tokens),
            models=["requests:judge", "tokens:judge"],
            callers=2 * _CALLERS // processes,
            max_tokens=256,
            deadline_s=_DEADLINE_S,
        )
        with running([store, by_requests, by_tokens], folder), fleet(job, processes) as members:
            behave(url(by_requests), latency_ms=_LATENCY_MS, jitter_ms=_JITTER_MS, rpm=_RPM)
            behave(url(by_tokens), latency_ms=_LATENCY_MS, jitter_ms=_JITTER_MS, tpm=_TPM)
            began_s = members.go()
            time.sleep(_WARM_UP_S + WINDOW_S)
            made = members.finish(within_s=2 * _DEADLINE_S)
            seen = {"rpm": seen_by(url(by_requests)), "tpm": seen_by(url(by_tokens))}
    for model in job.models:
        codes = Counter(call.code for call in made if call.model == model)
        print(f"  {processes} processes, {model}: {dict(codes)}")
    return {
        "rpm": kept(seen["rpm"], began_s, allowed=_RPM, by_tokens=False),
        "tpm": kept(seen["tpm"], began_s, allowed=_TPM, by_tokens=True),
    }


def _config(by_requests: Program, by_tokens: Program) -> dict[str, object]:
    return {
        "providers": {
            "requests": {"kind": "simulator", "base_url": f"{url(by_requests)}/v1"},
            "tokens": {"kind": "simulator", "base_url": f"{url(by_tokens)}/v1"},
        },
        "models": {
            "requests:judge": {"rpm": _RPM, "tpm": 100 * _TPM, "timeout_s": 5.0},
            "tokens:judge": {"rpm": 100 * _RPM, "tpm": _TPM, "timeout_s": 5.0},
        },
    }


def kept(seen: Sequence[Seen], began_s: float, *, allowed: int, by_tokens: bool) -> Limit:
    """How a limit of `allowed` calls, or tokens, in any 60 s was kept; `seen` in order of time."""
    weighed = [(call.at_s, call.tokens if by_tokens else 1) for call in seen]
    from_s = began_s + _WARM_UP_S
    answered = sum(
        weight
        for call, (at_s, weight) in zip(seen, weighed, strict=True)
        if not call.refused and from_s <= at_s < from_s + WINDOW_S
    )
    return Limit(
        share_429=sum(call.refused for call in seen) / max(1, len(seen)),
        use=answered / allowed,
        overshoot=max(0.0, fullest(weighed) / allowed - 1),
    )


def fullest(weighed: Sequence[tuple[float, int]]) -> int:
    """The most that any window of 60 s, open at its beginning, holds; `weighed` in order of time."""
    most = held = first = 0
    for at_s, weight in weighed:
        held += weight
        while weighed[first][0] <= at_s - WINDOW_S:
            held -= weighed[first][1]
            first += 1
        most = max(most, held)
    return most
