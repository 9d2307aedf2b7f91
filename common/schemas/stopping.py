"""Stop rules: what a run is to find out, so that it can end as soon as that is known."""

from __future__ import annotations

import math
import re
from typing import Literal, cast

from common.errors import InvalidInput
from common.schemas.base import Model

RUN_STOP = "knudge_stop"
_POINTER = f"/metadata/{RUN_STOP}"
_FORMS = "'GRADER: mean above 0.8', 'GRADER: mean below 0.8', 'GRADER: mean 0.8' or 'GRADER: not worse than RUN_ID by 0.02'"
_NUMBER = r"-?\d+(?:\.\d+)?"
_RULE = (
    rf"(?P<grader>.+):\s*(?:mean(?:\s+(?P<side>above|below))?\s+(?P<threshold>{_NUMBER})"
    rf"|not\s+worse\s+than\s+(?P<run>[\w.:-]+)\s+by\s+(?P<margin>{_NUMBER}))"
    rf"(?:,?\s+alpha\s+(?P<alpha>{_NUMBER}))?\s*"
)

Decision = Literal["above", "below", "not worse", "worse"]


class StopRule(Model):
    """End the run when the mean of ``grader`` (its index) over all items is settled; ``side`` None: settled either way.

    With ``other_run`` the mean is that of the differences to that run, item by item, and ``threshold`` is minus the margin.
    ``alpha`` as in `common.stats.sequential.ThresholdTest`.
    """

    grader: int
    threshold: float
    side: Literal["above", "below"] | None = None
    other_run: str | None = None
    alpha: float = 0.05


class Stopped(Model):
    """A run that ended early: what was decided, and after how many items in the run's order.

    ``interval`` holds the mean over all the data (of the differences, where runs are compared), at every look together; None
    where it would have taken too long to work out.
    """

    rule: str
    decision: Decision
    at_items: int
    interval: tuple[float, float] | None = None


def parse_rule(text: str, graders: list[str]) -> StopRule:
    """The rule that a run's metadata states, for graders with these names.

    Raises:
        InvalidInput: it is no rule, there is no such grader, or a number has no meaning.
    """
    found = re.fullmatch(_RULE, text, re.ASCII | re.DOTALL)
    if found is None:
        raise InvalidInput(f"{_POINTER}: expected {_FORMS}, and ', alpha 0.05' if wanted", pointer=_POINTER)
    name = found["grader"].strip()
    if name not in graders:
        raise InvalidInput(f"{_POINTER}: the eval has no grader {name[:80]!r}", pointer=_POINTER)
    alpha, margin = float(found["alpha"] or 0.05), float(found["margin"] or 0)
    if not 0 < alpha < 1:
        raise InvalidInput(f"{_POINTER}: alpha must lie between 0 and 1", pointer=_POINTER)
    if margin < 0:
        raise InvalidInput(f"{_POINTER}: the margin must not be negative", pointer=_POINTER)
    threshold = -margin if found["run"] else float(found["threshold"])
    if not math.isfinite(threshold):
        raise InvalidInput(f"{_POINTER}: a number is too large", pointer=_POINTER)
    side = cast("Literal['above', 'below'] | None", found["side"])
    return StopRule(grader=graders.index(name), threshold=threshold, side=side, other_run=found["run"], alpha=alpha)
