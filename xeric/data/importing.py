"""Tables to tasks: CSV, TSV, JSON and Hugging Face datasets become Natural Instructions v2 files.

Nothing is cleaned here beyond what a table cannot mean: a row without input and output is left out and counted. A row that has
only one of them is kept, so that cleaning drops it under a reason. Everything that was guessed (encoding, delimiter, quoting) is
said through ``note``, because only the user can see that a guess is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import regex

from xeric.config import Config
from xeric.data.code_pages import read_user_text
from xeric.data.hub_datasets import dataset_table, parquet_table
from xeric.data.pictures import copied_name, copy_picture
from xeric.data.quoting import Quotes
from xeric.data.tables import Table, delimited_table, json_table, the_delimiter
from xeric.data.tasks import Task, check_task_name, parse_task
from xeric.data.values import is_missing, kind
from xeric.encodings import check_text, existing, nfc
from xeric.errors import DataError, UnknownNameError
from xeric.files import shown_path
from xeric.json_io import write_json
from xeric.languages import language

__all__ = ["ImportOptions", "ReadOptions", "import_task", "language_name", "read_table", "task_to_json", "write_task"]

Note = Callable[[str], None]

_DELIMITED = (".csv", ".tsv", ".txt")
_JSON = (".json", ".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_OTHER_FILES = (
    ".xlsx",
    ".xls",
    ".ods",
    ".gz",
    ".zip",
    ".docx",
    ".doc",
    ".odt",
    ".pdf",
    ".xml",
    ".html",
    ".md",
    ".arrow",
    ".yaml",
)
_HUB_ID = regex.compile(r"[\w.-]+(?:/[\w.-]+)?")


class ReadOptions(Config):
    """How a table is read.

    Attributes:
        encoding: of a file; detected where None.
        delimiter: of a CSV or TSV file, a character or ``tab``; detected where None.
        quotes: whether quotation marks in a CSV or TSV file ``enclose`` cells or are ``text``; ``auto`` looks at them.
        split: of a Hugging Face dataset.
        subset: configuration of a Hugging Face dataset.
        revision: commit of a Hugging Face dataset, so that the same data comes again.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quotes: Quotes = "auto"
    split: str = "train"
    subset: str | None = None
    revision: str | None = None


