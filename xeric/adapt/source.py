"""The user's file as a task: a table whose columns and language are guessed where they are not given, or a task as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import regex

from xeric.data.catalog import Catalog
from xeric.data.guessing import NO_GROUP, guess_columns, guess_language
from xeric.data.importing import ImportOptions, ReadOptions, import_task, language_name, read_table
from xeric.data.tables import Table
from xeric.data.tasks import Task, check_task_name, load_task
from xeric.encodings import decode, decode_as, existing, nfc, read_bytes
from xeric.errors import DataError, UserError
from xeric.files import shown_path
from xeric.json_io import parse_json

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
        UserError: the columns cannot be told, an option does not go with a task, or there is no such file.
        DataError: the file cannot be read.
    """
    name = None if options.name is None else _checked(options.name)
    if (path := _task_file(source)) is not None:
        return _changed(_task(path, options), name, options, note)
    table = _table(source, options, note)
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
            name=name or _name(source),
            definition=definition,
            language=language,
            input_column=columns.input,
            output_column=columns.output,
            group_column=columns.group,
            **options.model_dump(include={"image_column", "input_language", "license", *ReadOptions.model_fields}),
        ),
        table=table,
        note=note,
    )


def _checked(name: str) -> str:
    try:
        return check_task_name(name)
    except UserError as error:
        raise UserError(error.what, where="--name", hint="give a name without folders and without an ending") from None


def _table(source: str, options: SourceOptions, note: Callable[[str], None]) -> Table:
    """Return what the source holds; a file that is not Unicode is read in a code page of its texts' languages."""

    def read(languages: Sequence[str]) -> Table:
        notes.clear()
        return read_table(source, options, columns=columns, languages=languages, note=notes.append)

    named = (options.input_column, options.output_column, options.image_column, options.group_column)
    columns = [nfc(column) for column in named if column is not None and column != NO_GROUP]
    notes: list[str] = []
    given = [language for language in (options.language, options.input_language) if language]
    table = read(given)
    if (
        not options.language
        and not options.encoding
        and (path := existing(source)).is_file()
        and decode(read_bytes(path)) is None
    ):
        # A wrong code page spoils few letters, so the languages can be told all the same.
        guesses = [guess_language(_texts(table, column)) for column in table.columns]
        if guessed := [guess.language.name for guess in guesses if guess]:
            table = read([*guessed, *given])
    for sentence in notes:
        note(sentence)
    return table


def _task_file(source: str) -> Path | None:
    """Return the file where the source is a task file or the name of a task."""
    path = existing(source)
    if path.suffix.lower() == ".json" and path.is_file():
        return path if _is_task(path) else None
    if not path.exists() and not path.suffix:
        catalog = Catalog.of(())
        return catalog.find(source) if source in catalog.names() else None
    return None


def _is_task(path: Path) -> bool:
    content = read_bytes(path)
    try:
        # In code pages, too, the keys are ASCII; how the file is wrong is said by whoever reads it.
        value = parse_json((decode(content) or decode_as(content, "latin-1")).text, str(path))
    except DataError:
        return False
    return isinstance(value, dict) and {"Definition", "Instances"} <= set(value)


def _task(path: Path, options: SourceOptions) -> Task:
    """Return the task in a file, its instances grouped as the user says."""
    columns = {"--input": options.input_column, "--output": options.output_column, "--image": options.image_column}
    given = [option for option, column in columns.items() if column is not None]
    given += [f"--{field}" for field in options.model_dump(include=set(ReadOptions.model_fields), exclude_defaults=True)]
    if given:
        raise UserError(
            "is a task, whose inputs and outputs are marked already, and not a table",
            where=shown_path(path),
            hint=f"leave {' and '.join(given)} out",
        )
    if options.group_column is None:
        return load_task(path)
    if options.group_column == NO_GROUP:
        task = load_task(path)
        return replace(task, instances=tuple(replace(instance, group=None) for instance in task.instances))
    task = load_task(path, group_key=options.group_column)
    if all(instance.group is None for instance in task.instances):
        hint = "name a key that instances have, or give --group none"
        raise UserError(f"no instance has the key {options.group_column!r}", where=shown_path(path), hint=hint)
    return task


def _changed(task: Task, name: str | None, options: SourceOptions, note: Callable[[str], None]) -> Task:
    """Return a task with what the user says of it instead of its own."""
    changes: dict[str, Any] = {}
    for field, language in (("output_languages", options.language), ("input_languages", options.input_language)):
        if language:
            changes[field] = (language_name(language, note),)
    if options.definition:
        changes["definition"] = options.definition
    if options.license:
        changes["licenses"] = (options.license,)
    if name is not None:
        changes["name"] = name
    return replace(task, **changes)


def _language(table: Table, output: str, inputs: str | None, note: Callable[[str], None]) -> str:
    """Return the language that the outputs are in, or else, where they say too little, the inputs."""
    for column, which in ((output, "outputs"), (inputs, "inputs")):
        guessed = None if column is None else guess_language(_texts(table, column))
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
    words = [regex.sub(r"[\s_.-]+", " ", column).strip() for column in ("picture" if inputs is None else inputs, output)]
    definition = f"Given the {words[0]}, write the {words[1]}."
    note(f"the instruction is {definition!r}: --definition says better what is to be done, in a sentence of your own")
    return definition


def _name(source: str) -> str:
    stem = nfc(Path(source).name)
    stem = regex.sub(r"\.(csv|tsv|txt|json|jsonl|ndjson|parquet|pq)$", "", stem, flags=regex.IGNORECASE)
    return regex.sub(r"[^\p{L}\p{M}\p{N}_-]+", "_", stem).strip("_") or "task"
