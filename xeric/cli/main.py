"""The command line: thin commands over the API.

Every command imports what it needs when it runs, so that ``--help`` answers at once. Results go to standard output,
everything else to standard error. Exit codes: 0, 1 for a run that failed, 2 for input at fault, 130 (143) where Ctrl-C (``kill``)
ended it; an error is one sentence and a hint.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from xeric import __version__
from xeric.cli.adapt import adapt
from xeric.cli.bases import bases_app
from xeric.cli.demo import demo
from xeric.cli.export import export
from xeric.cli.generate import generate
from xeric.cli.instruct import instruct
from xeric.cli.listing import list_app
from xeric.cli.options import speak_utf8
from xeric.cli.play import play
from xeric.cli.recommend import recommend
from xeric.cli.report import report
from xeric.cli.runs import score, train
from xeric.cli.study import study_app
from xeric.cli.tasks import tasks_app
from xeric.errors import StorageError, UserError, XericError, memory_error, missing_package_error
from xeric.files import storage_error
from xeric.interruption import Interrupted, raising

__all__ = ["app", "main"]

app = typer.Typer(
    name="xeric",
    help="Adapt a language model to a text-generation task with a few hundred examples, and say which way is best.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (adapt, train, instruct, generate, play, score, export, recommend, report, demo):
    app.command()(command)
for name, commands in (("study", study_app), ("tasks", tasks_app), ("bases", bases_app), ("list", list_app)):
    app.add_typer(commands, name=name)

_REMOVED = {
    ("pretrain",): (
        "`xeric pretrain` is gone",
        "take a pretrained base (--base gemma-3-270m); to train it on texts of your own, use `xeric train ... --texts DIR`",
    ),
    ("list", "bases"): ("`xeric list bases` is gone", "use `xeric bases list`"),
    ("list", "tasks"): ("`xeric list tasks` is gone", "use `xeric tasks list`"),
}
"""Commands that earlier versions had, with the complaint and the hint."""

_RESUMED = ("adapt", "train", "instruct", "study", "demo", "bases")
_GOES_ON = "what was finished is kept; the same command goes on from there"


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    # Threads that wait for work sleep instead of spinning: where another process needs the same cores, spinning made a training
    # step of 15 seconds take minutes (docs/log.md). Read when the tensor library is loaded, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on arguments and return its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    several = ("--to",) if arguments[:2] == ["bases", "trim"] else ("--sources", "--texts", "--trim-to")
    arguments = _spread(arguments, *several)
    speak_utf8()
    try:
        with raising():
            _refuse_removed(arguments)
            result = app(arguments, prog_name="xeric", standalone_mode=False)
            # Here, where a full disk is an error with a name, and not when the process ends.
            sys.stdout.flush()
            return result if isinstance(result, int) else 0
    except typer.TyperException as error:
        return _usage(error)
    except Interrupted as signal:
        _complain(str(signal), _GOES_ON if arguments[:1] and arguments[0] in _RESUMED else None)
        return signal.exit_code
    except BrokenPipeError as error:
        if storage_error(error) is not None:  # a server has closed a file: some network file systems say it so
            return _failed(error)
        # The reader of a pipe (head, less) has gone; nothing is wrong.
        _close_output()
        return 0
    except SystemExit:
        if type(sys.stdout).__name__ != "PacifyFlushWrapper":
            raise
        # Typer takes a broken pipe within a command for a failure, puts this around the output, and leaves.
        _close_output()
        return 0
    except Exception as error:
        if debug:
            raise
        return _failed(error)


def _failed(error: Exception) -> int:
    """Say what went wrong, in a sentence and a hint, and return the exit code."""
    ours = error if isinstance(error, XericError) else _as_ours(error)
    if ours is None:
        _complain(f"unexpected {type(error).__name__}: {error}", "this is a mistake in Xeric; --debug shows where")
        return 1
    if ours.where is None and isinstance(ours, StorageError):
        # What is written without a path is the standard output; what is left of it would be complained of a second time.
        ours = StorageError(ours.what, where="standard output", hint=ours.hint).after_work()
        _close_output()
    _complain(f"{ours.where}: {ours.what}" if ours.where else ours.what, ours.hint)
    return ours.exit_code


def _as_ours(error: Exception) -> XericError | None:
    """Return another library's error as one for the user; None where it is none that a user can mend."""
    return storage_error(error, doing="read or written") or memory_error(error) or missing_package_error(error)


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_removed(arguments: list[str]) -> None:
    for words, (what, hint) in _REMOVED.items():
        if tuple(arguments[: len(words)]) == words:
            raise UserError(what, hint=hint)


def _spread(arguments: list[str], *options: str) -> list[str]:
    """Give each of the names behind an option an option of its own: ``--sources a b`` is ``--sources a --sources b``."""
    result: list[str] = []
    taking: str | None = None
    for argument in arguments:
        if argument in options:
            taking = argument
            continue
        if argument.startswith("-") or "=" in argument:
            taking = None
        result += [taking, argument] if taking else [argument]
    return result


def _usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message())
        return 0
    _complain(error.format_message().rstrip("."), "see `xeric --help`, or `xeric COMMAND --help`")
    return 2


def _complain(what: str, hint: str | None) -> None:
    typer.echo(f"xeric: {what}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"xeric {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; ``--debug`` is taken out before parsing, so that it may stand anywhere."""
