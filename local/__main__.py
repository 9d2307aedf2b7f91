"""``bin/serve``: the whole system on this machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from common.errors import KnudgeError, StoreUnavailable
from common.security.redaction import redact
from common.settings import Settings
from local.faults import Faults
from local.judge import find_judge, write_config
from local.manifests import read_wiring
from local.programs import ROOT, Options, plan
from local.scale import parse_scale
from local.supervisor import ChildError, StartError, Supervisor

if TYPE_CHECKING:
    from local.dispatch import Mode

EXAMPLE = ROOT / "examples" / "assistants" / "eval.yaml"
_COULD_NOT_RUN = 2
_CHILD_DIED = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line."""

    demo: bool
    exit_after: bool
    config: Path | None
    judge: str | None
    broker_mode: Mode
    broker_faults: str
    scale: str
    restart: bool
    verbose: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--demo", is_flag=True, help="Also run the example eval through the whole system and print the result.")
@click.option("--exit", "exit_after", is_flag=True, help="With --demo: stop after the result, with its exit code.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Gateway YAML (KNUDGE_CONFIG).")
@click.option("--judge", metavar="PROVIDER:MODEL", help="The judge to use where there is no configuration file.")
@click.option("--broker-mode", type=click.Choice(["async", "sync"]), default="async", show_default=True)
@click.option("--broker-faults", default="", help="For tests: lose=RATE,duplicate=RATE,copies=N,reorder=RATE,late_s=S,seed=N.")
@click.option("--scale", default="", help="Processes of a function, for example evaluate=2,aggregate=2 (default: one of each).")
@click.option("--restart", is_flag=True, help="Start a program again that a signal has ended, as a cluster does.")
@click.option("--verbose", is_flag=True, help="Show the programs' logs here instead of writing them to files.")
def main(  # noqa: PLR0917 - click passes options by name
    demo: bool,  # noqa: FBT001
    exit_after: bool,  # noqa: FBT001
    config: Path | None,
    judge: str | None,
    broker_mode: Mode,
    broker_faults: str,
    scale: str,
    restart: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
) -> None:
    """Start everything on this machine: store, broker, simulator, five functions; Ctrl-C stops it.

    Exit codes: 0 stopped by you, 1 a program died, 2 could not start; with --demo --exit the eval's.
    """
    if exit_after and not demo:
        raise click.UsageError("--exit goes with --demo")
    wanted = Wanted(demo, exit_after, config, judge, broker_mode, broker_faults, scale, restart, verbose)
    try:
        sys.exit(_serve(wanted, _settings()))
    except KnudgeError as error:
        _say(f"bin/serve: {error.message}", err=True)
        sys.exit(_CHILD_DIED if isinstance(error, ChildError) else _COULD_NOT_RUN)


def _settings() -> Settings:
    settings = Settings.from_env()
    if settings.environ.get("KNUDGE_DATA_DIR"):
        return settings
    return replace(settings, data_dir=ROOT / ".knudge")  # the checkout's own folder, wherever the command was typed


def _serve(wanted: Wanted, settings: Settings) -> int:
    data_dir = _writable(settings.data_dir.resolve())
    _reachable(settings)
    with tempfile.TemporaryDirectory(prefix="knudge-", ignore_cleanup_errors=True) as homes:
        Faults.parse(wanted.broker_faults)
        config_path, judge_text = _configuration(wanted, settings, data_dir)
        replace(settings, config_path=config_path).gateway_config()  # a mistake in it is told before anything starts
        wiring = read_wiring()
        scale = parse_scale(wanted.scale, wiring.functions)
        options = Options(config_path, Path(homes), wanted.broker_mode, wanted.broker_faults, scale)
        supervisor = Supervisor(plan(settings, wiring, options), data_dir, verbose=wanted.verbose, restart=wanted.restart)
        _say("Starting Knudge ...")
        with supervisor.running():
            return _work(supervisor, wanted, settings, judge_text)


def _writable(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            return data_dir
    except OSError as error:
        msg = f"cannot write to {data_dir}: {error.strerror}; choose another folder with KNUDGE_DATA_DIR"
        raise StartError(msg) from error


def _reachable(settings: Settings) -> None:
    """A store of the user's own must answer now: without it no function would ever be ready."""
    if not settings.environ.get("KNUDGE_REDIS_URL"):
        return
    from common.store.connect import store_errors, sync_client

    try:
        with store_errors(), sync_client(settings) as client:
            client.ping()
    except (StoreUnavailable, ValueError) as error:
        cause = error.__cause__ or error
        msg = f"KNUDGE_REDIS_URL: the store does not answer: {redact(str(cause))}"
        raise StartError(msg) from error


def _work(supervisor: Supervisor, wanted: Wanted, settings: Settings, judge: str) -> int:
    if not supervisor.asked_to_stop():
        _say(_welcome(settings, judge, supervisor.data_dir, verbose=wanted.verbose))
    if wanted.demo and not supervisor.asked_to_stop():
        code = _demonstrate(supervisor, settings)
        if wanted.exit_after:
            return code
    if not supervisor.asked_to_stop():
        _say("Serving; Ctrl-C stops everything.")
        supervisor.watch()
    _say("Stopping ...")
    return 0


def _configuration(wanted: Wanted, settings: Settings, data_dir: Path) -> tuple[Path, str]:
    given = wanted.config or settings.config_path
    if given is not None:
        return given.resolve(), f"as {given} says"
    judge = find_judge(settings, wanted=wanted.judge)
    path = data_dir / "gateway.json"
    write_config(judge, settings, path)
    return path, str(judge)


def _welcome(settings: Settings, judge: str, data_dir: Path, *, verbose: bool) -> str:
    urls = settings.public_urls
    lines = [
        "Knudge is running.",
        f"  judge              {judge}",
        f"  evals and files    {urls['tasks']}/v1",
        f"  chat and models    {urls['completions']}/v1",
        f"  one evaluation     {urls['evaluate']}",
        f"  results, reports   {urls['aggregate']}",
        f"  status, metrics    {urls['health']}",
        f"  data               {data_dir}",
    ]
    return "\n".join(lines if verbose else [*lines, f"  logs               {data_dir / 'logs'}"])


def _demonstrate(supervisor: Supervisor, settings: Settings) -> int:
    """Run the example as a user would, on this terminal; its exit code."""
    env = dict(next(program for program in supervisor.programs if program.name == "tasks").env)
    env["HOME"] = settings.environ.get("HOME", env["HOME"])
    url = f"http://127.0.0.1:{settings.port('tasks')}/v1"
    # A Ctrl-C reaches it, too, and may do so while it is still importing.
    command = "import sys\ntry:\n    from cli.main import main\nexcept KeyboardInterrupt:\n    sys.exit(130)\nmain()"
    argv = [sys.executable, "-c", command, "run", str(EXAMPLE.relative_to(ROOT)), "--base-url", url]
    with subprocess.Popen(argv, cwd=ROOT, env=env) as demo:  # noqa: S603 - our own program
        try:
            supervisor.watch(until=lambda: demo.poll() is not None)
        finally:
            if demo.poll() is None:
                demo.terminate()
    return demo.returncode


def _say(text: str, *, err: bool = False) -> None:
    click.echo(text, err=err)
    (sys.stderr if err else sys.stdout).flush()


if __name__ == "__main__":
    main()
