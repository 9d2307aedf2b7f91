"""How many processes of a function there are, and where each listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from common.settings import Settings

_MOST = 9
_STEP = 10  # between the ports of a function's processes: wider than the range that all the first ones need
_LAST_PORT = 65535


def parse_scale(text: str, functions: Collection[str]) -> dict[str, int]:
    """Read ``evaluate=2,aggregate=2``; what is not named runs once.

    Raises:
        InvalidInput: no function, or not a number from 1 to 9.
    """
    scale: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, count = part.strip().partition("=")
        if name not in functions:
            msg = f"scale: no function {name!r}; there are {', '.join(sorted(functions))}"
            raise InvalidInput(msg)
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST):
            msg = f"scale: {name}: expected a number from 1 to {_MOST}, got {count!r}"
            raise InvalidInput(msg)
        scale[name] = int(count)
    return scale


def ports(settings: Settings, name: str, scale: Mapping[str, int]) -> list[int]:
    """Loopback ports of a function's processes: its own first, the others 10 apart.

    Raises:
        InvalidInput: the last one is beyond 65535.
    """
    found = [settings.port(name) + _STEP * copy for copy in range(scale.get(name, 1))]
    if found[-1] > _LAST_PORT:
        msg = f"scale: {name}: port {found[-1]} is beyond {_LAST_PORT}; choose a lower KNUDGE_PORT_BASE"
        raise InvalidInput(msg)
    return found
