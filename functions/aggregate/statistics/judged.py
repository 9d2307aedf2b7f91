"""One grader's verdicts on a run, item by item, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from common.errors import DeadlineExceeded, InvalidInput, NotFound, UnknownVariable
from common.graders.template import value_of
from common.store.results import pages_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from common.schemas.evaluation import Verdict
    from common.schemas.graders import Grader
    from common.schemas.runs import ItemResult, RunPlan
    from functions.aggregate.records import Records

_AT_A_TIME = 1000  # indexes found at once


@dataclass(frozen=True, slots=True)
class Reading:
    """How a run is read: until when (a point on the monotonic ``clock``), and for which grader."""

    plan: RunPlan
    grader: Grader
    records: Records
    deadline_s: float
    clock: Callable[[], float]

    @classmethod
    def of(cls, plan: RunPlan, name: str, records: Records, *, deadline_s: float, clock: Callable[[], float]) -> Reading:
        """Raises `InvalidInput` if the run has no grader of this name."""
        found = next((grader for grader in plan.graders if grader.name == name), None)
        if found is None:
            names = ", ".join(grader.name for grader in plan.graders)[:300]
            raise InvalidInput(f"grader: the run has none of this name; it has {names}", pointer="/grader")
        return cls(plan, found, records, deadline_s, clock)

    def verdicts(self) -> Iterator[tuple[ItemResult, Verdict]]:
        """Every item counted so far, in the order of the data. One trip a page.

        Raises:
            DeadlineExceeded: the caller no longer waits.
            NotFound: the run was deleted meanwhile.
        """
        plan = self.plan
        counted = pages_in(self.records.settled(plan), after=None, limit=_AT_A_TIME)
        indexes: Iterable[int] = chain.from_iterable(counted)
        if not plan.arrangement.identity:
            indexes = sorted(indexes, key=lambda position: plan.arrangement.place(position).line)
        for page in self.records.pages(plan, indexes):
            if self.clock() > self.deadline_s:
                raise DeadlineExceeded("the run takes longer to read than the request may last; see X-Knudge-Deadline-S")
            for result in page:
                verdict = next((verdict for verdict in result.verdicts if verdict.name == self.grader.name), None)
                if verdict is None:
                    raise NotFound(f"run {plan.run_id} was deleted while it was read")
                yield result, verdict


def item_value(result: ItemResult, path: str) -> Any:
    """The JSON value at ``item.x.y``; None where there is none."""
    try:
        return value_of(f"{{{{{path}}}}}", {"item": result.item})
    except UnknownVariable:
        return None
