"""``knudge``: the console command. Each subcommand is one module, imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from cli.errors import COULD_NOT_RUN, INTERRUPTED, PASSED
from cli.text import plain
from common.errors import KnudgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "run": "cli.commands.run",
    "report": "cli.commands.report",
    "compare": "cli.commands.compare",
    "watch": "cli.commands.watch",
    "logs": "cli.commands.logs",
    "pause": "cli.commands.control:pause",
    "resume": "cli.commands.control:resume",
    "cancel": "cli.commands.control:cancel",
    "retry": "cli.commands.retry",
    "fork": "cli.commands.fork",
    "rerun": "cli.commands.rerun",
    "export": "cli.commands.export",
    "import": "cli.commands.importing",
    "deadletters": "cli.commands.deadletters",
    "keys": "cli.commands.keys",
    "project": "cli.commands.project",
    "cache": "cli.commands.cache",
    "serve": "cli.commands.serve",
}


class _Lazy(click.Group):
    """Imports a subcommand's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="knudge", prog_name="knudge")
def knudge() -> None:
    """Run evals, read their results, and bring yours over from any server that speaks the OpenAI Evals API.

    Exit codes: 0 passed, 1 a gate failed, 2 could not run.
    """


def outcome(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own); its exit code. Whatever goes wrong is one line on stderr."""
    try:
        result = knudge.main(args=arguments, prog_name="knudge", standalone_mode=False)
    except click.UsageError as error:
        error.show()
    except click.ClickException as error:
        _complain(error.format_message())
    except KnudgeError as error:
        _complain(error.message)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone; nothing is left to be said, at exit either
        sys.stdout = None
    except OSError as error:
        _complain(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}")
    else:
        return result if isinstance(result, int) else PASSED
    return COULD_NOT_RUN


def _complain(message: str) -> None:
    click.echo(f"knudge: {plain(message, limit=1000)}", err=True)


def main() -> NoReturn:
    """The console script."""
    sys.exit(outcome())
