"""What stands in Redis, read from the modules that name the keys and from the scripts' own first lines."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from docs.tables import code, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_FOLDERS = ("common/store/lua", "common/gateway/lua", "common/limits/lua")

_NO_KEYS = ("new_id", "identifier", "tick_of")
_TAGGED = ("project", "digest")
_CONSTANTS = {
    "CLOCK": "The last tick: creation times that never repeat.",
    "ACTIVE_RUNS": "Sorted set: runs that have not ended, or whose end was not announced yet.",
    "EXPIRING_RUNS": "Sorted set: runs that are not kept for ever, by the time at which they are looked at next.",
    "DEAD_LETTERS": "List: undeliverable events that belong to no known run.",
    "API_KEYS": "Hash: API keys by id, without their secrets.",
    "PROBE": "Whether the store takes writes, by `health`; gone within a second.",
    "MODELS": "Set: models that were called.",
    "CALLERS_LOAD": "Hash: the load as it was read last, and what it makes of the global limit for callers.",
    "CALLERS_REFUSED": "Hash: requests refused by limits for callers, by scope.",
    "CACHE_MARKS": "Hash: tags whose kept answers are not given out any more, and since when.",
}


def keys() -> str:
    """Every key and what it holds."""
    from common.gateway import cache_keys
    from common.gateway import keys as gateway
    from common.limits import keys as limits
    from common.store import keys as store

    rows = [row for module in (store, gateway, cache_keys, limits) for row in (*_constants(module), *_functions(module))]
    return table(["key", "holds"], rows)


def _constants(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        if name.isupper() and isinstance(value, str):
            yield code(value), _CONSTANTS[name]


def _functions(module: ModuleType) -> Iterator[tuple[str, str]]:
    """A key function called with its parameters' own names gives the key's pattern."""
    for function in vars(module).values():
        own = inspect.isfunction(function) and function.__module__ == module.__name__
        if own and not function.__name__.startswith("_") and function.__name__ not in _NO_KEYS:
            pattern = function(*map(_shown, inspect.signature(function).parameters))
            yield code(pattern), (function.__doc__ or "").strip().replace("``", "`")


def _shown(parameter: str) -> str:
    """Hash tags put their braces round a parameter themselves; others get brackets."""
    return parameter if parameter.endswith("_id") or parameter in _TAGGED else f"<{parameter}>"


def scripts() -> str:
    """Every Lua script and what it does."""
    files = [path for folder in SCRIPT_FOLDERS for path in sorted((ROOT / folder).glob("*.lua"))]
    rows = [(f"[`{path.stem}`](../{path.relative_to(ROOT)})", _first_line(path)) for path in files]
    return table(["script", "what it does, all or nothing"], rows)


def _first_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("--")).removeprefix("--").strip()
