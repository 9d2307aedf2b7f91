"""The only module that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

    from common.schemas.config import CallersConfig, GatewayConfig

MIB = 1024 * 1024
FUNCTIONS = ("evaluate", "aggregate", "health", "tasks", "completions")
_PORT_OFFSETS = {
    "broker": 0,
    "evaluate": 1,
    "aggregate": 2,
    "health": 3,
    "tasks": 4,
    "completions": 5,
    "simulator": 6,
    "redis": 9,
}

# Providers that exist without a configuration file, as soon as their usual variable is set.
_KEYED_PROVIDERS = {
    "openai": ("openai", "OPENAI_API_KEY", "https://api.openai.com/v1"),
    "anthropic": ("anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com"),
    "gemini": ("gemini", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com"),
    "openrouter": ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the environment decides. Durations in seconds, sizes in bytes.

    ``broker_url`` is where events are posted: SinkBinding's ``K_SINK`` in a cluster, the local broker otherwise.
    ``public_urls`` maps a function to the base URL that users reach it by.
    """

    function: str = "knudge"
    redis_url: str = "redis://127.0.0.1:8089/0"
    redis_timeout_s: float = 2.0
    broker_url: str = "http://127.0.0.1:8080"
    port_base: int = 8080
    auth: bool = True
    config_path: Path | None = None
    data_dir: Path = Path(".knudge")
    public_urls: Mapping[str, str] = field(default_factory=dict)
    max_body_bytes: int = 4 * MIB
    max_file_bytes: int = 512 * MIB
    default_deadline_s: float = 60.0
    max_concurrency: int = 100
    batch_concurrency: int = 64
    run_window_items: int = 512
    run_batch_items: int = 0
    lease_s: float = 120.0
    overtaken_s: float = 5.0
    item_attempts: int = 5
    run_deadline_s: float = 604_800.0
    run_keep_days: int = 0
    limit_global_rpm: int = 0
    limit_project_rpm: int = 0
    limit_key_rpm: int = 0
    limits_on_store_failure: str = "closed"
    log_level: str = "INFO"
    log_format: str = "json"
    build: str = ""
    crash_at: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # providers' keys are looked up by name, here only

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read `env` (default: the process environment).

        Raises:
            InvalidInput: a variable does not parse; the message names it and what was expected.
        """
        env = dict(os.environ if env is None else env)
        base = _port_base(env)
        return cls(
            function=env.get("KNUDGE_FUNCTION") or env.get("FUNCTION_TARGET") or "knudge",
            redis_url=env.get("KNUDGE_REDIS_URL") or f"redis://127.0.0.1:{base + _PORT_OFFSETS['redis']}/0",
            redis_timeout_s=_number(env, "KNUDGE_REDIS_TIMEOUT_S", 2.0),
            broker_url=env.get("K_SINK") or env.get("KNUDGE_BROKER_URL") or f"http://127.0.0.1:{base}",
            port_base=base,
            auth=_switch(env, "KNUDGE_AUTH", default=True),
            config_path=Path(env["KNUDGE_CONFIG"]) if env.get("KNUDGE_CONFIG") else None,
            data_dir=Path(env.get("KNUDGE_DATA_DIR") or ".knudge"),
            public_urls={
                name: (env.get(f"KNUDGE_{name.upper()}_URL") or f"http://127.0.0.1:{base + _PORT_OFFSETS[name]}").rstrip("/")
                for name in (*FUNCTIONS, "simulator")
            },
            max_body_bytes=_integer(env, "KNUDGE_MAX_BODY_BYTES", 4 * MIB),
            max_file_bytes=_integer(env, "KNUDGE_MAX_FILE_BYTES", 512 * MIB),
            default_deadline_s=_number(env, "KNUDGE_DEADLINE_S", 60.0),
            max_concurrency=_integer(env, "KNUDGE_MAX_CONCURRENCY", 100),
            batch_concurrency=_integer(env, "KNUDGE_BATCH_CONCURRENCY", 64),
            run_window_items=_integer(env, "KNUDGE_RUN_WINDOW", 512),
            run_batch_items=_integer(env, "KNUDGE_RUN_BATCH", 0),
            lease_s=_number(env, "KNUDGE_LEASE_S", 120.0),
            overtaken_s=_number(env, "KNUDGE_OVERTAKEN_S", 5.0),
            item_attempts=_integer(env, "KNUDGE_ITEM_ATTEMPTS", 5),
            run_deadline_s=_number(env, "KNUDGE_RUN_DEADLINE_S", 604_800.0),
            run_keep_days=_integer(env, "KNUDGE_RUN_KEEP_DAYS", 0),
            limit_global_rpm=_integer(env, "KNUDGE_LIMIT_GLOBAL_RPM", 0),
            limit_project_rpm=_integer(env, "KNUDGE_LIMIT_PROJECT_RPM", 0),
            limit_key_rpm=_integer(env, "KNUDGE_LIMIT_KEY_RPM", 0),
            limits_on_store_failure=_choice(env, "KNUDGE_LIMITS_ON_STORE_FAILURE", ("closed", "open")),
            log_level=env.get("KNUDGE_LOG_LEVEL", "INFO").upper(),
            log_format=env.get("KNUDGE_LOG_FORMAT", "json"),
            build=env.get("KNUDGE_VERSION", ""),
            crash_at=env.get("KNUDGE_CRASH_AT", ""),
            environ=env,
        )

    def port(self, name: str) -> int:
        """Local port of a function, ``broker``, ``simulator`` or ``redis``."""
        return self.port_base + _PORT_OFFSETS[name]

    def gateway_config(self, *, elsewhere: bool = False) -> GatewayConfig:
        """The file behind ``KNUDGE_CONFIG``, completed by the providers whose usual key variable is set.

        Args:
            elsewhere: Also by those whose key is not set here: keys are where models are called, and not in other functions.

        Raises:
            InvalidInput: no such file, no YAML, or a field is wrong; the message names the field.
        """
        from pydantic import ValidationError

        from common.schemas.config import GatewayConfig

        raw = self._read_config()
        keyed = {
            name: {"kind": kind, "base_url": url, "api_key_env": key}
            for name, (kind, key, url) in _KEYED_PROVIDERS.items()
            if elsewhere or self.environ.get(key)
        }
        given = raw.get("providers", {})
        try:
            return GatewayConfig.model_validate({**raw, "providers": {**keyed, **given} if isinstance(given, dict) else given})
        except ValidationError as error:
            raise _misfit(error) from error

    def callers_config(self) -> tuple[CallersConfig | None, bool]:
        """Limits for callers, None without any, and whether everybody is let in while the store is away.

        The file's ``callers`` and ``on_store_failure`` go before the variables. Cheap when the file speaks of neither.

        Raises:
            InvalidInput: as `gateway_config`.
        """
        raw = self._read_config(about=("callers", "on_store_failure"))
        policy = raw.get("on_store_failure")
        told = policy.get("limits") if isinstance(policy, dict) else None
        given = raw.get("callers") or {}
        if not isinstance(given, dict):
            raise InvalidInput("KNUDGE_CONFIG: /callers: expected a mapping", pointer="/callers")
        named = {"global": self.limit_global_rpm, "default_project": self.limit_project_rpm, "default_key": self.limit_key_rpm}
        limits = {**{name: {"rpm": rpm} for name, rpm in named.items() if rpm > 0}, **given}
        return _callers(limits) if limits else None, (told or self.limits_on_store_failure) == "open"

    def _read_config(self, *, about: tuple[str, ...] = ()) -> dict[str, object]:
        """The file as it is; nothing, and no parser loaded, when `about` is given and the file has none of these words."""
        if self.config_path is None:
            return {}
        unreadable = f"KNUDGE_CONFIG: cannot read {self.config_path} as YAML"
        try:
            text = self.config_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(unreadable) from error
        if about and not any(word in text for word in about):
            return {}
        import yaml

        try:
            raw = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise InvalidInput(unreadable) from error
        if not isinstance(raw, dict):
            msg = "KNUDGE_CONFIG: expected a mapping with providers, models, routes, aliases"
            raise InvalidInput(msg)
        return raw


def _callers(limits: dict[str, object]) -> CallersConfig:
    from pydantic import ValidationError

    from common.schemas.config import CallersConfig

    try:
        return CallersConfig.model_validate(limits)
    except ValidationError as error:
        raise _misfit(error, within="/callers") from error


def _misfit(error: ValidationError, *, within: str = "") -> InvalidInput:
    first = error.errors()[0]
    where = within + "/" + "/".join(str(part) for part in first["loc"])
    return InvalidInput(f"KNUDGE_CONFIG: {where}: {first['msg']}", pointer=where)


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; the first by default."""
    value = (env.get(name) or choices[0]).lower()
    if value not in choices:
        msg = f"{name}: expected {' or '.join(choices)}, got {value!r}"
        raise InvalidInput(msg)
    return value


def _port_base(env: Mapping[str, str]) -> int:
    base, last = _integer(env, "KNUDGE_PORT_BASE", 8080), 65535 - max(_PORT_OFFSETS.values())
    if not 1 <= base <= last:
        msg = f"KNUDGE_PORT_BASE: expected a port from 1 to {last}, got {base}"
        raise InvalidInput(msg)
    return base


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(env.get(name) or default)
    except ValueError as error:
        msg = f"{name}: expected a whole number, got {env[name]!r}"
        raise InvalidInput(msg) from error


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(env.get(name) or default)
    except ValueError as error:
        msg = f"{name}: expected a number, got {env[name]!r}"
        raise InvalidInput(msg) from error


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = (env.get(name) or "").lower()
    if value in ("", "on", "off", "1", "0", "true", "false"):
        return default if value == "" else value in ("on", "1", "true")
    msg = f"{name}: expected on or off, got {value!r}"
    raise InvalidInput(msg)
