"""Which models answered, by their providers' own account, read from a run's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


def reported(counts: Mapping[str, int], *, role: str, model: str) -> dict[str, int]:
    """Names that `model` (``provider:model``) gave itself in its answers, cached ones included, and in how many of them.

    Args:
        counts: Of the run, as `common.stats.summary.counters` makes them.
        role: ``judge`` or ``target``.
    """
    found = {}
    for field, number in counts.items():
        kind, _, rest = field.removeprefix("m.").partition(".")
        name, _, said = rest.partition(".reported.")
        if said and field.startswith("m.") and (kind, unquote(name)) == (role, model):
            found[unquote(said)] = number
    return dict(sorted(found.items()))
