"""Reading what a run leaves behind, or what another program predicted: its record, and files of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xeric.encodings import check_text, nfc
from xeric.errors import DataError
from xeric.files import is_file, reading
from xeric.json_io import Number, iter_jsonl
from xeric.records import RECORD_FILE, Prediction, Record
from xeric.refusals import expectation

__all__ = ["read_predictions", "read_record"]


def read_record(folder: Path) -> Record | None:
    """Return the record of a run folder, or None where the run is not done.

    Raises:
        DataError: there is a record but it is not one of ours.
    """
    path = folder / RECORD_FILE
    with reading(path):
        if not is_file(path):
            return None
        content = path.read_bytes()
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"not a run record: {_first_fault(error)}", where=str(path)) from None


def read_predictions(path: Path, *, language: str | None = None, encoding: str | None = None) -> list[Prediction]:
    """Return the rows of a predictions file.

    Only ``prediction`` and ``references`` (a list, or one text; also under ``reference``) are required, so that files of other
    programs can be scored: ``id`` falls back to the line number, ``task`` to ``"task"``. A number is taken as the text that was
    written. Rows of one ``group`` (a customer, a thread) are drawn together in intervals and tests. Ids and names of tasks are
    brought into one Unicode form.

    Args:
        path: a file of JSON lines, or of one list of objects.
        language: takes the place of every row's own language.
        encoding: of the file, as Python names it; None for the encodings of Unicode.

    Raises:
        DataError: the file has no rows, a row lacks a field or has one of the wrong type, or an id stands twice in a task.
    """
    rows: list[Prediction] = []
    seen: set[tuple[str, str]] = set()
    for number, raw in iter_jsonl(path, encoding):
        where = f"{path}, line {number}"
        present = {key: value for key, value in raw.items() if value is not None}
        references = present.get("references", present.get("reference"))
        _check_texts(raw, where)
        fields = {
            "id": _name(present.get("id", str(number))),
            "task": _name(present.get("task", "task")),
            "language": language or present.get("language"),
            "input": present.get("input", ""),
            "prediction": present.get("prediction"),
            "references": [references] if isinstance(references, str) else references,
            "group": _name(present.get("group")) or None,
        }
        if isinstance(fields["language"], Number):
            raise DataError("field 'language': expected a name or code, not a number", where=where)
        if not fields["language"]:
            raise DataError("the row names no language", where=where, hint="add a field 'language' or give --language")
        try:
            row = Prediction.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise DataError(_first_fault(error), where=where) from None
        if (row.task, row.id) in seen:
            raise DataError(f"the id {row.id!r} stands twice in task {row.task!r}", where=where)
        seen.add((row.task, row.id))
        rows.append(row)
    if not rows:
        raise DataError("holds no predictions", where=str(path))
    return rows


def _name(value: Any) -> Any:
    return nfc(value) if isinstance(value, str) else value


def _check_texts(value: Any, where: str) -> None:
    """Refuse half a surrogate pair anywhere in a row."""
    if isinstance(value, str):
        check_text(value, where, nul=False)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_texts(inner, where)


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return "not valid JSON: " + first["msg"].removeprefix("Invalid JSON: ")
    field = ".".join(str(part) for part in first["loc"])
    if first["input"] is None or first["type"] == "missing":
        return f"the field {field!r} is missing"
    expected = expectation(first, mapping="an object")
    message = first["msg"] if expected is None else f"expected {expected}"
    return f"field {field!r}: {message[:1].lower()}{message[1:]}"
