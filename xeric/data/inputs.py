"""Inputs to generate texts for: JSON rows, a table, or plain text of one input per line, told apart by name and content.

A name that ends in ``.json``, ``.jsonl`` or ``.ndjson`` means JSON rows, ``.csv`` and ``.tsv`` mean a table. Anything else, and
standard input, is JSON rows if it begins with a JSON object or list, else plain text; so plain text is never refused as bad JSON,
whatever braces and brackets it begins with. Input that is still being written is told apart by its first line.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from xeric.data.tables import delimited_table, json_table
from xeric.data.values import is_missing
from xeric.encodings import check_text, nfc, read_text
from xeric.errors import DataError, UserError
from xeric.json_io import iter_rows, parse_json

__all__ = ["InputFormat", "InputRow", "LineReader", "input_format", "input_rows", "read_inputs"]

InputFormat = Literal["auto", "json", "lines", "table"]

_BY_SUFFIX: Mapping[str, InputFormat] = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".csv", ".tsv"), "table"),
}
_TAKE_LINES = "if every line is an input as it stands, say so with --format lines"


@dataclass(frozen=True)
class InputRow:
    """One input.

    Attributes:
        input: the text.
        id: as it was given, a number with its digits (:class:`xeric.json_io.Number`); None where there is none.
        task: whose prompt to use; None where the row does not say.
        image: name of a picture's file, as the row has it; None where there is none.
        structured: whether it came from a JSON row or a table, so that its answer is a JSON row, too.
    """

    input: str
    id: Any = None
    task: str | None = None
    image: Any = None
    structured: bool = False


def input_format(name: str) -> InputFormat:
    """Return the format of a name.

    Raises:
        UserError: there is no such format.
    """
    for form in get_args(InputFormat):
        if name == form:
            return form  # type: ignore[no-any-return]
    raise UserError(f"unknown format {name!r}", hint=f"use {', '.join(get_args(InputFormat))}")


def read_inputs(
    path: Path, *, form: InputFormat = "auto", column: str = "input", encoding: str | None = None, note: Callable[[str], None]
) -> list[InputRow]:
    """Return the inputs in a file.

    Args:
        path: of the file.
        form: its format; ``auto`` tells it by the file's name and content.
        column: key or column of the inputs, in JSON rows and tables.
        encoding: as Python names it; None for the encodings of Unicode.
        note: is told what was guessed and what was skipped.

    Raises:
        UserError: there is no such encoding.
        DataError: the file cannot be read or holds no inputs, or a row has none; ``where`` names the line.
    """
    if form == "auto":
        form = _BY_SUFFIX.get(path.suffix.lower(), "auto")
    return input_rows(read_text(path, encoding), path, form=form, column=column, note=note)


def input_rows(
    text: str, path: Path, *, form: InputFormat = "auto", column: str = "input", note: Callable[[str], None]
) -> list[InputRow]:
    r"""Return the inputs in a text; see :func:`read_inputs`.

    Args:
        text: with line ends ``\n``.
        path: where it comes from, for messages.
        form: its format.
        column: key or column of the inputs.
        note: is told what was guessed and what was skipped.

    Raises:
        DataError: the text holds no inputs, or a row has none.
    """
    if form == "auto" and _is_json(text):
        form = "json"
    if form in ("auto", "lines"):
        rows = list(LineReader(str(path), form=form, column=column).rows(io.StringIO(text, newline="\n"), note=note))
    elif form == "table":
        table = delimited_table(text, path, [column], None, "auto", note)
        if nfc(column) not in table.columns:
            columns = ", ".join(map(repr, table.columns))
            hint = f"name the column of the inputs with --column; the columns are {columns}"
            raise DataError(f"there is no column {column!r}", where=str(path), hint=hint)
        rows = [_row(row, column, where) for where, row in table.rows]
    else:
        rows = [_row(row, column, where) for where, row in _json_rows(text, path, column, note)]
    if not rows:
        raise DataError("holds no inputs", where=str(path))
    return rows


def _json_rows(text: str, path: Path, column: str, note: Callable[[str], None]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    rows = [(f"{path}, line {line}", row) for line, row in iter_rows(text, str(path))]
    if len(rows) != 1 or isinstance(rows[0][1].get(nfc(column)), str):
        return rows
    if isinstance(instances := rows[0][1].get("Instances"), list):  # a task file
        return [(f"{path}, Instances[{number}]", row) for number, row in enumerate(instances) if isinstance(row, dict)]
    return json_table(text, path, note).rows


class LineReader:
    """Reads inputs line by line, also while they are being written; the first line that is not empty settles the format.

    Args:
        where: name of the source, for messages.
        form: ``auto``, ``json`` (one object per line) or ``lines``.
        column: key of the inputs in JSON rows.

    Raises:
        UserError: a table cannot be read line by line.
    """

    def __init__(self, where: str, *, form: InputFormat = "auto", column: str = "input") -> None:
        if form == "table":
            raise UserError("a table is not read while it is being written", hint="give it as a file, or as JSON lines")
        self._where, self._form, self._column = where, form, column

    def rows(self, lines: Iterable[str], *, note: Callable[[str], None]) -> Iterator[InputRow]:
        """Yield the input of each line as it comes; empty lines are skipped, and counted in a note at the end.

        Raises:
            DataError: a line is not the JSON object that the first one was, or holds no input.
        """
        skipped = 0
        for number, ended in enumerate(lines, 1):
            line, where = ended.rstrip("\r\n"), f"{self._where}, line {number}"
            if line.strip():
                yield self._of_line(line, where)
            elif ended:  # the empty text behind the last line's end is no line
                skipped += 1
        if skipped:
            note(f"{self._where}: {skipped} empty {'line was' if skipped == 1 else 'lines were'} skipped")

    def _of_line(self, line: str, where: str) -> InputRow:
        if self._form == "auto":
            self._form = "json" if _is_object(line) else "lines"
        if self._form == "lines":
            return InputRow(check_text(line, where))
        if not _is_object(line):
            raise DataError("is no JSON object, as the lines before it are", where=where, hint=_TAKE_LINES)
        return _row(parse_json(line, where, as_written=True), self._column, where)


def _is_json(text: str) -> bool:
    """Return whether the whole of a text is JSON rows."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        return len(list(iter_rows(text, ""))) > 0
    except DataError:
        return False


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _row(row: Mapping[str, Any], column: str, where: str) -> InputRow:
    text, task, identity, image = row.get(nfc(column)), row.get("task"), row.get("id"), row.get("image")
    if image and is_missing(text):
        text = ""
    if not isinstance(text, str):
        hint = f"name the key of the inputs with --column; {_TAKE_LINES}"
        raise DataError(f"the row has no text under {column!r}", where=where, hint=hint)
    if task is not None and not isinstance(task, str):
        raise DataError("the row's task is not a name", where=where)
    for value in (text, task, identity):
        if isinstance(value, str):
            check_text(value, where)
    # str(): a number that stands for a text is a text from here on; an id keeps its digits.
    return InputRow(str(text), identity, nfc(task) if task else None, image or None, structured=True)
