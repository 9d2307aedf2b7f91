"""What a run's metadata may ask for, under names that begin with ``knudge_``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidInput
from common.schemas.canaries import RUN_CANARIES
from common.schemas.runs import RUN_BUDGET, RUN_DEADLINE, run_budget_microusd, run_deadline_s
from common.schemas.stopping import RUN_STOP
from functions.tasks.control.retention import RUN_KEEP_DAYS

if TYPE_CHECKING:
    from collections.abc import Mapping

RERUN_OF = "knudge_rerun_of"
_OURS = "knudge_"
_KNOWN = sorted([RERUN_OF, RUN_BUDGET, RUN_CANARIES, RUN_DEADLINE, RUN_KEEP_DAYS, RUN_STOP])


def check_metadata(metadata: Mapping[str, str], *, given: Mapping[str, str]) -> None:
    """See that budget and deadline in `metadata` are such, and that what the caller has `given` of it is not misspelt.

    Raises:
        InvalidInput: with the field.
    """
    for name in given:
        if name.startswith(_OURS) and name not in _KNOWN:
            pointer = f"/metadata/{name}"
            raise InvalidInput(f"{pointer}: names with {_OURS} are ours; known: {', '.join(_KNOWN)}", pointer=pointer)
    run_budget_microusd(metadata)
    run_deadline_s(metadata)
