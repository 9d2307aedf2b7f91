"""``knudge compare``: two runs, item by item, with gates."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cli import gates
from cli.commands import options
from cli.errors import COULD_NOT_RUN, GATE_FAILED, PASSED, CannotRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.gates import PairGate, PairGateResult
    from common.schemas.comparison import ComparedRun, Comparison


def _gates(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[PairGate]:
    del ctx, param
    return [gates.parse_pair(text) for text in value]


@click.command("compare", short_help="Compare two runs, and gate on the difference.")
@click.argument("baseline")
@click.argument("candidate")
@click.option("--base-url", default=options.base_url("aggregate"), metavar="URL", help="Aggregate. [default: the local one]")
@options.api_key
@click.option("--gate", "wanted", multiple=True, callback=_gates, metavar="GATE", help="What must hold; may be repeated.")
@click.option("--grader", "graders", multiple=True, metavar="NAME", help="Only this grader; may be repeated.")
@click.option("--cluster", metavar="item.PATH", help="Items with one value there hang together: clustered standard errors.")
@click.option("--slice", "slice_by", metavar="item.PATH", help="A row for each value there, too.")
@click.option(
    "--level",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence, of intervals and gates.",
)
@click.option("--margin", type=click.FloatRange(min=0), help="Also say whether CANDIDATE is worse by this or more.")
@click.option("--bootstrap", is_flag=True, help="Bootstrap intervals, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@options.timeout
def command(  # noqa: PLR0917  # click passes options by name
    baseline: str,
    candidate: str,
    base_url: str,
    api_key: str | None,
    wanted: list[PairGate],
    graders: tuple[str, ...],
    cluster: str | None,
    slice_by: str | None,
    level: float,
    margin: float | None,
    bootstrap: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    request_timeout: float,
) -> int:
    """Compare the run CANDIDATE with the run BASELINE on the items that both have. Differences are CANDIDATE less BASELINE.

    Gates, each decided by the one-sided interval of the paired difference at --level:

    \b
      NAME: not worse than X             the mean has not fallen by X or more
      NAME: better than X                the mean has risen by more than X ("better": than 0)
      NAME pass rate: not worse than X   the same for the share of passes (0.02 or 2%)
      unscored: at most N%               no grader left more of CANDIDATE unscored

    What the items at hand do not settle is no pass: the gate fails, and says how many items would settle it.

    Exit codes: 0 every gate held, 1 a gate failed, 2 could not run, or a run to be gated is not complete.
    """  # noqa: D301  # click's mark for "leave these lines as they are" is a real backspace
    from cli.api import Api, Patience

    query: dict[str, str | int | None] = {
        "runs": f"{baseline},{candidate}",
        "graders": ",".join(graders) or None,
        "cluster": cluster,
        "slice": slice_by,
        "level": str(level),
        "margin": None if margin is None else str(margin),
        "bootstrap": "true" if bootstrap else None,
    }
    with Api(base_url, key=api_key, patience=Patience(timeout_s=request_timeout, attempts=3)) as api:
        found = _parsed(api.get("/compare", **query))
    _known_graders(wanted, found)
    unfit = _unfit(found) if wanted else ""
    results = gates.check_pair(found, wanted, unfit=unfit)
    code = COULD_NOT_RUN if unfit else PASSED if all(result.passed for result in results) else GATE_FAILED
    if as_json:
        _print_json(found, results, code)
    else:
        _print(found, results, code, unfit=unfit)
    return code


def _parsed(answer: Any) -> Comparison:
    """A comparison from JSON; fields of a newer server are ignored."""
    from pydantic import ValidationError

    from common.schemas.comparison import Comparison

    try:
        return Comparison.model_validate(answer, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        raise CannotRun(f"not a comparison: /{'/'.join(map(str, first['loc']))}: {first['msg']}") from error


def _known_graders(wanted: Sequence[PairGate], found: Comparison) -> None:
    known = [grader.name for grader in found.graders]
    for gate in wanted:
        if gate.wish != "at most" and gate.grader not in known:
            why = next((f" ({each.reason})" for each in found.not_compared if each.name == gate.grader), "")
            raise CannotRun(f"--gate: no grader named {gate.grader!r} is compared{why}; there are: {', '.join(known)}")


def _unfit(found: Comparison) -> str:
    """Why no gate can be decided over these runs; empty where there is no such reason."""
    doubts = {"baseline": _doubt(found.a), "candidate": _doubt(found.b)}
    return "; ".join(f"the {role} {doubt}" for role, doubt in doubts.items() if doubt)


def _doubt(run: ComparedRun) -> str:
    if run.suspect:
        return "is suspect: a canary failed"
    if run.stopped:
        return "stopped early by a rule of its own, which has decided what it was to decide"
    return "" if run.complete and run.status == "completed" else f"is {run.status}, with {run.done:,} of {run.total:,} items"


def _print(found: Comparison, results: Sequence[PairGateResult], code: int, *, unfit: str) -> None:
    from cli.compare_tables import print_comparison, print_pair_gates
    from cli.tables import console_on, print_end

    console = console_on(sys.stdout)
    print_comparison(console, found)
    print_pair_gates(console, results, decided=not unfit)
    if results:
        print_end(console, code, unfit or gates.told([result.passed for result in results]))


def _print_json(found: Comparison, results: Sequence[PairGateResult], code: int) -> None:
    import orjson

    told = [
        {
            "gate": result.gate.text,
            "grader": None if result.gate.wish == "at most" else result.gate.grader,
            "measure": {"mean": "mean", "pass": "pass_rate"}[result.gate.measure]
            if result.gate.wish != "at most"
            else "unscored",
            "wish": result.gate.wish,
            "amount": result.gate.amount,
            "value": result.value,
            "bound": result.bound,
            "pairs": result.pairs,
            "items_needed": result.needed,
            "undecided": result.undecided,
            "passed": result.passed,
            "reason": result.reason,
        }
        for result in results
    ]
    answer = {**found.model_dump(mode="json"), "gates": told, "exit_code": code}
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
