"""Nobody is there: how long from the start of a process to its first answer?

Load: a process of `evaluate` is started, and asked as soon as its port takes connections, as an activator would that held the
request; five times with a check alone and five times with a judge (20 ms). Criteria: each answer is right, and each comes
within 2 s.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from bench.rig.ports import free_port
from bench.rig.programs import url
from bench.scenarios.asking import RIGHT, evaluation
from bench.scenarios.stage import Seen, stage
from local.children import spawn, stop
from local.programs import ROOT

if TYPE_CHECKING:
    from bench.scenarios.stage import Stage
    from local.programs import Program

_ROUNDS = 5
_LIMIT_S = 2.0
_GIVE_UP_S = 30.0
_GRACE_S = 6.0


def play() -> Seen:
    """Figures: medians ``first_ms`` (a check) and ``first_judged_ms``, and ``first_max_ms`` of all."""
    judged: dict[str, Any] = json.loads(evaluation("cold"))
    checked = {**judged, "graders": judged["graders"][1:]}
    with stage(provider={"latency_ms": 20}) as scene:
        _first_ms(scene, checked)  # byte code, pages of the disk
        checks = [_first_ms(scene, checked) for _ in range(_ROUNDS)]
        judges = [_first_ms(scene, {**judged, "item": {**judged["item"], "id": f"cold-{n}"}}) for n in range(_ROUNDS)]
        memory_mib = scene.memory_max_mib()
    took = [ms for ms in (*checks, *judges) if ms is not None]
    figures = {
        "first_ms": statistics.median(ms for ms in checks if ms is not None),
        "first_judged_ms": statistics.median(ms for ms in judges if ms is not None),
        "first_max_ms": max(took),
        "rss_max_mib": memory_mib,
    }
    return Seen(
        figures, {"each answer is right": len(took) == 2 * _ROUNDS, "each comes within 2 s": max(took) <= _LIMIT_S * 1000}
    )


def _first_ms(scene: Stage, body: dict[str, Any]) -> float | None:
    """From the start of a process to its first answer; None if that is not right."""
    program = _another(scene)
    began_s = time.monotonic()
    child = spawn("cold", program.argv, env=program.env, cwd=ROOT, log_path=scene.system.log("cold"))
    try:
        while time.monotonic() < began_s + _GIVE_UP_S:
            try:
                answer = scene.system.http.post(url(program), json=body)
            except httpx.ConnectError:
                time.sleep(0.001)
                continue
            ms = (time.monotonic() - began_s) * 1000
            return ms if answer.is_success and RIGHT in answer.text else None
        return None
    finally:
        scene.look()
        stop([child], grace_s=_GRACE_S)


def _another(scene: Stage) -> Program:
    """The program of `evaluate`, on a port of its own."""
    program, port = scene.program("evaluate"), free_port()
    home = scene.system.settings.data_dir / "homes" / "cold"
    home.mkdir(parents=True, exist_ok=True)
    return replace(program, env={**program.env, "PORT": str(port), "HOME": str(home)}, port=port)
