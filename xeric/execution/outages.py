"""Outages: where the file system of a study does not answer, as when a network is cut, its work waits and goes on.

A process that works on a study holds nothing in memory that the folder lacks and that cannot be computed again, so whatever an
outage breaks off is begun anew. Locks that were not touched meanwhile may have gone to others; then their runs are left to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from xeric.errors import StorageError, UnreachableError
from xeric.files import storage_error
from xeric.formatting import duration

__all__ = ["PATIENCE_SECONDS", "Outages"]

PATIENCE_SECONDS = 3600.0
"""How long an outage may last; the failure of a disk, which looks the same, ends the study after this time."""

_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds before the next attempt; the last one again and again."""

_LONG_SECONDS = 600.0
"""An attempt that lasted longer has got something done: what it ends with is another outage."""

T = TypeVar("T")


class _Noting(Protocol):
    def note(self, text: str) -> None: ...


class Outages:
    """Repeats what an outage breaks off, until the file system answers again.

    Args:
        progress: is told when waiting begins.
        sleep: waits so many seconds.
        clock: returns seconds that no setting of the time changes.
    """

    def __init__(
        self, progress: _Noting, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress, self._sleep, self._clock = progress, sleep, clock

    def outlast(self, action: Callable[[], T]) -> T:
        """Carry out an action, again and again where the file system does not answer, and return its result.

        Args:
            action: may be broken off by an error at any moment and begun anew.

        Raises:
            StorageError: the file system has not answered for an hour, or it refuses for another reason, which is not waited for.
        """
        since, attempts = self._clock(), 0
        while True:
            begun = self._clock()
            try:
                return action()
            except (StorageError, OSError) as error:
                unreachable = _unreachable(error)
                if unreachable is None:
                    raise
                if not attempts or self._clock() - begun > _LONG_SECONDS:
                    since, attempts = self._clock(), 0
                    self._progress.note(f"{unreachable}; trying again for up to {duration(PATIENCE_SECONDS)}")
                elif self._clock() - since > PATIENCE_SECONDS:
                    what = f"{unreachable.what}, for {duration(PATIENCE_SECONDS)} by now"
                    raise StorageError(what, where=unreachable.where, hint=unreachable.hint).after_work() from None
                self._sleep(_PAUSES[min(attempts, len(_PAUSES) - 1)])
                attempts += 1


def _unreachable(error: StorageError | OSError) -> UnreachableError | None:
    storage = error if isinstance(error, StorageError) else storage_error(error, doing="read or written")
    return storage if isinstance(storage, UnreachableError) else None
