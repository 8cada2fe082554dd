"""What a run leaves behind: the record's schema, predictions, atomic files, provenance.

A run folder holds ``config.yaml``, ``predictions.jsonl``, ``adapter/``, ``log.jsonl``, ``times.jsonl`` and, written last,
``record.json``: its presence means that the run is done. Everything in it repeats byte for byte when the run is repeated, except
what stands in the record under ``cost``, and ``times.jsonl``.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from xeric.config import Config
from xeric.encodings import check_text, nfc
from xeric.errors import DataError
from xeric.files import reading, write_atomically
from xeric.json_io import Number, iter_jsonl
from xeric.refusals import expectation

__all__ = [
    "MANY_AT_LIMIT",
    "PREDICTION_FILES",
    "RECORD_FILE",
    "RESULT_VERSION",
    "Prediction",
    "Record",
    "Score",
    "Split",
    "TaskResult",
    "TrivialScores",
    "length_share",
    "read_predictions",
    "read_record",
    "versions",
    "write_json",
    "write_jsonl",
]

RESULT_VERSION = 4
"""Raised when the same config, data and base would give other results; part of every ``run_id``."""

RECORD_FILE = "record.json"

Split = Literal["test", "dev"]
PREDICTION_FILES: Mapping[Split, str] = {"test": "predictions.jsonl", "dev": "dev_predictions.jsonl"}
"""Where a run's predictions lie, by the part of the data they are for."""

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "sacrebleu", "rapidfuzz", "nltk", "snowballstemmer", "numpy")


class Score(Config):
    """One measure of one set of predictions.

    Attributes:
        score: the point estimate, 0-100 for the quality metrics.
        low: lower end of its 95% interval; None where no interval is defined.
        high: upper end.
        signature: every choice that can move the number.
    """

    score: float
    low: float | None = None
    high: float | None = None
    signature: str


class Prediction(Config):
    """One line of ``predictions.jsonl``."""

    id: str
    task: str
    language: str
    input: str
    prediction: str
    references: tuple[str, ...] = Field(min_length=1)


class TaskResult(Config):
    """What a run found on one task.

    Attributes:
        scores: by metric name.
        data: how many instances were read, dropped (by reason), trained on, held out, tested, cut, and how the texts ended, by
            part: by an end token (``eos``), a stop text (``stop``) or the limit of new tokens (``length``).
        fingerprint: SHA-256 of the instances really used.
    """

    scores: dict[str, Score]
    data: dict[str, Any]
    fingerprint: str


class TrivialScores(Config):
    """What a trivial baseline scores on a run's test set.

    Attributes:
        scores: macro mean over tasks, by metric name.
        tasks: by task and metric name.
    """

    scores: dict[str, Score]
    tasks: dict[str, dict[str, Score]]


class Record(Config):
    """A finished run; see the module's text.

    Attributes:
        status: ``ok``, ``failed`` (with ``error``) or ``diverged`` (the loss was no longer finite).
        scores: macro mean over tasks, by metric name; empty unless ``ok``.
        score_notes: what a reader of the scores must know, by metric and task: why one is not there, or what it rests on.
        baselines: trivial baselines that the run is to be judged against, by name, scored by chrF++ and the paper's three metrics
            (or what of them the run was scored by).
        parameters: ``trainable`` and ``total``.
        task_weights: lambda of each task in the joint loss, after the last step (``log.jsonl`` has them all).
        resolved: what stands for settings that the run's config leaves open, by dotted path.
        stages: what was trained before the run's own tasks, in order: hash, method, tasks or texts, leaks, steps.
        base: name, architecture and weights' SHA-256 of the base.
        deterministic: what the run promises of a repetition ("bytes" on CPU, "seeds" on CUDA).
        cost: seconds, memory, tokens, device, host: the only part that may differ between repetitions.
    """

    run_id: str
    result_version: int = RESULT_VERSION
    status: Literal["ok", "failed", "diverged"]
    error: str | None = None
    method: str
    base: dict[str, Any]
    planned_steps: int = 0
    done_steps: int = 0
    best_step: int | None = None
    scores: dict[str, Score] = {}
    score_notes: dict[str, dict[str, str]] = {}
    tasks: dict[str, TaskResult] = {}
    baselines: dict[str, TrivialScores] = {}
    task_weights: dict[str, float] = {}
    resolved: dict[str, Any] = {}
    seeds: dict[str, int] = {}
    parameters: dict[str, int] = {}
    fingerprint: str
    leaks: dict[str, Any] = {}
    stages: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    deterministic: Literal["bytes", "seeds"] = "bytes"
    cost: dict[str, Any] = {}


MANY_AT_LIMIT = 0.1
"""Share of texts that end at the limit of new tokens, in the middle of what they say, above which the user is told."""


def length_share(tasks: Iterable[TaskResult]) -> float | None:
    """Return the share of the tasks' test texts that ended at the limit of new tokens; None where nothing was counted."""
    counted = [task.data["ended"]["test"] for task in tasks if "test" in task.data.get("ended", {})]
    total = sum(sum(ended.values()) for ended in counted)
    return sum(ended["length"] for ended in counted) / total if total else None


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


def read_predictions(path: Path, *, language: str | None = None, encoding: str | None = None) -> list[Prediction]:
    """Return the rows of a predictions file.

    Only ``prediction`` and ``references`` (a list, or one text; also under ``reference``) are required, so that files of other
    programs can be scored: ``id`` falls back to the line number, ``task`` to ``"task"``. A number is taken as the text that was
    written. Ids and names of tasks are brought into one Unicode form.

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
        place = f"{path}, line {number}"
        given = {key: value for key, value in raw.items() if value is not None}
        references = given.get("references", given.get("reference"))
        _check_texts(raw, place)
        fields = {
            "id": _name(given.get("id", str(number))),
            "task": _name(given.get("task", "task")),
            "language": language or given.get("language"),
            "input": given.get("input", ""),
            "prediction": given.get("prediction"),
            "references": [references] if isinstance(references, str) else references,
        }
        if isinstance(fields["language"], Number):
            raise DataError("field 'language': expected a name or code, not a number", where=place)
        if not fields["language"]:
            raise DataError("the row names no language", where=place, hint="add a field 'language' or give --language")
        try:
            row = Prediction.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise DataError(_first_fault(error), where=place) from None
        if (row.task, row.id) in seen:
            raise DataError(f"the id {row.id!r} stands twice in task {row.task!r}", where=place)
        seen.add((row.task, row.id))
        rows.append(row)
    if not rows:
        raise DataError("holds no predictions", where=str(path))
    return rows


def _name(value: Any) -> Any:
    return nfc(value) if isinstance(value, str) else value


def _check_texts(value: Any, place: str) -> None:
    """Refuse half a surrogate pair anywhere in a row."""
    if isinstance(value, str):
        check_text(value, place, nul=False)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_texts(inner, place)


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


def read_record(folder: Path) -> Record | None:
    """Return the record of a run folder, or None where the run is not done.

    Raises:
        DataError: there is a record but it is not one of ours.
    """
    path = folder / RECORD_FILE
    with reading(path):
        if not path.is_file():
            return None
        content = path.read_bytes()
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"not a run record: {_first_fault(error)}", where=str(path)) from None


def versions() -> dict[str, str]:
    """Return the versions of Python, Xeric and the packages whose code can move a result."""
    found = {"python": platform.python_version()}
    for package in ("xeric", *_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
