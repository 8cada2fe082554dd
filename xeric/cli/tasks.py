"""``xeric tasks``: show, check, import and download task files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xeric.cli.completing import task_names
from xeric.cli.listing import show_rows
from xeric.cli.options import (
    AsJson,
    Delimiter,
    License,
    Quotes,
    Revision,
    Split,
    Subset,
    TableEncoding,
    TasksDir,
    known_quotes,
    path_option,
    print_json,
)
from xeric.encodings import existing
from xeric.errors import UserError

__all__ = ["tasks_app"]

tasks_app = typer.Typer(help="Look at task files, check them, make them of tables, fetch them.", no_args_is_help=True)


@tasks_app.command("list")
def list_tasks(tasks_dir: TasksDir = None, as_json: AsJson = False) -> None:
    """Tasks in the folders given, in those of XERIC_TASKS, and bundled ones."""
    from xeric.data.catalog import Catalog

    catalog = Catalog.of(tasks_dir or ())
    show_rows(((name, str(catalog.find(name).parent)) for name in catalog.names()), as_json)


@tasks_app.command()
def show(
    task: Annotated[str, typer.Argument(help="A task's name.", autocompletion=task_names)],
    tasks_dir: TasksDir = None,
    instances: Annotated[int, typer.Option(min=0, help="How many instances to show.")] = 3,
    as_json: AsJson = False,
) -> None:
    """One task: what it asks for, its languages, demonstrations and first instances."""
    from xeric.cli.show import show_task
    from xeric.data.catalog import Catalog

    loaded = Catalog.of(tasks_dir or ()).load(task)
    if as_json:
        first = [{"id": i.id, "input": i.input, "outputs": list(i.outputs)} for i in loaded.instances[:instances]]
        description = {"name": loaded.name, "definition": loaded.definition, "instances": len(loaded.instances)}
        languages = {"input_languages": loaded.input_languages, "output_languages": loaded.output_languages}
        print_json({**description, **languages, "categories": loaded.categories, "licenses": loaded.licenses, "first": first})
    else:
        show_task(loaded, instances)


@tasks_app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Tasks by name; all of them if none is named.", autocompletion=task_names)
    ] = None,
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> int:
    """Read and clean tasks and describe them: instances, drops by reason, clusters, the sizes of a split.

    Leaves with exit code 2 if a task was refused.
    """
    from xeric.cli.progress import TerminalProgress
    from xeric.cli.show import show_checks
    from xeric.data.catalog import Catalog
    from xeric.data.checking import check_task

    catalog = Catalog.of(tasks_dir or ())
    # Without names: the tasks of the given folders, not the bundled ones.
    chosen = names or (Catalog([Path(d) for d in tasks_dir]).names() if tasks_dir else catalog.names())
    checks = []
    with TerminalProgress() as progress:
        progress.start("check", len(chosen))
        for name in chosen:
            checks.append(check_task(catalog.find(name)))
            progress.advance(1)
    if as_json:
        print_json([task_check.as_json() for task_check in checks])
    else:
        show_checks(checks)
    return 0 if all(task_check.ok for task_check in checks) else 2


@tasks_app.command("import")
def import_table(
    source: Annotated[
        str, typer.Argument(help="A .csv, .tsv, .json, .jsonl or .parquet file, or a Hugging Face dataset's folder or id.")
    ],
    name: Annotated[str, typer.Option(help="Name of the new task.")],
    definition: Annotated[str, typer.Option(help="The instruction: what to do with an input, in a sentence.")],
    language: Annotated[str, typer.Option(help="Language of the outputs, by name or code.")],
    input_column: Annotated[
        str, typer.Option(help='Column of the inputs; "none" where pictures are all the input there is.')
    ] = "input",
    output_column: Annotated[str, typer.Option(help="Column of the outputs.")] = "output",
    group_column: Annotated[str | None, typer.Option(help="Column whose equal values stay on one side of a split.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of ids; else they come from the rows' positions.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of pictures' files, relative to the table's folder.")] = None,
    input_language: Annotated[str | None, typer.Option(help="Language of the inputs, where it is another.")] = None,
    license: License = None,  # noqa: A002 - the schema's word
    encoding: TableEncoding = None,
    delimiter: Delimiter = None,
    quotes: Quotes = "auto",
    split: Split = "train",
    subset: Subset = None,
    revision: Revision = None,
    output: Annotated[Path, path_option("--output", "-o", help="Folder for the task file.")] = Path(),
) -> None:
    """Make a task file of a table."""
    from xeric.data.importing import ImportOptions, import_task, write_task

    options = ImportOptions(
        name=name,
        definition=definition,
        language=language,
        input_column=None if input_column == "none" and image_column else input_column,
        output_column=output_column,
        group_column=group_column,
        id_column=id_column,
        image_column=image_column,
        input_language=input_language,
        license=license,
        encoding=encoding,
        delimiter=delimiter,
        quotes=known_quotes(quotes),
        split=split,
        subset=subset,
        revision=revision,
    )
    task = import_task(source, options, note=lambda text: typer.echo(text, err=True))
    path = existing(output / f"{task.name}.json")
    if path.exists():
        raise UserError("is there already", where=str(path), hint="choose another name or folder")
    write_task(task, path)
    typer.echo(f"{path}: {len(task.instances)} instances")


@tasks_app.command()
def download(
    names: Annotated[list[str] | None, typer.Argument(help="Names of original Natural Instructions v2 tasks.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All tasks of the repository, from its archive, which is large.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Another source: an address with {name} in it; with --all, of a .tar.gz of the repository.")
    ] = None,
    output: Annotated[Path, path_option("--output", "-o", help="Folder for the task files.")] = Path("tasks"),
) -> None:
    """Fetch original Natural Instructions v2 task files; those that are there already stay."""
    from xeric.data import downloading

    if bool(names) == everything:
        raise UserError("name the tasks to fetch, or give --all", hint="xeric tasks download task1711_poki_text_generation")
    if names:
        paths = downloading.download(names, output, url=url or downloading.NIV2_URL)
    else:
        source = url or downloading.ARCHIVE_URL
        paths = downloading.download_all(output, url=source, note=lambda text: typer.echo(text, err=True))
    for path in paths:
        typer.echo(str(path))
