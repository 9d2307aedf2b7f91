from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cli.main import outcome
from common.schemas.runs import GraderSummary, RunSummary
from tests.unit.cli.loopback import Answer

if TYPE_CHECKING:
    from tests.unit.cli.loopback import Asked, Loopback

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "assistants" / "eval.yaml"


@dataclass
class EvalsServer:
    """Enough of an Evals API and of aggregate to run an eval that judges itself at once."""

    url: str
    aggregate: bool = True
    status: str = "completed"
    unscored: int = 0
    simulated: bool = False
    suspect: bool = False
    polls_until_done: int = 0
    evals: list[dict[str, Any]] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path
        if path == "/v1/evals":
            return self._create_eval(asked) if asked.method == "POST" else self._list(asked)
        if path == "/v1/files":
            self.files.append(asked.body)
            return Answer({"id": f"file_{len(self.files)}"})
        if re.fullmatch(r"/v1/evals/eval_\d+/runs", path):
            return self._create_run(asked)
        if match := re.fullmatch(r"/v1/evals/eval_\d+/runs/(run_\d+)", path):
            return Answer(self._object(match[1]))
        if self.aggregate and (match := re.fullmatch(r"/runs/(run_\d+)", path)):
            return Answer(self._summary(match[1]))
        return Answer({"error": {"message": f"no {path}"}}, status=404)

    def _create_eval(self, asked: Asked) -> Answer:
        self.evals.append({**asked.json, "id": f"eval_{len(self.evals) + 1}", "object": "eval"})
        return Answer(self.evals[-1], status=201)

    def _list(self, asked: Asked) -> Answer:
        newest_first = self.evals[::-1]
        ids = [entry["id"] for entry in newest_first]
        start = ids.index(asked.query["after"]) + 1 if "after" in asked.query else 0
        return Answer({"object": "list", "data": newest_first[start : start + 1], "has_more": start + 1 < len(ids)})

    def _create_run(self, asked: Asked) -> Answer:
        run_id = f"run_{len(self.runs) + 1}"
        self.runs.append({**asked.json, "id": run_id, "eval_id": asked.path.split("/")[3]})
        return Answer(self._object(run_id))

    def _object(self, run_id: str) -> dict[str, Any]:
        run = self.runs[int(run_id.removeprefix("run_")) - 1]
        passed = 8 if run["name"] == "tern" else 3
        return {
            "id": run_id,
            "object": "eval.run",
            "status": self.status,
            "error": {"code": "judge_away", "message": "no judge"} if self.status == "failed" else None,
            "created_at": 1,
            "report_url": f"{self.url}/runs/{run_id}/report",
            "knudge": {"suspect": self.suspect},
            "result_counts": {"total": 10, "passed": passed, "failed": 10 - passed - self.unscored, "errored": self.unscored},
            "per_testing_criteria_results": [
                {"testing_criteria": "correctness", "passed": passed, "failed": 10 - passed - self.unscored}
            ],
            "per_model_usage": [
                {
                    "model_name": "judge",
                    "invocation_count": 10,
                    "prompt_tokens": 90,
                    "completion_tokens": 10,
                    "cached_tokens": 0,
                }
            ],
        }

    def _summary(self, run_id: str) -> dict[str, Any]:
        run = self._object(run_id)
        self.polls_until_done -= 1
        passed, scored = run["result_counts"]["passed"], 10 - self.unscored
        grader = GraderSummary(
            name="correctness",
            type="score_model",
            range=(1, 5),
            scored=scored,
            passed=passed,
            failed=scored - passed,
            unscored=self.unscored,
            mean=4.25,
            interval=(4.0, 4.5),
            pass_rate=passed / scored,
            pass_interval=(0.4, 0.9),
            unscored_reasons={"malformed_reply": self.unscored} if self.unscored else {},
        )
        summary = RunSummary(
            run_id=run_id,
            eval_id="eval_1",
            eval_version=1,
            name=self.runs[int(run_id.removeprefix("run_")) - 1]["name"],
            status=self.status if self.polls_until_done < 0 else "in_progress",
            simulated=self.simulated,
            created_at=1,
            total=10,
            done=10,
            passed=passed,
            failed=scored - passed,
            errored=self.unscored,
            graders=[grader],
            models=[],
            cost_microusd=None if self.simulated else 1234,
            report_url=run["report_url"],
            suspect=self.suspect,
        )
        return {**summary.model_dump(mode="json"), "a_field_of_tomorrow": 1}


@pytest.fixture
def server(loopback: Loopback) -> EvalsServer:
    loopback.answer = server = EvalsServer(loopback.url)
    return server


@pytest.fixture
def eval_file(tmp_path: Path) -> Path:
    (tmp_path / "tern.jsonl").write_text('{"item": {"q": "1+1?"}, "sample": {"output_text": "2"}}\n\n', encoding="utf-8")
    (tmp_path / "gull.jsonl").write_text('{"item": {"q": "1+1?"}, "sample": {"output_text": "3"}}\n', encoding="utf-8")
    spec = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def _run(server: EvalsServer, eval_file: Path, *more: str) -> int:
    return outcome(["run", str(eval_file), "--base-url", f"{server.url}/v1", *more])


