"""``knudge run``: an eval file through a server, with gates."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import gates
from cli.commands import options
from cli.errors import COULD_NOT_RUN, GATE_FAILED, PASSED, CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cli.gates import Gate, GateResult
    from cli.watch import Look


def _gates(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[Gate]:
    del ctx, param
    return [gates.parse(text) for text in value]


@click.command("run", short_help="Run an eval file and gate on its results.")
@click.argument("eval_file", type=click.Path(path_type=Path))
@click.option(
    "--base-url", default=options.base_url("tasks", path="/v1"), metavar="URL", help="Evals API. [default: the local one]"
)
@options.api_key
@click.option("--aggregate-url", metavar="URL", help="Where summaries are. [default: what the run's report_url says]")
@click.option("--run", "names", multiple=True, metavar="NAME", help="Only this run of the file; may be repeated.")
@click.option("--fail-under", multiple=True, callback=_gates, metavar="[mean:]GRADER=VALUE", help="Gate; may be repeated.")
@click.option("--allow-unscored", is_flag=True, help="Gate on the scored verdicts alone, however many are missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@click.option("--no-progress", is_flag=True, help="Do not show how the runs get on.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=3600.0, show_default=True, metavar="SECONDS")
@options.timeout
def command(  # noqa: PLR0917  # click passes options by name
    eval_file: Path,
    base_url: str,
    api_key: str | None,
    aggregate_url: str | None,
    names: tuple[str, ...],
    fail_under: list[Gate],
    allow_unscored: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    no_progress: bool,  # noqa: FBT001
    timeout_s: float,
    request_timeout: float,
) -> int:
    """Run the evals of EVAL_FILE, follow them to their end and print the results.

    The eval is found again when name and content are the same, else created; data files are uploaded; one run is started for
    each entry under `runs`.

    A gate compares the pass rate of a grader (or, with mean:, its mean) in every run. Verdicts that are missing count as badly
    as they could have come out, unless --allow-unscored is given: a gate holds only if it would hold whatever they had said.

    Exit codes: 0 all runs completed and every gate held, 1 a gate failed, 2 could not run.
    """
    from cli.api import Api, Patience
    from cli.evalfile import load
    from cli.running import ensure_eval, start

    loaded = load(eval_file)
    _known_graders(fail_under, [grader.name for grader in loaded.spec.testing_criteria])
    runs = loaded.chosen(names)
    hasty = Patience(timeout_s=request_timeout, attempts=3, base_s=0.2)  # a server that is not there is told soon
    with Api(base_url, key=api_key, patience=hasty) as api:
        eval_id, reused = ensure_eval(api, loaded)
        api.patience = Patience(timeout_s=request_timeout)  # from here on, one that restarts is waited for
        started = start(api, eval_id, loaded, runs)
        looks = _follow(api, started, aggregate_url=aggregate_url, wanted=not no_progress, timeout_s=timeout_s)
    results = [result for look in looks for result in gates.check(look.summary, fail_under, allow_unscored=allow_unscored)]
    if as_json:
        return _print_json({"id": eval_id, "name": loaded.spec.name, "reused": reused}, looks, results)
    return _print(looks, results, allow_unscored=allow_unscored)


def _known_graders(wanted: Sequence[Gate], known: Sequence[str]) -> None:
    for gate in wanted:
        if gate.grader not in known:
            raise CannotRun(f"--fail-under: no grader named {gate.grader!r}; the eval has: {', '.join(known)}")


def _follow(api: Any, started: Any, *, aggregate_url: str | None, wanted: bool, timeout_s: float) -> list[Look]:
    from cli.progress import shown_on
    from cli.watch import Watcher, follow

    watcher = Watcher(api, aggregate_url=aggregate_url)
    try:
        with shown_on(sys.stderr, started, wanted=wanted, clock=time.monotonic) as shown:
            return follow(started, watcher.look, shown=shown, clock=time.monotonic, sleep=time.sleep, timeout_s=timeout_s)
    except KeyboardInterrupt:
        ids = ", ".join(run.run_id for run in started)
        click.echo(f"knudge: no longer following; still running on the server: {ids}", err=True)
        raise
    finally:
        watcher.close()


def _exit_code(looks: Sequence[Look], results: Sequence[GateResult]) -> int:
    if any(look.summary.status != "completed" for look in looks):
        return COULD_NOT_RUN
    sound = not any(look.summary.suspect for look in looks)
    return PASSED if sound and all(result.passed for result in results) else GATE_FAILED


def _print(looks: Sequence[Look], results: Sequence[GateResult], *, allow_unscored: bool) -> int:
    from cli import tables

    console = tables.console_on(sys.stdout)
    for look in looks:
        tables.print_run(console, look.summary)
    if len(looks) > 1:
        tables.print_side_by_side(console, [look.summary for look in looks])
    tables.print_gates(console, results, allow_unscored=allow_unscored)
    for look in looks:
        if not look.whole:
            click.echo(f"knudge: {look.run.name}: no summary to be had; means, cost and 'simulated' are unknown", err=True)
    code, doubts = _exit_code(looks, results), [doubt for look in looks for doubt in _doubts(look)]
    if doubts or results:
        tables.print_end(console, code, "; ".join(doubts) or gates.told([result.passed for result in results]))
    return code


def _doubts(look: Look) -> Iterator[str]:
    """What makes a run none that a gate can pass."""
    from cli.watch import ended_as

    if look.summary.status != "completed":
        yield f"{look.run.name}: {ended_as(look.summary.status)}"
    if look.summary.suspect:
        yield f"{look.run.name}: its figures are not to be believed, a canary did not pass"


def _print_json(of_eval: dict[str, Any], looks: Sequence[Look], results: Sequence[GateResult]) -> int:
    import orjson

    code = _exit_code(looks, results)
    answer = {
        "eval": of_eval,
        "runs": [{**look.summary.model_dump(mode="json"), "summary_complete": look.whole} for look in looks],
        "gates": [
            {
                "run": result.run,
                "grader": result.gate.grader,
                "measure": "mean" if result.gate.measure == "mean" else "pass_rate",
                "at_least": result.gate.at_least,
                "value": result.value,
                "worst_case": result.bound,
                "unscored": result.missing,
                "passed": result.passed,
            }
            for result in results
        ],
        "simulated": any(look.summary.simulated for look in looks),
        "exit_code": code,
    }
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    return code
