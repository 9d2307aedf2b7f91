"""Runs that are judged and counted, in a real store, without any function being up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict
from common.schemas.events import RunItems
from common.schemas.graders import ScoreModelGrader, StringCheckGrader
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from common.schemas.graders import Grader
    from common.schemas.runs import RunPlan

    Column = Sequence[float | None]

QUALITY = ScoreModelGrader(
    type="score_model",
    name="quality",
    model="lab:judge-1",
    input=[{"role": "user", "content": "?"}],
    range=(1, 10),
    pass_threshold=7,
)
EXACT = StringCheckGrader(type="string_check", name="exact", input="", reference="", operation="eq")


@dataclass(slots=True)
class Bench:
    """A store, and runs made in it."""

    client: redis.Redis
    runs: RunStore
    results: ResultStore
    records: Records

    @classmethod
    def at(cls, redis_url: str) -> Bench:
        client = sync_client(Settings(redis_url=redis_url))
        runs, results = RunStore(client), ResultStore(client)
        return cls(client, runs, results, Records(runs, results, public_url="http://127.0.0.1:8082"))

    def close(self) -> None:
        self.client.close()

    def dataset(self, items: Sequence[Mapping[str, Any]]) -> str:
        with self.runs.datasets.writer(max_bytes=1 << 26) as writer:
            for item in items:
                writer.write_object({"item": dict(item), "sample": {"output_text": "an answer"}})
            return writer.finish("file:made").dataset_id

    def run(
        self,
        dataset_id: str,
        scores: Mapping[str, Column],
        *,
        name: str = "A run",
        graders: Sequence[Grader] = (QUALITY, EXACT),
        simulated: bool = False,
        counted: int | None = None,
        **changes: Any,
    ) -> RunPlan:
        """A run over a dataset; a column of scores a grader, None where unscored. Only the first `counted` are counted."""
        chosen = [grader for grader in graders if grader.name in scores]
        data = self.runs.datasets.info(dataset_id)
        plan = new_run(self.client, data, **{"name": name, "graders": chosen, "window_items": 100_000, **changes})
        run_id, total = plan.run_id, plan.item_count
        self.runs.issue(run_id, lease_s=600, attempts=3)
        judged = range(total if counted is None else counted)
        for start in range(0, len(judged), 50):
            page = judged[start : start + 50]
            verdicts = {
                (index, number): _verdict(grader, scores[grader.name][plan.arrangement.place(index).line], simulated=simulated)
                for index in page
                for number, grader in enumerate(chosen)
            }
            self.results.save(plan, {}, verdicts)
            fold_items(RunItems(run_id=run_id, items=list(page)), self.runs, self.records)
        return plan


def _verdict(grader: Grader, score: float | None, *, simulated: bool) -> Verdict:
    call = ModelCall(
        model="lab:judge-1", usage=Usage(prompt_tokens=10, completion_tokens=1), cost_microusd=7, simulated=simulated
    )
    mark = grader.scale[1] if grader.threshold is None else grader.threshold
    return Verdict(
        name=grader.name,
        type=grader.type,
        score=score,
        passed=None if score is None else score >= mark,
        unscored=Unscored(code="malformed_reply", message="no number") if score is None else None,
        judge="lab:judge-1" if grader.type == "score_model" else None,
        calls=[call] if grader.type == "score_model" else [],
    )
