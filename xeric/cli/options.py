"""Options and output that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["AsJson", "TasksDir", "print_json"]

TasksDir = Annotated[
    list[Path] | None,
    typer.Option("--tasks-dir", help="Folder with task files; may be given more than once. Also: XERIC_TASKS."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def print_json(value: Any) -> None:
    """Print plain values as indented JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
