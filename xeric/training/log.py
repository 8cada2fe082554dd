"""A log of JSON lines that can be cut back to where a checkpoint stood."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xeric.files import writing

__all__ = ["LOG_FILES", "STEPS", "StepLog"]

STEPS = "log.jsonl"
LOG_FILES = (STEPS,)
"""Names of the logs that a training keeps in its folder."""


class StepLog:
    """One JSON object a line, the same bytes whenever the same rows are written.

    Args:
        path: of the file; None keeps no log.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._size = 0

    def cut(self, size: int) -> None:
        """Cut the file back to ``size`` bytes, the length that a checkpoint names; 0 begins anew."""
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
        """Bring the file to the disk and return its size: what a checkpoint names must be there."""
        if self._path is not None and self._path.exists():
            with writing(self._path), self._path.open("ab") as file:
                os.fsync(file.fileno())
        return self._size
