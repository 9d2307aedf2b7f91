"""What runs on one machine: each program's command line, environment, port and sign of readiness."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from local.manifests import BASE
from local.scale import ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.settings import Settings
    from local.manifests import FunctionService, Wiring

ROOT = Path(__file__).resolve().parent.parent
_LOOPBACK = "127.0.0.1"
# The shell's own values of these would reach every function, or make five servers share one control socket.
_NOT_INHERITED = ("K_SINK", "PORT", "HOST", "THREADS", "WORKERS", "FUNCTION_SOURCE", "FUNCTION_TARGET", "XDG_RUNTIME_DIR")


@dataclass(frozen=True, slots=True)
class Program:
    """``ready`` is a path that answers 200 when the program can work, or ``PING`` for the Redis protocol."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)  # holds providers' keys
    port: int
    ready: str = "/readyz"


@dataclass(frozen=True, slots=True)
class Options:
    """How the broker behaves, where the functions find providers and a writable home, and how many processes they have."""

    config_path: Path
    homes: Path
    broker_mode: str = "async"
    broker_faults: str = ""
    scale: Mapping[str, int] = field(default_factory=dict)
    manifests: Path = BASE


def plan(settings: Settings, wiring: Wiring, options: Options) -> list[Program]:
    """Every program, the store first; without the store where ``KNUDGE_REDIS_URL`` names one."""
    shared = _environment(settings, wiring, options)
    programs = [] if settings.environ.get("KNUDGE_REDIS_URL") else [_valkey(settings, shared)]
    scale = ",".join(f"{name}={count}" for name, count in options.scale.items())
    broker = ["--mode", options.broker_mode, "--faults", options.broker_faults, "--scale", scale]
    broker += ["--manifests", str(options.manifests)]
    programs += [
        _module("simulator", settings, shared, ["--port", str(settings.port("simulator"))], ready="/livez"),
        _module("local.broker", settings, shared, ["--port", str(settings.port("broker")), *broker], ready="/livez"),
    ]
    for service in wiring.functions.values():
        programs += _functions(service, settings, shared, options)
    return programs


def _environment(settings: Settings, wiring: Wiring, options: Options) -> dict[str, str]:
    inherited = {name: value for name, value in settings.environ.items() if name not in _NOT_INHERITED}
    return {
        **wiring.settings,
        **inherited,
        "KNUDGE_AUTH": settings.environ.get("KNUDGE_AUTH") or "off",  # everything listens on loopback only
        "KNUDGE_REDIS_URL": settings.redis_url,
        "KNUDGE_BROKER_URL": f"http://{_LOOPBACK}:{settings.port('broker')}",
        "KNUDGE_PORT_BASE": str(settings.port_base),
        "KNUDGE_DATA_DIR": str(settings.data_dir.resolve()),
        "KNUDGE_CONFIG": str(options.config_path),
        "PYTHONUNBUFFERED": "1",
    }


def _valkey(settings: Settings, env: dict[str, str]) -> Program:
    arguments = ["--port", str(settings.port("redis")), "--data-dir", str(settings.data_dir.resolve() / "valkey")]
    argv = (sys.executable, "-m", "local.valkey", *arguments)
    return Program("redis", argv, env, settings.port("redis"), ready="PING")


def _module(module: str, settings: Settings, env: dict[str, str], arguments: list[str], *, ready: str) -> Program:
    name = module.rpartition(".")[2]
    return Program(name, (sys.executable, "-m", module, *arguments), env, settings.port(name), ready)


def _functions(service: FunctionService, settings: Settings, shared: dict[str, str], options: Options) -> list[Program]:
    """The function's processes: ``evaluate``, ``evaluate-2``, …."""
    found = enumerate(ports(settings, service.name, options.scale), 1)
    named = [(service.name if number == 1 else f"{service.name}-{number}", port) for number, port in found]
    return [_function(service, name, port, shared, options) for name, port in named]


def _function(service: FunctionService, name: str, port: int, shared: dict[str, str], options: Options) -> Program:
    env = {
        **service.env,
        **{name: value for name, value in shared.items() if name != "HOME"},
        "KNUDGE_FUNCTION": service.name,
        "FUNCTION_SOURCE": str(ROOT / service.env["FUNCTION_SOURCE"]),
        "HOME": str(options.homes / name),  # gunicorn keeps a socket there, one server each
        "HOST": _LOOPBACK,
        "PORT": str(port),
        "WORKERS": "1",
    }
    return Program(name, (sys.executable, "-m", "functions_framework"), env, port)
