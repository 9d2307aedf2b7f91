"""The local runtime as the bench needs it: several processes a function, short times, a provider that keeps an account."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from bench.chaos.oracle import INPUT_MICROUSD, OUTPUT_MICROUSD
from bench.rig.ports import free_base
from common.settings import Settings
from local.manifests import BASE, read_wiring
from local.programs import Options, Program, plan
from local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODEL = "simulator:judge"
_RPM = 600_000  # far above what is asked: refusals at random teach nothing about the pace that a provider allows
_SCALE = MappingProxyType({"evaluate": 2, "aggregate": 2})
_SPAN = 20  # ports
_HTTP_S = 30.0
_NOT_INHERITED = ("KNUDGE_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "OPENROUTER_")


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds, shorter than the manifests', so that a run of a minute sees what happens to longer ones.

    They nest as those do: a call to the model, an event's deadline, a delivery, a lease. ``overtaken_s`` is when an event is
    taken for lost that others have overtaken, ``tick_s`` the reconciler's.
    """

    model_s: int = 5
    deadline_s: int = 12
    delivery_s: int = 14
    lease_s: int = 15
    overtaken_s: float = 3
    tick_s: int = 5


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs, and how to speak to it."""

    settings: Settings
    supervisor: Supervisor
    http: httpx.Client

    def url(self, name: str) -> str:
        """Base URL of a function, ``broker`` or ``simulator``."""
        return f"http://127.0.0.1:{self.settings.port(name)}"

    def get(self, name: str, path: str, **query: Any) -> Any:
        """The JSON that a function answers. Raises `httpx.HTTPError`."""
        return self.http.get(f"{self.url(name)}{path}", params=query).raise_for_status().json()

    def post(self, name: str, path: str, **content: Any) -> Any:
        """As `get`."""
        return self.http.post(f"{self.url(name)}{path}", **content).raise_for_status().json()

    def log(self, name: str) -> Path:
        """A program's log."""
        return self.supervisor.data_dir / "logs" / f"{name}.log"


@contextmanager
def running(
    *,
    provider: Mapping[str, float],
    broker_mode: str = "async",
    broker_faults: str = "",
    times: Times = Times(),
    scale: Mapping[str, int] = _SCALE,
    gateway: Mapping[str, Any] = MappingProxyType({}),
    **environment: str,
) -> Iterator[System]:
    """A system that is ready, and stopped on the way out; its data are gone then. With ``KNUDGE_REDIS_URL`` it has no store.

    Args:
        provider: What the provider does, as `simulator.faults.Behaviour` has it.
        scale: Processes of a function, 1 of those that are not named.
        gateway: More fields of the gateway's configuration.
    """
    with tempfile.TemporaryDirectory(prefix="knudge-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        settings = Settings.from_env(_environment(folder, times) | environment)
        manifests = _quicker(folder / "manifests", times)
        config = _config(settings, folder, times, gateway)
        options = Options(config, folder / "homes", broker_mode, broker_faults, scale, manifests)
        programs = [_changed(program) for program in plan(settings, read_wiring(manifests), options)]
        supervisor = Supervisor(programs, folder, restart=True)
        with supervisor.running(), httpx.Client(timeout=_HTTP_S) as http:
            system = System(settings, supervisor, http)
            system.post("simulator", "/faults", json=dict(provider))
            yield system


def _environment(folder: Path, times: Times) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return {
        **inherited,
        "KNUDGE_PORT_BASE": str(free_base(_SPAN)),
        "KNUDGE_DATA_DIR": str(folder),
        "KNUDGE_DEADLINE_S": str(times.deadline_s),
        "KNUDGE_LEASE_S": str(times.lease_s),
        "KNUDGE_OVERTAKEN_S": str(times.overtaken_s),
    }


def _quicker(folder: Path, times: Times) -> Path:
    """The manifests with a quicker reconciler and shorter deliveries of `evaluate`'s events."""
    shutil.copytree(BASE, folder)
    _edit(folder / "reconciler.yaml", r"schedule: .*", f'schedule: "*/{times.tick_s} * * * * *"')
    _edit(folder / "triggers.yaml", r"timeout: PT\d{3}S", f"timeout: PT{times.delivery_s}S")  # the others' are below 100 s
    return folder


def _edit(path: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, path.read_text(encoding="utf-8"))
    if count != 1:
        raise RuntimeError(f"{path.name} says {old!r} {count} times")
    path.write_text(text, encoding="utf-8")


def _config(settings: Settings, folder: Path, times: Times, more: Mapping[str, Any]) -> Path:
    path = folder / "gateway.json"
    price = {"input_per_mtok_usd": INPUT_MICROUSD, "output_per_mtok_usd": OUTPUT_MICROUSD}
    config = {
        "providers": {"simulator": {"kind": "simulator", "base_url": f"{settings.public_urls['simulator']}/v1"}},
        "models": {_MODEL: {"timeout_s": times.model_s, "rpm": _RPM, "price": price}},
        "routes": {"judge": {"models": [_MODEL]}},
        **more,
    }
    path.write_bytes(orjson.dumps(config))
    return path


def _changed(program: Program) -> Program:
    if program.name == "simulator":
        return replace(program, argv=(sys.executable, "-m", "bench.chaos.provider", "--port", str(program.port)))
    if program.name == "broker":
        return replace(program, env={**program.env, "KNUDGE_LOG_LEVEL": "DEBUG", "KNUDGE_LOG_FORMAT": "json"})
    return program
