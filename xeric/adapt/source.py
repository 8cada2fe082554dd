"""The user's file as a task: a table whose columns and language are guessed where they are not given, or a task as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import regex

from xeric.data.catalog import Catalog
from xeric.data.guessing import guess_columns, guess_language
from xeric.data.importing import ImportOptions, ReadOptions, import_task, read_table
from xeric.data.tables import Table
from xeric.data.tasks import Task, load_task
from xeric.encodings import existing, nfc
from xeric.errors import DataError, UserError
from xeric.json_io import read_json

__all__ = ["SourceOptions", "read_source"]

_UNKNOWN_LANGUAGE = "Unknown language"


class SourceOptions(ReadOptions):
    """Settings for a user's file; what is None is guessed, and the user is told.

    Attributes:
        input_column: column of the inputs.
        output_column: column of the outputs.
        group_column: column whose equal values stay on one side of the split; ``none`` for no such column.
        image_column: column of the names of pictures' files, relative to the table; never guessed.
        language: of the outputs.
        input_language: of the inputs, where it is another.
        definition: the instruction; without one, a sentence made of the names of the columns.
        name: of the task; without one, that of the file.
        license: of the examples.
    """

    input_column: str | None = None
    output_column: str | None = None
    group_column: str | None = None
    image_column: str | None = None
    language: str | None = None
    input_language: str | None = None
    definition: str | None = None
    name: str | None = None
    license: str | None = None


def read_source(source: str, options: SourceOptions, note: Callable[[str], None]) -> Task:
    """Return the task that a file holds or makes.

    Args:
        source: a table, a dataset (:func:`xeric.data.importing.read_table`), a task file, or the name of a known task.
        options: what is known of it.
        note: is told of everything that is guessed.

    Raises:
        UserError: the columns cannot be told, or there is no such file.
        DataError: the file cannot be read.
    """
    if (task := _task(source)) is not None:
        return _changed(task, options)
    table = read_table(source, options, columns=_named(options), note=note)
    if not table.rows:
        raise DataError("holds no rows below its header", where=source)
    columns = guess_columns(
        table,
        input_column=options.input_column,
        output_column=options.output_column,
        group_column=options.group_column,
        image_column=options.image_column,
    )
    for sentence in columns.guessed:
        note(sentence)
    language = options.language or _language(table, columns.output, columns.input, note)
    definition = options.definition or _definition(columns.input, columns.output, note)
    return import_task(
        source,
        ImportOptions(
            name=options.name or _name(source),
            definition=definition,
            language=language,
            input_column=columns.input,
            output_column=columns.output,
            group_column=columns.group,
            **options.model_dump(include={"image_column", "input_language", "license", *ReadOptions.model_fields}),
        ),
        note=note,
    )


def _named(options: SourceOptions) -> list[str]:
    return [column for column in (options.input_column, options.output_column, options.image_column) if column]


def _task(source: str) -> Task | None:
    """Return the task where the source is a task file or the name of a task."""
    path = existing(source)
    if path.suffix.lower() == ".json" and path.is_file():
        content = read_json(path)
        return load_task(path) if isinstance(content, dict) and {"Definition", "Instances"} <= set(content) else None
    if not path.exists() and not path.suffix:
        catalog = Catalog.of(())
        return catalog.load(source) if source in catalog.names() else None
    return None


def _changed(task: Task, options: SourceOptions) -> Task:
    """Return a task with the definition and languages that the user gives instead of its own."""
    if _named(options):
        raise UserError(
            "is a task, whose inputs and outputs are marked already",
            where=task.name,
            hint="leave --input, --output and --image out",
        )
    changes: dict[str, Any] = {}
    if options.definition:
        changes["definition"] = options.definition
    if options.language:
        changes["output_languages"] = (options.language,)
    if options.name:
        changes["name"] = options.name
    return replace(task, **changes)


def _language(table: Table, output: str, inputs: str | None, note: Callable[[str], None]) -> str:
    """Return the language that the outputs are in, or else, where they say too little, the inputs."""
    for column, which in ((output, "outputs"), (inputs, "inputs")):
        guessed = guess_language(_texts(table, column)) if column else None
        if guessed is not None:
            name, share = guessed.language.name, f"{guessed.share:.0%} of the {which}"
            note(f"the language is taken to be {name}, as {share} are (--language names another)")
            return name
    note("the language cannot be told from the texts, so script and word stems are not checked (--language names it)")
    return _UNKNOWN_LANGUAGE


def _texts(table: Table, column: str) -> list[str]:
    values = (row.get(column) for _, row in table.rows)
    return [str(text) for value in values for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _definition(inputs: str | None, output: str, note: Callable[[str], None]) -> str:
    words = [regex.sub(r"[\s_.-]+", " ", column).strip() for column in (inputs or "picture", output)]
    definition = f"Given the {words[0]}, write the {words[1]}."
    note(f"the instruction is {definition!r}: --definition says better what is to be done, in a sentence of your own")
    return definition


def _name(source: str) -> str:
    stem = nfc(Path(source).name)
    stem = regex.sub(r"\.(csv|tsv|txt|json|jsonl|ndjson|parquet|pq)$", "", stem, flags=regex.IGNORECASE)
    return regex.sub(r"[^\p{L}\p{M}\p{N}_-]+", "_", stem).strip("_") or "task"
