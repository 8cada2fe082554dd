"""Options and output that several commands share."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from xeric.cli.completing import tracker_names
from xeric.errors import UserError
from xeric.files import expanded

if TYPE_CHECKING:
    from xeric.data.quoting import Quotes as QuotesName

__all__ = [
    "AsJson",
    "Delimiter",
    "Encoding",
    "License",
    "Quotes",
    "Revision",
    "Split",
    "Subset",
    "TableEncoding",
    "TasksDir",
    "Track",
    "known_quotes",
    "path_argument",
    "path_option",
    "print_json",
    "quiet_libraries",
    "speak_utf8",
]


def path_option(*names: str, help: str) -> Any:  # noqa: A002 - typer's word
    """Return an option that takes a path; ``--output=~/runs`` means the home folder, though the shell leaves it as it is."""
    return typer.Option(*names, help=help, parser=expanded, metavar="PATH")


def path_argument(*, help: str, metavar: str = "PATH") -> Any:  # noqa: A002 - typer's word
    """Return an argument that is a path."""
    return typer.Argument(help=help, parser=expanded, metavar=metavar)


TasksDir = Annotated[
    list[Path] | None,
    path_option("--tasks-dir", help="Folder with task files; may be given more than once. Also: XERIC_TASKS."),
]
Encoding = Annotated[str | None, typer.Option(help="Of the file, such as cp1252; one of Unicode's where not given.")]
TableEncoding = Annotated[str | None, typer.Option("--encoding", help="Of a file, such as cp1252; found out where not given.")]
Delimiter = Annotated[str | None, typer.Option(help="Between cells: a character, or tab; found out where not given.")]
Quotes = Annotated[str, typer.Option(help="Quotation marks in CSV and TSV: enclose cells, are text, or auto.")]
Split = Annotated[str, typer.Option(help="Of a Hugging Face dataset.")]
Subset = Annotated[str | None, typer.Option(help="Configuration of a Hugging Face dataset.")]
Revision = Annotated[str | None, typer.Option(help="Commit of a Hugging Face dataset.")]
License = Annotated[str | None, typer.Option(help="Licence of the instances.")]
Track = Annotated[
    str | None,
    typer.Option(help="Tell losses and scores to tensorboard, mlflow, wandb or trackio.", autocompletion=tracker_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def known_quotes(quotes: str) -> QuotesName:
    """Return what ``--quotes`` says.

    Raises:
        UserError: there is no such reading of quotation marks.
    """
    from xeric.data import quoting

    if quotes not in get_args(quoting.Quotes):
        raise UserError(f"unknown reading of quotation marks {quotes!r}", hint="use enclose, text or auto")
    return cast("QuotesName", quotes)


def print_json(value: Any) -> None:
    """Print plain values as indented JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def speak_utf8() -> None:
    """Write UTF-8 into files and pipes, whatever the system's own encoding; on a terminal, replace what it cannot show.

    JSON remains valid: half of a surrogate pair, which has no UTF-8, is written as its escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and advice off the terminal."""
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the reader of GGUF files has no other setting for its progress bar
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"(peft|transformers|huggingface_hub)")
