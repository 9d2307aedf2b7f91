"""Is everything there? Each function's own routes, one evaluation, a batch, a chat completion, and a run to its report.

Load: one request at a time, and a run of 100 items. Criteria: each answer is as documented, and the run is exact.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bench.scenarios.asking import RIGHT, evaluation
from bench.scenarios.running import Run, is_exact
from bench.scenarios.stage import Seen, stage
from common.settings import FUNCTIONS

if TYPE_CHECKING:
    from bench.scenarios.stage import Stage

_STANDARD = ("/livez", "/readyz", "/metrics", "/openapi.json")
_ITEMS = 100
_LINES = 20
_RUN_S = 60.0


def play() -> Seen:
    """Figures: ``seconds`` of all, ``run_seconds``."""
    with stage(provider={"latency_ms": 20}) as scene:
        began_s = time.monotonic()
        criteria = {
            "every function answers its standard routes": _standard(scene),
            "one evaluation is judged": _one(scene),
            "a batch answers each line": _batch(scene),
            "a chat completion comes": _chat(scene),
        }
        run = Run(scene, _ITEMS)
        criteria["a run is exact"] = is_exact(run.finish(limit_s=_RUN_S))
        criteria["its report is there"] = _answers(scene, "aggregate", f"/runs/{run.run_id}/report")
        figures = {"seconds": time.monotonic() - began_s, "run_seconds": run.seconds, "rss_max_mib": scene.memory_max_mib()}
        return Seen(figures, criteria)


def _answers(scene: Stage, function: str, path: str) -> bool:
    return scene.system.http.get(scene.url(function, path)).is_success


def _standard(scene: Stage) -> bool:
    return all(_answers(scene, function, path) for function in FUNCTIONS for path in _STANDARD)


def _one(scene: Stage) -> bool:
    answer = scene.system.http.post(scene.url("evaluate"), content=evaluation("one"))
    return answer.is_success and RIGHT in answer.text


def _batch(scene: Stage) -> bool:
    lines = [evaluation(f"line-{number}") for number in range(_LINES)]
    headers = {"content-type": "application/x-ndjson"}
    answer = scene.system.http.post(scene.url("evaluate", "/batch"), content="\n".join(lines), headers=headers)
    return answer.is_success and answer.text.count(RIGHT) == _LINES


def _chat(scene: Stage) -> bool:
    body = {"model": "judge", "messages": [{"role": "user", "content": "Hello?"}]}
    answer = scene.system.http.post(scene.url("completions", "/v1/chat/completions"), content=json.dumps(body))
    return answer.is_success and bool(answer.json()["choices"])
