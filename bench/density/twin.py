"""The same judgement on Flask threads, as one would write it without an event loop: a call that blocks its thread."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import TYPE_CHECKING

import functions_framework

from common.edge.validation import parse
from common.schemas.evaluation import EvaluationRequest

if TYPE_CHECKING:
    import flask
    import httpx

_RIGHT = 4
_TIMEOUT_S = 30.0


@cache
def _client() -> httpx.Client:
    import httpx

    return httpx.Client(timeout=_TIMEOUT_S, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))


@functions_framework.http  # type: ignore[untyped-decorator]  # the framework has no types
def judge(request: flask.Request) -> flask.typing.ResponseReturnValue:
    """An evaluation by one judge at ``JUDGE_URL``; no limits, no store, nothing but the call. A GET is a probe."""
    if request.method == "GET":
        return "ok"
    evaluation = parse(request.get_data(), EvaluationRequest)
    shown = json.dumps([evaluation.item, evaluation.sample.output_text])
    body = {"model": "judge", "messages": [{"role": "user", "content": shown}]}
    said = _client().post(f"{os.environ['JUDGE_URL']}/chat/completions", json=body).json()
    score = json.loads(said["choices"][0]["message"]["content"])["score"]
    return {"passed": score >= _RIGHT, "usage": said["usage"]}
