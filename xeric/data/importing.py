"""Tables to tasks: CSV, TSV, JSON lines and Hugging Face datasets become Natural Instructions v2 files.

Nothing is cleaned here beyond what a table cannot mean: a row without input and output is left out and counted. A row that has
only one of them is kept, so that cleaning drops it under a reason. Everything that was guessed (encoding, delimiter, quoting) is
said through ``note``, because only the user can see that a guess is wrong.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
from charset_normalizer import from_bytes

from xeric.data.tasks import Task, check_task_name, parse_task
from xeric.errors import DataError, RunError, UnknownNameError, UserError
from xeric.languages import language
from xeric.records import write_json
from xeric.text import dominant_script

__all__ = ["import_task", "task_to_json", "write_task"]

Note = Callable[[str], None]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_HUB_ID = regex.compile(r"[\w.-]+(?:/[\w.-]+)?")
_MAX_FIELD = 2**31 - 1


@dataclass(frozen=True)
class _Table:
    """Rows with the place of each, for messages; values are texts, numbers, lists of texts or None."""

    columns: tuple[str, ...]
    rows: list[tuple[str, Mapping[str, Any]]]


def import_task(
    source: Path | str,
    *,
    name: str,
    definition: str,
    language: str,
    input_column: str,
    output_column: str,
    group_column: str | None = None,
    id_column: str | None = None,
    input_language: str | None = None,
    instruction_language: str | None = None,
    license: str | None = None,  # noqa: A002 - the schema's word
    encoding: str | None = None,
    delimiter: str | None = None,
    split: str = "train",
    subset: str | None = None,
    revision: str | None = None,
    note: Note | None = None,
) -> Task:
    """Return a task made from a table.

    Args:
        source: a ``.csv``, ``.tsv`` or ``.jsonl`` file, the folder of a saved Hugging Face dataset, or a dataset's id on its hub.
        name: the task's name.
        definition: the instruction.
        language: output language, by English name or code ("Spanish", "es").
        input_column: column of the inputs.
        output_column: column of the outputs; in JSON lines and datasets a list holds several references.
        group_column: column whose equal values stay on one side of a split (customer, thread, author).
        id_column: column of ids, all different; otherwise ids come from the rows' positions.
        input_language: where it differs from ``language``.
        instruction_language: language of the definition.
        license: the instances' licence.
        encoding: of a CSV or TSV file; detected where None.
        delimiter: of a CSV file; detected where None.
        split: of a Hugging Face dataset.
        subset: configuration of a Hugging Face dataset.
        revision: commit of a Hugging Face dataset, so that the same data comes again.
        note: called with a sentence for the user about everything that was guessed or left out.

    Raises:
        UserError: the name is no task name, or the extra ``hub`` is not installed.
        DataError: the source cannot be read or lacks a column; ``where`` names file and row.
    """
    say = note or (lambda _: None)
    check_task_name(name)
    spoken = _language_name(language, say)
    table = _read(source, (input_column, output_column), spoken, encoding, delimiter, (split, subset, revision), say)
    for column in filter(None, (input_column, output_column, group_column, id_column)):
        if column not in table.columns:
            known = ", ".join(map(repr, table.columns)) or "none"
            raise DataError(f"there is no column {column!r}", where=str(source), hint=f"the columns are {known}")
    instances: list[dict[str, Any]] = []
    for position, (place, row) in enumerate(table.rows, 1):
        text = _cell(row.get(input_column), f"{place}, column {input_column!r}")
        value = row.get(output_column)
        outputs = [_cell(item, f"{place}, column {output_column!r}") for item in (value if isinstance(value, list) else [value])]
        if not text.strip() and not any(output.strip() for output in outputs):
            continue
        instance: dict[str, Any] = {"id": f"{name}-{position}", "input": text, "output": outputs or [""]}
        if id_column:
            instance["id"] = _cell(row.get(id_column), f"{place}, column {id_column!r}")
        if group_column and (group := _cell(row.get(group_column), f"{place}, column {group_column!r}")):
            instance["group"] = group
        instances.append(instance)
    if not instances:
        raise DataError("holds no rows with an input or an output", where=str(source))
    empty = len(table.rows) - len(instances)
    if empty:
        say(f"{empty} of {len(table.rows)} rows have neither input nor output and were left out")
    data = {
        "Source": [str(source)] if not Path(source).exists() else [Path(source).name],
        "Definition": [definition],
        "Input_language": [_language_name(input_language, say) if input_language else spoken],
        "Output_language": [spoken],
        "Instruction_language": [_language_name(instruction_language, say)] if instruction_language else [],
        "Instance License": [license] if license else [],
        "Instances": instances,
    }
    return parse_task(data, name=name)


def task_to_json(task: Task) -> dict[str, Any]:
    """Return a task as the value of its Natural Instructions v2 file, keys in the schema's order."""
    examples = {
        key: [{"input": e.input, "output": e.output, "explanation": e.explanation} for e in group]
        for key, group in (("Positive Examples", task.positive_examples), ("Negative Examples", task.negative_examples))
    }
    instances = [
        {"id": i.id, "input": i.input, "output": list(i.outputs), **({} if i.group is None else {"group": i.group})}
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

    Raises:
        UserError: the file's name is no task name, or the file cannot be written.
    """
    path = Path(path)
    check_task_name(path.name.removesuffix(".json"))
    write_json(path, task_to_json(task))


def _language_name(name: str, say: Note) -> str:
    try:
        return language(name).name
    except UnknownNameError as error:
        say(f"the language {name!r} is unknown, so its script is not checked and its words are not stemmed; {error.hint}")
        return name


def _read(
    source: Path | str,
    needed: tuple[str, str],
    spoken: str,
    encoding: str | None,
    delimiter: str | None,
    dataset: tuple[str, str | None, str | None],
    say: Note,
) -> _Table:
    path = Path(source)
    suffix = path.suffix.lower()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if suffix in (".csv", ".tsv", ".txt") and not is_folder:
        return _read_delimited(path, needed, spoken, encoding, "\t" if suffix == ".tsv" and delimiter is None else delimiter, say)
    if suffix in (".jsonl", ".ndjson") and not is_folder:
        return _read_jsonl(path, spoken, encoding, say)
    if is_folder or (not is_file and suffix != ".json" and _HUB_ID.fullmatch(str(source))):
        return _read_dataset(str(source), is_folder, *dataset)
    hint = "give a .csv, .tsv or .jsonl file, the folder of a saved dataset, or a dataset's id such as owner/name"
    raise DataError("is not a table that can be imported" if is_file else "there is no such file", where=str(source), hint=hint)


def _decode(path: Path, spoken: str, encoding: str | None, say: Note) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "no such file"
        raise DataError(f"cannot be read: {reason}", where=ascii(str(path))[1:-1]) from None
    try:
        return content.decode(encoding or ("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
    except LookupError:
        raise UserError(f"there is no encoding {encoding!r}", hint="use utf-8, cp1252 or another that Python knows") from None
    except UnicodeDecodeError as error:
        if encoding:
            what = f"is not {encoding} text: byte {error.start} does not fit"
            raise DataError(what, where=str(path), hint="leave the encoding out to have it detected") from None
    matches = list(from_bytes(content))
    if not matches:
        raise DataError("is not text in any known encoding", where=str(path), hint="save it as UTF-8")
    try:
        scripts = language(spoken).scripts
    except UnknownNameError:
        scripts = ()
    best = next((match for match in matches if dominant_script(str(match)[:5000]) in scripts), matches[0])
    say(f"{path.name} is not UTF-8 and was read as {best.encoding}; if letters look wrong, give its encoding")
    return str(best)


def _read_delimited(
    path: Path, needed: tuple[str, str], spoken: str, encoding: str | None, delimiter: str | None, say: Note
) -> _Table:
    text = _decode(path, spoken, encoding, say)
    if delimiter is None:
        delimiter = _sniff(text, needed)
        if delimiter != ",":
            say(f"the columns of {path.name} are parted by {_DELIMITERS[delimiter]}s")
    elif len(delimiter) != 1:
        raise UserError(f"{delimiter!r} is not a delimiter", hint="give one character")
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        try:
            lines = list(_lines(text, delimiter, csv.QUOTE_MINIMAL))
        except csv.Error:
            if delimiter != "\t":
                raise
            lines = list(_lines(text, delimiter, csv.QUOTE_NONE))
            say(f"quotation marks in {path.name} were read as text, because they do not enclose whole cells")
    except csv.Error as error:
        hint = "check the quotation marks and the delimiter there"
        raise DataError(f"is not a table: {error}", where=f"{path}, line {getattr(error, 'line', '?')}", hint=hint) from None
    finally:
        csv.field_size_limit(limit)
    if not lines:
        raise DataError("holds no rows", where=str(path))
    columns = tuple(column.strip() for column in lines[0][1])
    twice = next((column for column in needed if columns.count(column) > 1), None)
    if twice:
        raise DataError(f"there are two columns {twice!r}", where=str(path), hint="rename one of them")
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for number, cells in lines[1:]:
        place = f"{path}, line {number}"
        if len(cells) > len(columns):
            hint = "put cells that hold the delimiter into quotation marks"
            raise DataError(f"the row has {len(cells)} cells, the header {len(columns)}", where=place, hint=hint)
        rows.append((place, dict(zip(columns, cells, strict=False))))
    return _Table(columns, rows)


def _lines(text: str, delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        error.line = start  # type: ignore[attr-defined]
        raise


def _sniff(text: str, needed: Sequence[str]) -> str:
    """Return the delimiter that makes the needed columns out of the first line, or else the most columns."""
    head = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
    headers = {mark: [cell.strip() for cell in next(csv.reader([head], delimiter=mark), [])] for mark in _DELIMITERS}
    return max(headers, key=lambda mark: (sum(column in headers[mark] for column in needed), len(headers[mark])))


def _read_jsonl(path: Path, spoken: str, encoding: str | None, say: Note) -> _Table:
    columns: dict[str, None] = {}
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for number, line in enumerate(_decode(path, spoken, encoding, say).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError("not valid JSON", where=place, hint="write one JSON object a line") from None
        if not isinstance(row, dict):
            raise DataError("expected one JSON object a line", where=place)
        columns.update(dict.fromkeys(row))
        rows.append((place, row))
    if not rows:
        raise DataError("holds no rows", where=str(path))
    return _Table(tuple(columns), rows)


def _read_dataset(source: str, is_folder: bool, split: str, subset: str | None, revision: str | None) -> _Table:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        hint = "pip install 'xeric[hub]', or save the dataset as .jsonl"
        raise UserError("reading a Hugging Face dataset needs the extra 'hub'", where=source, hint=hint) from None
    try:
        if is_folder and any((Path(source) / name).is_file() for name in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(source)
            loaded = loaded if hasattr(loaded, "column_names") and isinstance(loaded.column_names, list) else loaded[split]
        else:
            loaded = datasets.load_dataset(source, subset, split=split, revision=revision)
        return _Table(tuple(loaded.column_names), [(f"{source}, row {number}", dict(row)) for number, row in enumerate(loaded)])
    except (OSError, ValueError, LookupError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "check the id, the split, the subset and the network"
        raise RunError(f"the dataset cannot be loaded: {reason}", where=source, hint=hint) from None


def _cell(value: Any, place: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    kind = {bool: "true or false", dict: "an object", list: "a list"}.get(type(value), type(value).__name__)
    raise DataError(f"expected text, found {kind}", where=place)
