"""What a worker tells the process that watches it: events of plain values, which cross pipes and networks.

An event is a list: its name, then its arguments. ``started`` (machine and process id), the methods of
:class:`xeric.progress.StudyProgress`, ``refused`` (class, sentence, place and hint of an error that ends the whole study), and
``lost`` (name of a run's lock that was held for a worker that died).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from xeric.errors import ConfigError, DataError, RunError, StorageError, UnreachableError, UserError, XericError
from xeric.files import storage_error
from xeric.locks import this_process

__all__ = ["Event", "Order", "Telling", "carry_out", "refusal", "refused"]

Event = list[Any]

_ADVANCE_SECONDS = 0.2
_ERRORS: dict[str, type[XericError]] = {
    kind.__name__: kind for kind in (ConfigError, DataError, RunError, StorageError, UnreachableError, UserError, XericError)
}


class Order(NamedTuple):
    """What a worker is told when it is started.

    Attributes:
        folder: of the study, as a full path.
        number: of the worker.
        retry_before: as in :class:`~xeric.execution.executor.RunExecutor`.
    """

    folder: str
    number: int
    retry_before: int


class Telling:
    """Progress as events; see :class:`xeric.progress.StudyProgress`. Units are collected: a phase has thousands of them."""

    def __init__(self, send: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send, self._clock = send, clock
        self._units, self._sent = 0, clock()
        self._loss: float | None = None

    def note(self, text: str) -> None:
        """Tell of a remark."""
        self._tell("note", text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Tell of the start of a phase."""
        self._tell("start", phase, total, done)

    def begin(self, what: str) -> None:
        """Tell of the beginning of a run."""
        self._tell("begin", what)

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """Tell how many runs are done."""
        self._tell("overall", done, total, seconds_left)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Count units, and tell of them if the last time is a moment ago."""
        self._units += units
        self._loss = loss
        if self._clock() - self._sent >= _ADVANCE_SECONDS:
            self._flush()

    def _tell(self, *event: Any) -> None:
        self._flush()
        self._send(list(event))

    def _flush(self) -> None:
        if self._units:
            self._send(["advance", self._units, self._loss])
        self._units, self._sent = 0, self._clock()


def carry_out(order: Order, send: Callable[[Event], None]) -> None:
    """Work as a worker: take runs until none is left, and send an event for each.

    Args:
        order: what to do.
        send: passes an event on; it must not raise.
    """
    send(["started", *this_process()])
    # Here, after the first word: the libraries take seconds.
    from xeric.execution.work import work

    try:
        work(order.folder, order.folder, number=order.number, retry_before=order.retry_before, progress=Telling(send))
    except XericError as error:
        send(refused(error))
    except OSError as error:
        if (storage := storage_error(error, doing="read or written")) is None:
            raise
        send(refused(storage))


def refused(error: XericError) -> Event:
    """Return an error that ends the whole study as an event."""
    return ["refused", type(error).__name__, error.what, error.where, error.hint]


def refusal(name: str, what: str, where: str | None, hint: str | None) -> XericError:
    """Return the error that a worker's event ``refused`` tells of."""
    kind = _ERRORS.get(name, RunError)
    return kind(what, where=where, hint=hint)
