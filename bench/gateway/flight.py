"""Figure 4: 100 equal requests at the same time, in 4 processes: how many of them reach the provider."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench.gateway.fleet import behave, fleet
from bench.gateway.member import Job
from bench.rig.programs import load_average, provider, running, url, valkey
from bench.rig.table import show

_PROCESSES, _CALLERS = 4, 25
_LATENCY_MS = 500
_DONE_WITHIN_S = 60.0


def run() -> dict[str, float]:
    """Figures ``single_flight_...``. A few seconds."""
    load = load_average()
    with TemporaryDirectory(prefix="knudge-bench-") as name:
        folder = Path(name)
        store, model = valkey(folder), provider("model", "simulator")
        config = {
            "providers": {"lab": {"kind": "simulator", "base_url": f"{url(model)}/v1"}},
            "cache": {"judges": True},
        }
        redis_url = f"redis://127.0.0.1:{store.port}/0"
        job = Job(redis_url, config, ["lab:judge"], callers=_CALLERS, calls=1, same=True)
        with running([store, model], folder), fleet(job, _PROCESSES) as members:
            behave(url(model), latency_ms=_LATENCY_MS)
            members.go()
            made = members.wait(within_s=_DONE_WITHIN_S)
            calls = httpx.get(f"{url(model)}/stats").json()["calls"]
    waited_ms = sorted(call.latency_ms for call in made)
    figures: dict[str, float] = {
        "single_flight_calls": calls,
        "single_flight_answers": sum(call.code == "ok" for call in made),
        "single_flight_last_ms": waited_ms[-1],
    }
    title = f"single flight, {len(made)} requests, {_LATENCY_MS} ms upstream, load {load:.2f}"
    show([title, "value"], [[name, figures[name]] for name in figures])
    print(f"  {dict(Counter(call.code for call in made))}")
    return figures
