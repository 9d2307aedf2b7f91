"""Runs in a real store, as they are when they were just started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.schemas.graders import StringCheckGrader
from common.schemas.runs import RunPlan
from common.store.datasets import Dataset
from common.store.runs import RunStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

CHECKS = [StringCheckGrader(type="string_check", name=name, input="", reference="", operation="eq") for name in ("a", "b")]


def new_run(client: redis.Redis, data: int | Dataset | Iterable[Mapping[str, Any]] = 10, **fields: Any) -> RunPlan:
    """A queued run over so many items, a data set that is there, or these lines; `fields` go before what the plan has else."""
    runs = RunStore(client)
    identity = runs.new_identity()
    run_id = fields.get("run_id") or identity.id("run")
    dataset = data if isinstance(data, Dataset) else _written(runs, data, holder=f"run:{run_id}")
    plan = RunPlan.model_validate(
        {
            "run_id": run_id,
            "eval_id": "eval_1",
            "eval_version": 1,
            "name": "r",
            "created_at": identity.created_at,
            "dataset_id": dataset.dataset_id,
            "item_count": dataset.lines,
            "graders": list(CHECKS),
            "data_source": {},
            "window_items": 1000,
            **fields,
        }
    )
    runs.create(plan)
    return plan


def _written(runs: RunStore, data: int | Iterable[Mapping[str, Any]], *, holder: str) -> Dataset:
    lines = ({"item": {"n": number}} for number in range(data)) if isinstance(data, int) else data
    with runs.datasets.writer(max_bytes=1 << 26) as writer:
        for line in lines:
            writer.write_object(dict(line))
        return writer.finish(holder)
