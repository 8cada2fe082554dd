"""Logs of JSON lines that can be truncated to the state of a checkpoint.

Losses and times are two files: the log of losses has the same bytes whenever the training is the same, which times never have.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xeric.files import write_atomically, writing

__all__ = ["LOG_FILES", "STEPS", "TIMES", "StepLog", "TimeLog"]

STEPS = "log.jsonl"
TIMES = "times.jsonl"
LOG_FILES = (STEPS, TIMES)
"""Names of the logs that a training keeps in its folder."""


class StepLog:
    """One JSON object per line, the same bytes whenever the same rows are written.

    Args:
        path: of the file; None keeps no log.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._size = 0

    def cut(self, size: int) -> None:
        """Truncate the file to ``size`` bytes, the length that a checkpoint names; 0 empties it."""
        self._size = size
        if self._path is not None:
            with writing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab") as file:
                    file.truncate(size)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row.

        Raises:
            ValueError: a float is not finite.
            StorageError: the file system refuses.
        """
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
        self._size += len(line)
        if self._path is not None:
            with writing(self._path), self._path.open("ab") as file:
                file.write(line)

    def sync(self) -> int:
        """Flush the file to the disk and return its size, so that the length a checkpoint names is on the disk."""
        if self._path is not None and self._path.exists():
            with writing(self._path), self._path.open("ab") as file:
                os.fsync(file.fileno())
        return self._size


_STEP = re.compile(rb'{"step": (\d+), .*}\n')


class TimeLog:
    """When each step was taken: one line per step with the time of day (UTC) and the seconds of all steps so far.

    Args:
        path: of the file; None keeps none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def cut(self, step: int) -> None:
        """Delete the lines of later steps."""
        if self._path is not None:
            with writing(self._path):
                lines = self._path.read_bytes().splitlines(keepends=True) if self._path.is_file() else []
            kept = [line for line in lines if (match := _STEP.fullmatch(line)) and int(match[1]) <= step]
            write_atomically(self._path, b"".join(kept))

    def write(self, step: int, seconds: float) -> None:
        """Append a step that was just taken.

        Raises:
            StorageError: the file system refuses.
        """
        if self._path is not None:
            row = {"step": step, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "seconds": round(seconds, 3)}
            with writing(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
