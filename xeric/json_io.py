"""JSON, read as users write it and written whole.

Numbers keep their digits, a key that stands twice is an error, rows come from lines or from a list. This module knows JSON and
nothing of what the values mean. In rows and task files a number is the text that was written
(:class:`Number`), because ``1.10`` is no longer ``1.10`` once it has been a float. Keys are in one Unicode form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xeric.encodings import nfc, read_text
from xeric.errors import DataError
from xeric.files import write_atomically

__all__ = ["Number", "iter_jsonl", "iter_rows", "parse_json", "read_json", "write_json", "write_jsonl"]

_BLANKS = " \t\r\n"


class Number(str):
    """A number of a JSON text, as it was written."""

    __slots__ = ()


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = {nfc(key): value for key, value in pairs}
    if len(members) < len(pairs):
        keys = [nfc(key) for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        identity = members.get("id") if twice != "id" else None
        raise _RepeatedKeyError(
            f"the key {twice!r} stands twice in one object" + (f" (id {identity!r})" if isinstance(identity, str) else "")
        )
    return members


_AS_VALUES = json.JSONDecoder(object_pairs_hook=_object)
_AS_WRITTEN = json.JSONDecoder(object_pairs_hook=_object, parse_float=Number, parse_int=Number)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: the file is missing, unreadable or not JSON; ``where`` names file and line.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str, *, as_written: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON.
        where: the file, for messages; the line is added.
        as_written: numbers become :class:`Number`.

    Raises:
        DataError: the text is not JSON, or a key stands twice in an object.
    """
    try:
        return (_AS_WRITTEN if as_written else _AS_VALUES).decode(text)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(_fault(error), where=where + line) from None


def _fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, _RepeatedKeyError):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg}"
    # The only other ValueError that reading JSON raises is Python's limit on the digits of a whole number.
    return "not valid JSON: " + ("nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits")


def iter_jsonl(path: Path, encoding: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number (from 1) and object of each row of a file; see :func:`iter_rows`.

    Args:
        path: of the file.
        encoding: as Python names it; None for the encodings of Unicode.

    Raises:
        UserError: there is no such encoding.
        DataError: the file cannot be read, or holds something else; ``where`` names file and line.
    """
    yield from iter_rows(read_text(path, encoding), str(path))


def iter_rows(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number (from 1) and object of each row of a JSON text; numbers are as they were written.

    Rows are one object per line, the objects of one list, or objects with nothing but blanks between them.

    Raises:
        DataError: the text holds something else; ``where`` names the line.
    """
    start = _skip(text, 0)
    if text[start : start + 1] == "[" and not _is_line_of_its_own(text, start):
        rows = _values(text, where, start + 1, ",")
    elif text[start : start + 1] == "{" and not _is_whole(_line(text, start)) and _is_whole_value(text, start):
        rows = _values(text, where, start, "")
    else:
        rows = _lines(text, where)
    for line, row in rows:
        if not isinstance(row, dict):
            raise DataError("expected one JSON object per line, or a list of objects", where=f"{where}, line {line}")
        yield line, row


def _lines(text: str, where: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, _AS_WRITTEN.decode(line)
            except (ValueError, RecursionError) as error:
                raise DataError(_fault(error), where=f"{where}, line {number}") from None


def _values(text: str, where: str, position: int, comma: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of a list that begins before ``position``, or values with nothing but blanks between them."""
    line, counted, first = 1, 0, True
    while True:
        position = _skip(text, position)
        line, counted = line + text.count("\n", counted, position), position
        mark = text[position : position + 1]
        if not comma and not mark:
            return
        if comma and mark == "]" and first:
            break
        if comma and not first:
            if mark == "]":
                break
            if mark != ",":
                raise DataError("not valid JSON: expected a comma or the end of the list", where=f"{where}, line {line}")
            position = _skip(text, position + 1)
            line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _AS_WRITTEN.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            fault_line = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise DataError(_fault(error), where=f"{where}, line {fault_line}") from None
        yield line, value
        first = False
    if text[position + 1 :].strip(_BLANKS):
        raise DataError("not valid JSON: there is more behind the list", where=f"{where}, line {line}")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] and text[position] in _BLANKS:
        position += 1
    return position


def _line(text: str, start: int) -> str:
    return text[start:].split("\n", 1)[0]


def _is_line_of_its_own(text: str, start: int) -> bool:
    """Return whether a line is a finished list, and others follow: JSON lines that hold lists, which are no rows."""
    line = _line(text, start)
    return bool(text[start + len(line) :].strip(_BLANKS)) and _is_whole(line)


def _is_whole(line: str) -> bool:
    try:
        _AS_WRITTEN.decode(line)
    except (ValueError, RecursionError) as error:
        return isinstance(error, _RepeatedKeyError)
    return True


def _is_whole_value(text: str, start: int) -> bool:
    try:
        _, end = _AS_WRITTEN.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[start:end]


def write_json(path: Path, value: BaseModel | Mapping[str, Any]) -> None:
    """Write a model or plain values as indented JSON, atomically.

    Raises:
        ValueError: a float is not finite; such a number has no place in a file that others read.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_atomically(path, json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[BaseModel | Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, atomically."""
    plain = (row.model_dump(mode="json") if isinstance(row, BaseModel) else row for row in rows)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in plain))
