"""Recorded judges through the whole system: our prompts, parser, folding and summary give the figures that were published."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import OpenAI

from tests.support.providers import serving
from tests.support.replay import Replay
from tests.support.system import ROOT, whole_system

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded judgements are not here")


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of a recorded set."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


class Recorded:
    """The running system and the judge behind it."""

    def __init__(self, port_base: int, judge: Replay) -> None:
        self.judge = judge
        self.client = OpenAI(base_url=f"http://127.0.0.1:{port_base + 4}/v1", api_key="none", max_retries=0)
        self.aggregate = f"http://127.0.0.1:{port_base + 2}"

    def run(self, grader: dict[str, Any], items: list[dict[str, Any]], replies: dict[str, list[str]]) -> str:
        """Judge `items`, each a line ``{"item", "sample"}``, by `grader`; the run's id once it has completed."""
        self.judge.replies = replies
        self.judge.asked.clear()
        config = {"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": True}
        made = self.client.evals.create(name=grader["name"], data_source_config=config, testing_criteria=[grader])  # type: ignore[arg-type, list-item]  # graders the package does not know
        source = {"type": "jsonl", "source": {"type": "file_content", "content": items}}
        run = self.client.evals.runs.create(made.id, name="recorded", data_source=source)  # type: ignore[arg-type]  # as above
        for _ in range(1200):
            if self.summary(run.id)["status"] == "completed":
                return run.id
            time.sleep(0.05)
        raise AssertionError("the run did not end")

    def summary(self, run_id: str) -> dict[str, Any]:
        """``GET /runs/{id}``."""
        return self.get(f"/runs/{run_id}")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """A resource of `aggregate`."""
        answer = httpx.get(self.aggregate + path, params=query, timeout=30)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """The whole system with the recordings as its only judge."""
    folder, judge = tmp_path_factory.mktemp("recorded"), Replay({})
    with serving(judge) as url:
        config = folder / "gateway.json"
        config.write_text(json.dumps({"providers": {"recorded": {"kind": "openai", "base_url": f"{url}/v1"}}}))
        with whole_system(folder / "data", "--config", str(config)) as base:
            yield Recorded(base, judge)


def judged_text(prompt: str) -> list[dict[str, str]]:
    """The judge's input; the case is how the stand-in knows which recording to play."""
    return [{"role": "user", "content": f"Case: {{{{item.case}}}}\n{prompt}"}]


def test_single_answer_grades_of_arena_hard(recorded: Recorded) -> None:
    """300 recorded grades of claude-2.1, in brackets after prose: 299 scores with the recorded mean, one unscored."""
    found = rows("arena_bench_v1/replay.jsonl")
    expected = json.loads((DATA / "arena_bench_v1/expected.json").read_text())["models"]["claude-2.1"]
    grader = {
        "type": "score_model",
        "name": "quality",
        "model": "recorded:gpt-4",
        "range": [1, 10],
        "input": judged_text("{{item.prompt}}"),
    }
    items = [{"item": {"case": row["question_id"], "prompt": row["user_prompt"]}, "sample": {}} for row in found]
    run_id = recorded.run(grader, items, {row["question_id"]: [row["completion"]] for row in found})
    quality = recorded.summary(run_id)["graders"][0]
    assert (quality["scored"], quality["unscored"]) == (expected["valid"], expected["n"] - expected["valid"])
    assert quality["mean"] == pytest.approx(expected["mean_score"], rel=1e-12)
    scores = {item["item"]["case"]: item["verdicts"][0]["score"] for item in results(recorded, run_id)}
    assert scores == {row["question_id"]: row["recorded_score"] for row in found}


def test_pairs_of_vicuna(recorded: Recorded) -> None:
    """80 recorded reviews of a pair: 77 have both scores on their first line and give 580 and 688, three say them elsewhere."""
    found = rows("vicuna/replay.jsonl")
    grader = {
        "type": "pairwise_model",
        "name": "preferred",
        "model": "recorded:gpt-4",
        "orders": "ab",
        "reply": "scores",
        "range": [1, 10],
        "output_b": "{{item.other}}",
        "input": judged_text("{{item.question}}"),
    }
    items = [
        {
            "item": {"case": str(row["question_id"]), "question": row["question"], "other": row["answer_2"]},
            "sample": {"output_text": row["answer_1"]},
        }
        for row in found
    ]
    run_id = recorded.run(grader, items, {str(row["question_id"]): [row["completion"]] for row in found})
    preferred = recorded.summary(run_id)["graders"][0]
    totals = (preferred["sides"]["a"]["total"], preferred["sides"]["b"]["total"])
    outcome = (preferred["scored"], preferred["unscored"], totals)
    assert outcome in {(77, 3, (580.0, 688.0)), (80, 0, (583.0, 704.0))}
    unscored = [i["item"]["case"] for i in results(recorded, run_id) if i["verdicts"][0].get("score") is None]
    assert unscored in ([], ["68", "69", "70"])


def test_agreement_between_samples_of_prometheus(recorded: Recorded) -> None:
    """Three recorded samples an item become the ballots of one verdict; their agreement equals the independent library's."""
    import krippendorff

    found = rows("prometheus/vicuna_eval.jsonl")
    grader = {
        "type": "score_model",
        "name": "rubric",
        "model": "recorded:gpt-4",
        "range": [1, 5],
        "samples": 3,
        "input": judged_text("{{item.prompt}}"),
    }
    items = [{"item": {"case": str(row["i"]), "prompt": row["judge_prompt"]}, "sample": {}} for row in found]
    replies = {
        str(row["i"]): [
            f"Feedback: {text} [RESULT] {score}" for text, score in zip(row["gpt4_feedback"], row["gpt4_score"], strict=True)
        ]
        for row in found
    }
    run_id = recorded.run(grader, items, replies)
    rubric = recorded.summary(run_id)["graders"][0]
    assert (rubric["scored"], rubric["unscored"]) == (len(found), 0)
    assert rubric["mean"] == pytest.approx(sum(sum(row["gpt4_score"]) / 3 for row in found) / len(found))
    ballots = {item["item"]["case"]: [b["score"] for b in item["verdicts"][0]["ballots"]] for item in results(recorded, run_id)}
    assert {case: sorted(votes) for case, votes in ballots.items()} == {str(r["i"]): sorted(r["gpt4_score"]) for r in found}
    agreement = recorded.get(f"/runs/{run_id}/agreement", grader="rubric")
    raters = [list(votes) for votes in zip(*ballots.values(), strict=True)]
    for metric in ("nominal", "interval"):
        oracle = krippendorff.alpha(reliability_data=raters, level_of_measurement=metric)
        assert agreement["ballots"]["scores"][metric] == pytest.approx(oracle, abs=1e-9)


def results(recorded: Recorded, run_id: str) -> list[dict[str, Any]]:
    """Every result of a run."""
    answer = httpx.get(f"{recorded.aggregate}/runs/{run_id}/results", params={"format": "ndjson"}, timeout=60)
    return [json.loads(line) for line in answer.text.splitlines()]
