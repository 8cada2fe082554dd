"""Logs of JSON lines that can be truncated to the state of a checkpoint.

Losses and times are two files: the log of losses has the same bytes whenever the training is the same, which times never have.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from xeric.files import is_file, replacing, writing

__all__ = ["LOG_FILES", "STEPS", "TIMES", "StepLog", "TimeLog"]

STEPS = "log.jsonl"
TIMES = "times.jsonl"
LOG_FILES = (STEPS, TIMES)
"""Names of the logs that a training keeps in its folder."""


class _OwnFile:
    """A log that one process appends to, and no other one can, though it has the same path.

    A process that was suspended for minutes may wake up in the middle of a line, after another one has taken its work over. So
    whoever begins or goes on with a log puts a file of its own into the place, and writes by what it holds open: the line of the
    former owner goes into a file that has no name any more.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def begin(self, content: bytes) -> None:
        """Replace the file by one with this content.

        Raises:
            StorageError: the file system refuses.
        """
        self.close()
        with replacing(self._path) as temporary:
            temporary.write_bytes(content)
            self._file = temporary.open("ab")

    def append(self, line: bytes) -> None:
        """Add a line.

        Raises:
            StorageError: the file system refuses.
        """
        assert self._file is not None
        with writing(self._path):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Flush it to the disk.

        Raises:
            StorageError: the file system refuses.
        """
        assert self._file is not None
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; what could not be written has been complained of."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class StepLog:
    """One JSON object per line, the same bytes whenever the same rows are written.

    Args:
        path: of the file; None keeps no log.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = None if path is None else _OwnFile(path)
        self._size = 0

    def cut(self, size: int) -> None:
        """Begin: keep the first ``size`` bytes of the file, the length that a checkpoint names; 0 empties it."""
        self._size = size
        if self._path is not None and self._file is not None:
            with writing(self._path):
                content = self._path.read_bytes() if is_file(self._path) else b""
            self._file.begin(content[:size])

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row.

        Raises:
            ValueError: a float is not finite.
            StorageError: the file system refuses.
        """
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
        self._size += len(line)
        if self._file is not None:
            self._file.append(line)

    def sync(self) -> int:
        """Flush the file to the disk and return its size, so that the length a checkpoint names is on the disk."""
        if self._file is not None:
            self._file.sync()
        return self._size

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


_STEP = re.compile(rb'{"step": (\d+), .*}\n')


class TimeLog:
    """When each step was taken: one line per step with the time of day (UTC) and the seconds of all steps so far.

    Args:
        path: of the file; None keeps none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = None if path is None else _OwnFile(path)

    def cut(self, step: int) -> None:
        """Begin: delete the lines of later steps."""
        if self._path is not None and self._file is not None:
            with writing(self._path):
                lines = self._path.read_bytes().splitlines(keepends=True) if is_file(self._path) else []
            kept = [line for line in lines if (match := _STEP.fullmatch(line)) and int(match[1]) <= step]
            self._file.begin(b"".join(kept))

    def write(self, step: int, seconds: float) -> None:
        """Append a step that was just taken.

        Raises:
            StorageError: the file system refuses.
        """
        if self._file is not None:
            row = {"step": step, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "seconds": round(seconds, 3)}
            self._file.append((json.dumps(row) + "\n").encode("utf-8"))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
