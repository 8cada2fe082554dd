"""``xeric study new`` and ``xeric study check``: the study file before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.completing import study_names
from xeric.cli.options import AsJson, TasksDir, path_option, print_json
from xeric.errors import ConfigError, UnknownNameError, UserError
from xeric.files import full_path

if TYPE_CHECKING:
    from xeric.execution.checking import Checked

__all__ = ["Set", "Source", "check", "new", "pointing_to_check", "with_tasks_dirs"]

Source = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="A study file, a bundled study's name, or the folder of a study.", autocompletion=study_names
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="By dotted path: seeds=[0,1], bases.ROLE=BASE, tasks=[T].")]

_DEFAULT_BASE = "gemma-3-270m"


def new(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="Names of tasks (`xeric tasks list`).")],
    base: Annotated[list[str] | None, typer.Option(help="Name, file or folder of a base; may be given more than once.")] = None,
    output: Annotated[Path, path_option("--output", "-o", help="The file to write.")] = Path("study.yaml"),
    tasks_dir: TasksDir = None,
) -> None:
    """Write a study file to begin with: complete, with the rest of the settings in comments."""
    from xeric.bases.names import full_name
    from xeric.data.catalog import Catalog
    from xeric.studies.new_file import new_study_text, write_new_study
    from xeric.studies.short_forms import long_form

    catalog = Catalog.of(tasks_dir or ())
    for task in tasks:
        catalog.find(task)
    if base:
        from xeric.execution.checking import base_mistake

        for name in base:
            if (mistake := base_mistake(name)) is not None:
                raise mistake
    bases = [full_name(name) for name in base or [_DEFAULT_BASE]]
    folders = [full_path(folder) for folder in tasks_dir or ()]
    label = next(iter(long_form({"bases": bases})["bases"]))
    write_new_study(output, new_study_text(bases, tasks, folders, label=label, file=str(output)))
    typer.echo(f"{output}: {_count(len(tasks), 'task')}, {_count(len(bases), 'base')}; next: xeric study plan {output}")


def check(study: Source, overrides: Set = None, tasks_dir: TasksDir = None, as_json: AsJson = False) -> int:
    """Show every mistake in a study file at once, each with its line and an example that is right.

    Leaves with exit code 2 if there are any. Nothing is loaded or computed.
    """
    from xeric.execution.checking import check_file

    checked = check_file(study, with_tasks_dirs(overrides, tasks_dir))
    if as_json:
        mistakes = [mistake.as_json() for mistake in checked.mistakes]
        sizes = {"arms": checked.arms, "runs": checked.runs, "remarks": list(checked.remarks)}
        print_json({"file": str(checked.file), "mistakes": mistakes, **sizes})
    else:
        _show(checked)
    return 2 if checked.mistakes else 0


def _show(checked: Checked) -> None:
    if not checked.mistakes:
        for remark in checked.remarks:
            typer.echo(remark, err=True)
        typer.echo(f"{checked.file}: no mistakes; {_count(checked.arms, 'arm')}, {_count(checked.runs, 'run')}")
        return
    typer.echo(f"{checked.file}: {_count(len(checked.mistakes), 'mistake')}")
    for mistake in checked.mistakes:
        line = f"line {mistake.line}, " if mistake.line is not None else ""
        typer.echo(f"\n{line}{mistake.where}: {mistake.what}" if mistake.where else f"\n{mistake.what}")
        if mistake.hint:
            typer.echo(f"    hint: {mistake.hint}")
        if mistake.example:
            typer.echo(f"    for example: {mistake.example}")


def _count(number: int, singular: str) -> str:
    return f"{number} {singular}" + ("" if number == 1 else "s")


def with_tasks_dirs(overrides: list[str] | None, tasks_dir: list[Path] | None) -> list[str]:
    """Return overrides of a study with the folders of tasks that the command line names."""
    folders = [f"tasks_dirs={json.dumps([str(folder) for folder in tasks_dir])}"] if tasks_dir else []
    return [*folders, *(overrides or [])]


@contextmanager
def pointing_to_check(source: str, overrides: list[str]) -> Iterator[None]:
    """Say in the hint of a mistake in a study that ``xeric study check`` shows all of them, and how many more there are."""
    try:
        yield
    except (ConfigError, UnknownNameError) as error:
        if (more := _further_mistakes(source, overrides)) > 0:
            others = f"`xeric study check` with the same arguments shows {_count(more, 'more mistake')}"
            error.hint = f"{error.hint}; {others}" if error.hint else others
        raise


def _further_mistakes(source: str, overrides: list[str]) -> int:
    from xeric.execution.checking import check_file

    try:
        return len(check_file(source, overrides).mistakes) - 1
    except UserError:
        return 0  # there is no such study, or its file cannot be read: that is the mistake
