"""Tables as people hand them over: delimited text and JSON rows.

This module knows rows and columns and nothing of tasks. What spreadsheets do to a table is undone: Excel's first line ``sep=;``,
lines above the header, any line ends, cells too many that are empty, several files put together. What quotation marks mean is
decided in :mod:`xeric.data.quoting`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from xeric.data.quoting import Quotes, Row, enclosed, read_quoted
from xeric.encodings import nfc
from xeric.errors import DataError, UserError
from xeric.json_io import iter_rows

__all__ = ["Table", "delimited_table", "json_table", "the_delimiter"]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BY_NAME = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|", "space": " "}
_HEAD = 10
_SEP = regex.compile(r'\A"?sep=(\\t|[^\r\n])"?(?=[\r\n]|\Z)', regex.IGNORECASE)
_MARK = regex.compile(r"(?:\A|(?<=[\r\n]))\ufeff+")


@dataclass(frozen=True)
class Table:
    """Rows, each with the file and line that messages name.

    Attributes:
        columns: their names, in Unicode NFC.
        rows: the values are texts, numbers, lists of texts or None.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, Mapping[str, Any]]]


def the_delimiter(delimiter: str) -> str:
    r"""Return the character that a user means by "tab", "\\t" or the character itself.

    Raises:
        UserError: it is more than one character, or a line end or quotation mark.
    """
    character = _BY_NAME.get(delimiter.lower(), delimiter)
    if len(character) != 1 or character in '"\r\n':
        raise UserError(f"{delimiter!r} is not a delimiter", hint="give one character, or the word tab")
    return character


def delimited_table(
    text: str, path: Path, needed: Sequence[str], delimiter: str | None, quotes: Quotes, say: Callable[[str], None]
) -> Table:
    """Return the table in delimited text.

    Args:
        text: the file's content.
        path: the file, for messages; cells of a ``.tsv`` file are parted by tabs unless that makes no columns.
        needed: names of the columns that are asked for.
        delimiter: one character; None to find it.
        quotes: what quotation marks mean.
        say: called with a sentence about everything that was guessed.

    Raises:
        DataError: the text is no table; ``where`` names the line.
    """
    text = _MARK.sub("", text.rstrip("\x1a"))
    if declared := _SEP.match(text):
        delimiter = delimiter or the_delimiter(declared.group(1))
        text = text[declared.end() :]  # its line end stays, and so do the numbers of the lines
    if delimiter is None:
        delimiter = _sniff(text, needed, path)
        if delimiter != ("\t" if path.suffix.lower() == ".tsv" else ","):
            say(f"the columns of {path.name} are parted by {_DELIMITERS[delimiter]}s")
    text = _apart(text, needed, delimiter)
    rows = read_quoted(text, delimiter, quotes, path, lambda cells: _is_header(cells, needed), say)
    return _with_header(rows, path, needed, say)


def _names(cells: Sequence[str]) -> list[str]:
    return [nfc(cell.strip().strip('"')) for cell in cells]


def _columns(cells: Sequence[str]) -> list[str]:
    """Return the names in a header; a column without one, such as what pandas writes of an index, is called by its place."""
    return [name or f"column {number}" for number, name in enumerate(_names(cells), 1)]


def _is_header(cells: Sequence[str], needed: Sequence[str]) -> bool:
    return set(needed) <= set(_columns(cells))


def _sniff(text: str, needed: Sequence[str], path: Path) -> str:
    """Return the delimiter that makes the needed columns out of one of the first lines, or else the most columns."""
    lines = [line for line in regex.split(r"[\r\n]+", text[:100_000]) if line.strip()][:_HEAD] or [""]
    marks = sorted(_DELIMITERS, key=lambda mark: mark != "\t") if path.suffix.lower() == ".tsv" else list(_DELIMITERS)
    heads = {mark: [_columns(enclosed(line, mark) or line.split(mark)) for line in lines] for mark in marks}

    def worth(mark: str) -> tuple[int, int]:
        return max(len(set(needed) & set(head)) for head in heads[mark]), len(heads[mark][0])

    return max(marks, key=worth)


