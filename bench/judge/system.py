"""`evaluate` as `bin/serve` runs it, with its store and a stand-in for the model, for the benches that load it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from bench.rig.programs import function, provider, running, url, valkey
from common.store.apikeys import ApiKeyStore
from local.manifests import read_wiring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from local.children import Child
    from local.programs import Program

LATENCIES_MS = (0, 50, 2000)
_MANY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class System:
    """Programs under way; ``key`` is an API key that `evaluate` takes."""

    model_url: str
    evaluate_urls: tuple[str, ...]
    key: str
    children: Mapping[str, Child]

    def pid(self, name: str) -> int:
        """Of ``evaluate`` (``evaluate-2``, ...), ``redis`` or ``model``."""
        return self.children[name].process.pid


@contextmanager
def system(folder: Path, *, processes: int = 1, **switches: str) -> Iterator[System]:
    """So many processes of `evaluate`, sharing a store; `switches` go into their environment.

    Everything is on: authentication, and every limit and a hard budget, none of them felt.
    """
    store, model = valkey(folder), provider("model", "bench.rig.model_server")
    config = folder / "judge.json"
    config.write_text(json.dumps(_config(url(model))), encoding="utf-8")
    pods = [_evaluate(number, store, config, folder, switches) for number in range(1, processes + 1)]
    with running([store, model], folder) as parts:
        with redis.Redis(port=store.port) as client:
            key = ApiKeyStore(client).create("bench")[1]
        with running(pods, folder) as children:
            yield System(url(model), tuple(map(url, pods)), key, {**parts, **children})


def model_name(latency_ms: int) -> str:
    """The model that answers after so long, one of `LATENCIES_MS`."""
    return f"after{latency_ms}:judge"


def _evaluate(number: int, store: Program, config: Path, folder: Path, switches: Mapping[str, str]) -> Program:
    deployed = read_wiring().functions["evaluate"].env
    settings = {
        **{name: value for name, value in deployed.items() if name.startswith("MALLOC_")},
        "KNUDGE_AUTH": "on",
        "KNUDGE_CONFIG": str(config),
        "KNUDGE_FUNCTION": "evaluate",
        "KNUDGE_REDIS_URL": f"redis://127.0.0.1:{store.port}/0",
        **switches,
    }
    name = "evaluate" if number == 1 else f"evaluate-{number}"
    return function(name, "functions/evaluate/main.py", "evaluate", folder, **settings)


def _config(model_url: str) -> dict[str, Any]:
    limits = {
        "rpm": _MANY,
        "tpm": 1000 * _MANY,
        "max_concurrency": 1_000_000,
        "price": {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 4.0},
    }
    return {
        "budgets": {"projects": {"default": _MANY}},
        "providers": {
            f"after{latency_ms}": {"kind": "openai", "base_url": f"{model_url}/knudge/{latency_ms}/v1"}
            for latency_ms in LATENCIES_MS
        },
        "models": {model_name(latency_ms): limits for latency_ms in LATENCIES_MS},
    }
