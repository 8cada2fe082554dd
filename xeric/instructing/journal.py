"""What a search has computed so far, so that the same search goes on after an interruption.

A search is a function of its settings and of what scoring, sampling and proposing return. These are kept by what was asked, so a
search that begins again finds them and arrives where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from xeric.config import digest
from xeric.errors import DataError
from xeric.files import writing
from xeric.json_io import iter_jsonl, write_jsonl

__all__ = ["Journal"]

T = TypeVar("T", float, list[str])


class Journal:
    """Keeps results by what was asked.

    Args:
        path: of the file; None keeps them in memory alone.
        identity: of the search; results of another one are not used.
        clock: seconds, for what the search has taken.
    """

    def __init__(self, path: Path | None, identity: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._identity, self._clock = path, identity, clock
        self._results: dict[str, Any] = {}
        self._start, self._before = clock(), 0.0
        self._saved = 0
        self.resumed = 0
        """Number of results that were there at the beginning."""
        if path is not None and path.is_file():
            self._results, self._before = _read(path, identity)
            self._saved = self.resumed = len(self._results)

    @property
    def seconds(self) -> float:
        """What the search has taken, with the time before interruptions up to the last saving."""
        return self._before + self._clock() - self._start

    def get(self, asked: Any, compute: Callable[[], T]) -> T:
        """Return what was computed for this before, or compute it.

        Args:
            asked: plain values that say what is computed.
            compute: computes it.
        """
        key = digest(asked)
        if key not in self._results:
            value = compute()
            # JSON has no infinity: a candidate that does not fit has no loss.
            self._results[key] = None if value == math.inf else value
        value = self._results[key]
        return cast("T", math.inf if value is None else value)

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if self._path is None or len(self._results) == self._saved:
            return
        rows = ({"asked": key, "result": value} for key, value in self._results.items())
        write_jsonl(self._path, [{"search": self._identity, "seconds": self.seconds}, *rows])
        self._saved = len(self._results)

    def remove(self) -> None:
        """Delete the file."""
        if self._path is not None:
            with writing(self._path):
                self._path.unlink(missing_ok=True)


def _read(path: Path, identity: str) -> tuple[dict[str, Any], float]:
    """Return the results in a file, and the seconds that they took."""
    rows = [row for _, row in iter_jsonl(path)]
    if not rows or rows[0].get("search") != identity:
        raise DataError(
            "holds the beginning of another search", where=str(path), hint="delete it, or write the task to another file"
        )
    # Numbers of JSON lines are read as they were written.
    return {str(row["asked"]): _value(row["result"]) for row in rows[1:]}, float(rows[0].get("seconds", 0.0))


def _value(result: Any) -> Any:
    return result if result is None or isinstance(result, list) else float(result)
