"""Which requests are equal: the name under which an answer is kept."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import orjson

from common.schemas.completion import CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.config import GatewayConfig

_FORM = 1  # of keys and kept answers; another form finds none of the former
_DIGEST_BYTES = 24  # 192 bits: nobody finds two requests with one name
# Whatever else a request has makes a difference, also a field that is added one day. The model is in the setup.
_WITHOUT_EFFECT = frozenset({"model", "deadline_s", "origin", "marker", "cache", "still_wanted", "waits"})
_LIMITS = {"rpm", "tpm", "max_concurrency", "timeout_s", "price"}  # of a model: whether and when it answers, not what
_SPECIAL = frozenset({"messages", "temperature", "top_p", "passthrough"})
_PLAIN = tuple(f.name for f in fields(CompletionRequest) if f.name not in _WITHOUT_EFFECT | _SPECIAL)


def setup_of(models: Sequence[str], config: GatewayConfig) -> str:
    """The models that may answer and how each is asked; a name that is pointed somewhere else gets other answers."""
    asked = []
    for model in models:
        limits = config.models.get(model)
        provider = config.providers[model.partition(":")[0]].model_dump_json(exclude={"api_key_env"})
        shape = limits.model_dump_json(exclude=_LIMITS, exclude_unset=True) if limits else ""
        asked.append([model, provider, shape])
    return orjson.dumps(asked).decode()


def request_key(request: CompletionRequest, setup: str) -> str | None:
    """32 characters, equal for equal requests only; None for a request that has no JSON form.

    Equal means: byte for byte what the model gets to read, the same sampling and sample number, the same project (nobody
    learns what others asked by how fast an answer comes). Only the fence's marker may differ: a text is cut at each
    occurrence of it, and its pieces stand in the key, so that no text can look like a fence. The order of fields inside
    schemas and tools counts, because models see it.
    """
    canonical = [
        _FORM,
        setup,
        request.origin.project,
        [[m.role, _cut(m.content, request.marker), m.extra] for m in request.messages],
        _number(request.temperature),
        _number(request.top_p),
        sorted(request.passthrough.items()),
        [[name, getattr(request, name)] for name in _PLAIN],
    ]
    try:
        written = orjson.dumps(canonical)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits
        return None
    digest = hashlib.sha256(written).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest).decode()


def _cut(content: Any, marker: str | None) -> Any:
    """`content` with every text in it as the list of its pieces between occurrences of `marker`."""
    if not marker:
        return content
    if isinstance(content, str):
        return content.split(marker)
    if isinstance(content, list):
        return [_cut(part, marker) for part in content]
    if isinstance(content, dict):
        return {name: _cut(part, marker) for name, part in content.items()}
    return content


def _number(value: float | None) -> float | None:
    """0 and 0.0 are one temperature."""
    return None if value is None else float(value)