class ImportOptions(ReadOptions):
    """What a table is to become, and how it is read.

    Attributes:
        name: the task's name.
        definition: the instruction.
        language: output language, by English name or code ("Spanish", "es").
        input_column: column of the inputs; None where pictures are all the input there is.
        output_column: column of the outputs; in JSON and datasets a list holds several references.
        group_column: column whose equal values stay on one side of a split (customer, thread, author).
        id_column: column of ids; otherwise ids come from the rows' positions.
        image_column: column of the names of pictures' files, relative to the table's folder (:mod:`xeric.data.pictures`).
        input_language: where it differs from ``language``.
        instruction_language: language of the definition.
        license: the instances' licence.
    """

    name: str
    definition: str
    language: str
    input_column: str | None = "input"
    output_column: str = "output"
    group_column: str | None = None
    id_column: str | None = None
    image_column: str | None = None
    input_language: str | None = None
    instruction_language: str | None = None
    license: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns that are asked for, in the form that tables have them in."""
        named = (self.input_column, self.output_column, self.group_column, self.id_column, self.image_column)
        return [nfc(column) for column in named if column is not None]


def import_task(source: Path | str, options: ImportOptions, *, table: Table | None = None, note: Note | None = None) -> Task:
    """Return a task made from a table.

    Args:
        source: as in :func:`read_table`.
        options: what it is to become, and how it is read.
        table: what the source holds, where it has been read already.
        note: called with a sentence for the user about everything that was guessed or left out.

    Raises:
        UserError: the name is no task name, there is no such encoding or delimiter, or the extra ``hub`` is not installed.
        DataError: the source cannot be read or lacks a column; ``where`` names file and row.
        RunError: a dataset cannot be loaded.
    """
    say = note or (lambda _: None)
    name = check_task_name(options.name)
    outputs = language_name(options.language, say)
    inputs = language_name(options.input_language, say) if options.input_language else outputs
    if table is None:
        table = read_table(source, options, columns=options.columns, languages=[outputs, inputs], note=say)
    for column in options.columns:
        if column not in table.columns:
            columns = ", ".join(map(repr, table.columns)) or "none"
            raise DataError(f"there is no column {column!r}", where=str(source), hint=f"the columns are {columns}")
    instances = list(_instances(table, options))
    if not instances:
        raise DataError("holds no rows with an input or an output", where=str(source))
    if empty := len(table.rows) - len(instances):
        say(f"{empty} of {len(table.rows)} rows have neither input nor output and were left out")
    data = {
        "Source": [str(source)] if not Path(source).exists() else [Path(source).name],
        "Definition": [options.definition],
        "Input_language": [inputs],
        "Output_language": [outputs],
        "Instruction_language": [language_name(options.instruction_language, say)] if options.instruction_language else [],
        "Instance License": [options.license] if options.license else [],
        "Instances": instances,
    }
    task = parse_task(data, name=name, pictures=existing(source).parent)
    for remark in task.notes:
        say(remark)
    return task


def _instances(table: Table, options: ImportOptions) -> Iterator[dict[str, Any]]:
    output = nfc(options.output_column)
    inputs, group, identity, image = (
        None if column is None else nfc(column)
        for column in (options.input_column, options.group_column, options.id_column, options.image_column)
    )
    for position, (where, row) in enumerate(table.rows, 1):
        value = row.get(output)
        text = "" if inputs is None else _cell(row.get(inputs), f"{where}, column {inputs!r}")
        outputs = [_cell(item, f"{where}, column {output!r}") for item in (value if isinstance(value, list) else [value])]
        if not text.strip() and not any(output.strip() for output in outputs):
            continue
        instance: dict[str, Any] = {"id": f"{nfc(options.name)}-{position}", "input": text, "output": outputs or [""]}
        if identity is not None and (own_id := _cell(row.get(identity), f"{where}, column {identity!r}")):
            instance["id"] = own_id
        if group is not None and (group_name := _cell(row.get(group), f"{where}, column {group!r}")):
            instance["group"] = group_name
        if image is not None and (picture := _cell(row.get(image), f"{where}, column {image!r}")):
            instance["image"] = picture
        yield instance


def task_to_json(task: Task) -> dict[str, Any]:
    """Return a task as the value of its Natural Instructions v2 file, keys in the schema's order.

    Pictures have the names that :func:`write_task` gives their copies.
    """
    examples = {
        key: [{"input": e.input, "output": e.output, "explanation": e.explanation} for e in group]
        for key, group in (("Positive Examples", task.positive_examples), ("Negative Examples", task.negative_examples))
    }
    instances = [
        {
            "id": i.id,
            "input": i.input,
            **({"image": copied_name(i.picture, _pictures_of(task))} if i.picture else {}),
            "output": list(i.outputs),
            **({} if i.group is None else {"group": i.group}),
        }
        for i in task.instances
    ]
    return {
        "Contributors": list(task.contributors),
        "Source": list(task.sources),
        "URL": list(task.urls),
        "Categories": list(task.categories),
        "Reasoning": list(task.reasoning),
        "Definition": [task.definition, *task.alternative_definitions],
        "Input_language": list(task.input_languages),
        "Output_language": list(task.output_languages),
        "Instruction_language": list(task.instruction_languages),
        "Domains": list(task.domains),
        **examples,
        "Instances": instances,
        "Instance License": list(task.licenses),
    }


def write_task(task: Task, path: Path | str) -> None:
    """Write a task as a Natural Instructions v2 file that :func:`xeric.data.tasks.load_task` reads back, atomically.

    Its pictures are copied into a folder beside the file, which is written last.

    Raises:
        UserError: the file's name is no task name, or a file cannot be written.
        DataError: a picture has changed since the task was loaded.
    """
    path = Path(path)
    check_task_name(path.name.removesuffix(".json"))
    for picture in {i.picture for i in task.instances if i.picture}:
        copy_picture(picture, path.parent / copied_name(picture, _pictures_of(task)))
    write_json(path, task_to_json(task))


def _pictures_of(task: Task) -> str:
    return f"{task.name}-pictures"


def language_name(name: str, say: Note) -> str:
    """Return the English name of a language, or the name as it is, after saying so, where no such language is known.

    Args:
        name: English name or code.
        say: called with a sentence for the user.
    """
    try:
        return language(name).name
    except UnknownNameError as error:
        say(f"the language {name!r} is unknown, so its script is not checked and its words are not stemmed; {error.hint}")
        return name


def read_table(
    source: Path | str,
    options: ReadOptions | None = None,
    *,
    columns: Sequence[str] = (),
    languages: Sequence[str] = (),
    note: Note | None = None,
) -> Table:
    """Return the rows and columns of a file or dataset.

    Args:
        source: a ``.csv``, ``.tsv``, ``.json``, ``.jsonl`` or ``.parquet`` file, the folder of a saved Hugging Face dataset, or a
            dataset's id on its hub.
        options: how it is read.
        columns: names that the header has to hold, where they are known: the header is then found below other lines.
        languages: of the texts, where they are known: they help to find the encoding of a file that is not Unicode.
        note: called with a sentence for the user about everything that was guessed.

    Raises:
        UserError: there is no such encoding or delimiter, or the extra ``hub`` is not installed.
        DataError: the source cannot be read.
        RunError: a dataset cannot be loaded.
    """
    options, say = options or ReadOptions(), note or (lambda _: None)
    path = existing(source)
    suffix = path.suffix.lower()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    delimiter = the_delimiter(options.delimiter) if options.delimiter else None
    if not is_folder and (suffix in _DELIMITED or (is_file and suffix not in _JSON and delimiter)):
        text = read_user_text(path, list(languages), options.encoding, say)
        return delimited_table(text, path, columns, delimiter, options.quotes, say)
    if not is_folder and suffix in _JSON:
        return json_table(read_user_text(path, list(languages), options.encoding, say), path, say)
    if is_file and suffix in _PARQUET:
        return parquet_table(str(path))
    is_file_name = suffix in (*_PARQUET, *_OTHER_FILES)
    if is_folder or (not is_file and not is_file_name and _HUB_ID.fullmatch(str(source))):
        return dataset_table(str(path), is_folder, options.split, options.subset, options.revision)
    hint = (
        "give a .csv, .tsv, .json, .jsonl or .parquet file, the folder of a saved dataset, or a dataset's id such as owner/name"
    )
    what = "is not a table that can be imported" if is_file else "there is no such file"
    if is_file_name and not is_file:
        hint = "check the path; relative ones start at the current folder"
    raise DataError(what, where=shown_path(source), hint=hint)


def _cell(value: Any, where: str) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return check_text(value, where)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return repr(value)
    raise DataError(f"expected text, found {kind(value)}", where=where)