def test_an_eval_is_created_once_and_found_again(
    server: EvalsServer, eval_file: Path, loopback: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time the same file makes new runs of the same eval; a changed one makes a new eval."""
    server.evals += [
        {"id": "eval_other", "name": "Assistants", "metadata": {}},
        {"id": "eval_foreign", "name": "x", "metadata": None},
    ]
    assert _run(server, eval_file) == 0
    assert _run(server, eval_file) == 0
    assert len(loopback.asked_for("POST", "/v1/evals")) == 1
    assert [run["eval_id"] for run in server.runs] == ["eval_3"] * 4
    eval_file.write_text(eval_file.read_text(encoding="utf-8").replace("rouge_l", "rouge_1"), encoding="utf-8")
    assert _run(server, eval_file) == 0
    assert len(server.evals) == 4
    assert "testing_criteria" in server.evals[-1]
    capsys.readouterr()


@pytest.mark.parametrize("aggregate", [True, False])
def test_a_suspect_run_is_a_failed_gate(
    server: EvalsServer,
    eval_file: Path,
    capsys: pytest.CaptureFixture[str],
    aggregate: bool,  # noqa: FBT001
) -> None:
    """A run with a canary that did not pass ends with exit code 1, also without gates, whoever tells of it."""
    server.suspect, server.aggregate = True, aggregate
    assert _run(server, eval_file) == 1
    told = capsys.readouterr()
    assert "SUSPECT" in told.out
    assert told.out.splitlines()[-1].startswith("FAILED: tern: its figures are not to be believed")


def test_the_whole_way_with_two_runs(server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both data files are uploaded, both runs started with them, and both tables and the side-by-side are printed."""
    assert _run(server, eval_file) == 0
    assert len(server.files) == 2
    assert server.runs[0]["data_source"] == {"type": "jsonl", "source": {"type": "file_id", "id": "file_1"}}
    out = capsys.readouterr().out
    for part in (
        "tern · completed · run_1",
        "4.250 [4.000, 4.500]",
        "80.0 % [40.0, 90.0]",
        "$0.001234",
        "side by side",
        "/runs/run_2/report",
    ):
        assert part in out
    assert "\x1b" not in out
    assert "SIMULATED" not in out


def test_simulated_results_say_so_and_unknown_costs_too(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A simulated judge is named in capitals, and an unknown cost is called unknown, not nought."""
    server.simulated = True
    assert _run(server, eval_file, "--run", "tern") == 0
    out = capsys.readouterr().out
    assert "run_1 · SIMULATED" in out
    assert "SIMULATED: a simulator stood in" in out
    assert "cost    unknown" in out
    assert "side by side" not in out


def test_json_is_all_there_is_on_stdout(server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, stdout is one JSON object with runs, gates and the exit code."""
    assert _run(server, eval_file, "--json", "--fail-under", "correctness=0.5") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["eval"] == {"id": "eval_1", "name": "Assistants", "reused": False}
    assert [run["name"] for run in answer["runs"]] == ["tern", "gull"]
    assert [gate["passed"] for gate in answer["gates"]] == [True, False]
    assert answer["exit_code"] == 1
    assert answer["simulated"] is False


def test_gates_decide_the_exit_code(server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run below one gate is exit code 1; the chosen run alone passes."""
    assert _run(server, eval_file, "--fail-under", "correctness=0.8", "--fail-under", "mean:correctness=4") == 1
    out = capsys.readouterr().out
    assert "gate passed  tern: correctness ≥ 0.8, got 0.8" in out
    assert "gate FAILED  gull: correctness ≥ 0.8, got 0.3" in out
    assert out.splitlines()[-1] == "FAILED: 1 of 4 gates did not hold"
    assert _run(server, eval_file, "--run", "tern", "--fail-under", "correctness=0.8") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASSED: every gate held"


def test_a_gate_with_unscored_verdicts_says_so(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing verdicts count as the worst they could be, are named, and can be waived."""
    server.unscored = 1
    arguments = ("--run", "tern", "--fail-under", "correctness=0.85")
    assert _run(server, eval_file, *arguments) == 1
    out = capsys.readouterr().out
    assert "got 0.8889, at worst 0.8 with 1 unscored (this decides)" in out
    assert "unscored by correctness: malformed_reply 1" in out
    assert _run(server, eval_file, *arguments, "--allow-unscored") == 0
    assert "1 unscored left out" in capsys.readouterr().out


def test_an_evals_api_without_aggregate_will_do(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against a plain Evals API the counts still come; what it cannot say is missing or unknown, and that is said."""
    server.aggregate = False
    assert _run(server, eval_file, "--run", "tern", "--fail-under", "correctness=0.8") == 0
    captured = capsys.readouterr()
    assert "80.0 %" in captured.out
    assert "100 (90 in, 10 out)" in captured.out
    assert "cost    unknown" in captured.out
    assert "no summary to be had" in captured.err
    assert _run(server, eval_file, "--run", "tern", "--fail-under", "mean:correctness=1") == 1


def test_a_failed_run_could_not_run(server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that failed is exit code 2, whatever its gates say, and its error is shown."""
    server.status, server.aggregate = "failed", False
    assert _run(server, eval_file, "--run", "tern", "--fail-under", "correctness=0") == 2
    captured = capsys.readouterr()
    assert "error   judge_away: no judge" in captured.out
    assert captured.out.splitlines()[-1] == "NOT DECIDED: tern: the run has failed"


def test_progress_is_plain_lines_where_there_is_no_terminal(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log file gets whole lines on stderr at the start and at the end, without control codes."""
    server.polls_until_done = 1
    assert _run(server, eval_file, "--run", "tern") == 0
    err = capsys.readouterr().err
    assert err.startswith("tern: in_progress 10/10 · 8 passed · 2 failed · 0 unscored · $0.001234 so far\n")
    assert "tern: completed 10/10" in err
    assert "\x1b" not in err
    assert _run(server, eval_file, "--run", "tern", "--no-progress") == 0
    assert capsys.readouterr().err == ""


def test_a_run_that_does_not_end_is_given_up(server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After --timeout the command ends with 2 and names the run that goes on."""
    server.polls_until_done = 10_000
    assert _run(server, eval_file, "--run", "tern", "--no-progress", "--timeout", "1") == 2
    assert "gave up after 1 s; still running on the server: run_1" in capsys.readouterr().err


def test_generated_samples_name_model_and_messages(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with a model becomes a completions data source whose messages are a template."""
    spec = yaml.safe_load(eval_file.read_text(encoding="utf-8"))
    messages = [{"role": "user", "content": "{{item.q}}"}]
    spec["runs"] = [
        {"name": "live", "data": "tern.jsonl", "model": "lab:m", "input_messages": messages, "sampling_params": {"seed": 1}}
    ]
    eval_file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert _run(server, eval_file) == 0
    assert server.runs[0]["data_source"] == {
        "type": "completions",
        "source": {"type": "file_id", "id": "file_1"},
        "model": "lab:m",
        "input_messages": {"type": "template", "template": messages},
        "sampling_params": {"seed": 1},
    }
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "/name: "),
        ({"testing_criteria": [{"type": "string_check", "name": "x"}]}, "/testing_criteria/0/string_check/input: "),
        ({"runs": [{"name": "a", "data": "gone.jsonl"}]}, "gone.jsonl: No such file"),
        ({"runs": [{"name": "a", "data": "tern.jsonl"}, {"name": "a", "data": "tern.jsonl"}]}, "names of runs must differ"),
        ({"runs": [{"name": "a", "data": "tern.jsonl", "input_messages": []}]}, "need a model"),
        ({"surprise": 1}, "/surprise: "),
        ({"metadata": {f"k{n}": "v" for n in range(16)}}, "/metadata: "),
        ({"item": 2**70}, "holds something that JSON cannot say"),
    ],
)
def test_a_wrong_eval_file_is_told_in_one_line(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    """Whatever is wrong with an eval file is exit code 2 and one line that names the field; no run is started."""
    spec = {**yaml.safe_load(eval_file.read_text(encoding="utf-8")), **change}
    eval_file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert _run(server, eval_file) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert server.runs == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no items"),
        ('{"item": {}}\n{"item": 1}\n', 'tern.jsonl:2: expected an object with an "item" object'),
        ("{", ":1: not valid JSON"),
    ],
)
def test_a_wrong_data_file_is_told_before_anything_is_sent(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    """A data file is checked line by line before it is uploaded."""
    (eval_file.parent / "tern.jsonl").write_text(content, encoding="utf-8")
    assert _run(server, eval_file) == 2
    assert message in capsys.readouterr().err
    assert server.files == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-under", "correctnes=0.8"], "no grader named 'correctnes'; the eval has: correctness, completeness"),
        (["--fail-under", "correctness"], "expected NAME=VALUE"),
        (["--run", "swan"], "no run named 'swan'; the file has: tern, gull"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_misspelt_arguments_end_before_anything_is_sent(
    server: EvalsServer, eval_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A gate, run or option that does not exist is exit code 2 at once."""
    assert _run(server, eval_file, *arguments) == 2
    assert message in capsys.readouterr().err
    assert (server.evals, server.files, server.runs) == ([], [], [])


def test_no_server_is_one_line(eval_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is away is exit code 2 and one line with its URL."""
    assert outcome(["run", str(eval_file), "--base-url", "http://127.0.0.1:9/v1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("knudge: cannot reach http://127.0.0.1:9/v1: ")
    assert err.count("\n") == 1


def test_no_file_and_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing or unreadable eval file is exit code 2 and one line."""
    assert outcome(["run", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml: No such file or directory" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("name: [", encoding="utf-8")
    assert outcome(["run", str(tmp_path / "bad.yaml")]) == 2
    assert "bad.yaml: not valid YAML at line" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["import"], ["import", "openai"], ["keys"], ["keys", "create"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--help works everywhere and exits with 0."""
    assert outcome([*command, "--help"]) == 0
    assert "Usage: knudge" in capsys.readouterr().out
