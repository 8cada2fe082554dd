"""The rows of task files that a base learns from, cleared of leaks, and of those that choices are made by."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.data.leaks import LeakIndex
from xeric.data.tasks import Example, Instance, Task, load_task
from xeric.errors import DataError
from xeric.text import normalize

__all__ = ["SourceTask", "below", "read_dev_task", "read_source_tasks", "task_from_plain"]

_DEV_PAIRS = 100


@dataclass(frozen=True)
class SourceTask:
    """A source task's rows: the definition, demonstrations and (input, output) pairs."""

    name: str
    definition: str
    examples: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[str, str], ...]


def below(folder: Path | None, name: str, setting: str) -> Path:
    """Return a file below a folder that a caller has to name (``setting``) if it is needed.

    Raises:
        DataError: it was not named.
    """
    if folder is None:
        raise DataError(
            "the folder that this file lies in is not known",
            where=name,
            hint=f"give --{setting.replace('_', '-')} ({setting} in Python)",
        )
    return folder / name


def read_source_tasks(
    names: Sequence[str], refused: set[str], leaks: LeakIndex | None, tasks_dir: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the source tasks' rows as plain values, without those that share a text with a target task, and what was counted.

    Raises:
        DataError: a task is missing, or refused because it is a target or dev task.
    """
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    licenses: dict[str, list[str]] = {}
    for name in names:
        if name in refused:
            raise DataError("a target or dev task is never trained on", where=f"corpus.source_tasks, {name}")
        task = load_task(below(tasks_dir, f"{name}.json", "tasks_dir"))
        pairs = _pairs(task, task.instances, leaks, counts)
        examples = _pairs(task, task.positive_examples, leaks, counts)
        counts["instances"] += len(pairs)
        licenses[name] = list(task.licenses)
        rows.append({"name": name, "definition": task.definition.strip(), "examples": examples, "pairs": pairs})
    return rows, {**counts, "licenses": licenses}


def read_dev_task(name: str, tasks_dir: Path | None) -> dict[str, Any]:
    """Return a dev task's rows as plain values: the first hundred by content, whatever the order of the file."""
    task = load_task(below(tasks_dir, f"{name}.json", "tasks_dir"))
    pairs = sorted(
        _pairs(task, task.instances, None, Counter()),
        key=lambda pair: hashlib.blake2b("\0".join(pair).encode(), digest_size=8).digest(),
    )
    examples = _pairs(task, task.positive_examples, None, Counter())
    return {"name": name, "definition": task.definition.strip(), "examples": examples, "pairs": pairs[:_DEV_PAIRS]}


def _pairs(
    task: Task, items: Sequence[Instance] | Sequence[Example], leaks: LeakIndex | None, counts: Counter[str]
) -> list[list[str]]:
    found = []
    for item in items:
        output = item.outputs[0] if isinstance(item, Instance) else item.output
        pair = [normalize(item.input).strip(), normalize(output).strip()]
        if not all(pair):
            counts["empty"] += 1
        elif leaks and leaks.hits(*pair):
            counts["leaks"] += 1
        else:
            found.append(pair)
    return found


def task_from_plain(row: Mapping[str, Any]) -> SourceTask:
    """Return a task's rows from the plain values that :func:`read_source_tasks` made."""
    examples, pairs = (tuple((source, target) for source, target in row[kind]) for kind in ("examples", "pairs"))
    return SourceTask(row["name"], row["definition"], examples, pairs)