def _apart(text: str, needed: Sequence[str], delimiter: str) -> str:
    """Return the text with a line end before a header that follows a byte-order mark within a line: files put together."""
    if "\ufeff" not in text:
        return text
    parts = text.split("\ufeff")
    for position, part in enumerate(parts[1:], 1):
        line = regex.split(r"[\r\n]", part, maxsplit=1)[0]
        parts[position] = ("\n" if _is_header(enclosed(line, delimiter) or [], needed) else "\ufeff") + part
    return "".join(parts)


def _with_header(rows: Sequence[Row], path: Path, needed: Sequence[str], say: Callable[[str], None]) -> Table:
    filled = [position for position, row in enumerate(rows) if any(cell.strip() for cell in row.cells)]
    if not filled:
        raise DataError("holds no rows", where=str(path))
    header = next((position for position in filled[:_HEAD] if _is_header(rows[position].cells, needed)), filled[0])
    if header != filled[0]:
        say(f"the header of {path.name} stands in line {rows[header].line}; what stands above it was left out")
    names, columns = _names(rows[header].cells), _columns(rows[header].cells)
    if twice := next((column for column in needed if columns.count(column) > 1), None):
        raise DataError(f"there are two columns {twice!r}", where=str(path), hint="rename one of them")
    table_rows: list[tuple[str, Mapping[str, Any]]] = []
    again: list[int] = []
    order = columns
    for row in rows[header + 1 :]:
        cells = _fitting(row, len(columns), path)
        if sorted(_names(cells)) == sorted(names) and any(names):
            again.append(row.line)
            order = _columns(cells)
        else:
            table_rows.append((f"{path}, line {row.line}", dict(zip(order, cells, strict=False))))
    if again:
        lines = ("line " if len(again) == 1 else "lines ") + ", ".join(map(str, again))
        say(f"the header of {path.name} stands again in {lines} and was left out there")
    return Table(tuple(columns), table_rows)


def _fitting(row: Row, width: int, path: Path) -> list[str]:
    if any(cell.strip() for cell in row.cells[width:]):
        hint = "put cells that hold the delimiter into quotation marks, or give the right delimiter"
        raise DataError(f"the row has {len(row.cells)} cells, the header {width}", where=f"{path}, line {row.line}", hint=hint)
    return row.cells[:width]


def json_table(text: str, path: Path, say: Callable[[str], None]) -> Table:
    """Return the table in JSON: one object per line, a list of objects, or an object with one such list or whole columns.

    Raises:
        DataError: the text is no such table; ``where`` names the line.
    """
    rows: list[tuple[str, Mapping[str, Any]]] = [(f"{path}, line {line}", row) for line, row in iter_rows(text, str(path))]
    if not rows:
        raise DataError("holds no rows", where=str(path))
    if len(rows) == 1:
        rows = _inner(rows[0][1], path, say) or rows
    return Table(tuple(dict.fromkeys(column for _, row in rows for column in row)), rows)


def _is_list_of_objects(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and all(isinstance(item, dict) for item in content)


def _inner(value: Mapping[str, Any], path: Path, say: Callable[[str], None]) -> list[tuple[str, Mapping[str, Any]]]:
    if "Definition" in value and "Instances" in value:
        hint = f"use it by its name, with --tasks-dir {path.parent}"
        raise DataError("is a task file, which needs no import", where=str(path), hint=hint)
    if columns := _by_columns(value):
        return [(f"{path}, row {number}", row) for number, row in enumerate(columns)]
    lists = [key for key, content in value.items() if _is_list_of_objects(content)]
    if len(lists) != 1:
        return []
    key = lists[0]
    say(f"the rows of {path.name} are those under {key!r}")
    return [(f"{path}, {key}[{number}]", row) for number, row in enumerate(value[key])]


def _by_columns(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an object whose values are whole columns: lists of one length, or objects with the same keys."""
    columns = [list(held.values()) if isinstance(held, dict) else held for held in value.values()]
    if len(columns) < 2 or not all(isinstance(held, list) for held in columns) or len({len(held) for held in columns}) > 1:
        return []
    if len({tuple(held) for held in value.values() if isinstance(held, dict)}) > 1:
        return []
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
