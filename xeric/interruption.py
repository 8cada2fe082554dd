"""Being interrupted (Ctrl-C, ``kill``, a terminal that closes) where it does no harm.

A command line turns the signals into :class:`Interrupted` (:func:`raising`). Work that must not be cut in the middle puts them
off (:class:`PutOff`): the first signal waits until the work asks for it, the second takes effect at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupted", "PutOff", "raising"]

_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Interrupted(BaseException):
    """A signal asks the process to leave. Not an :class:`Exception`: code that catches errors and goes on does not catch it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it: 130 for Ctrl-C, 143 for ``kill``."""
        return 128 + self.number


_Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Let the signals that ask a process to leave raise :class:`Interrupted`, in the main thread.

    One that is ignored (``nohup``, a job in the background) stays so.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    before = _take(interrupt)
    try:
        yield
    finally:
        _give_back(before)


class PutOff:
    """Puts off the signals that ask the process to leave, as long as the context lasts; see the module's text.

    At the end of the context a signal that came meanwhile takes effect, as it would have without.

    Args:
        waiting: is called at the first signal.
    """

    def __init__(self, waiting: Callable[[], None] | None = None) -> None:
        self._waiting = waiting
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._came is not None

    def __enter__(self) -> Self:
        self._before = _take(self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _give_back(self._before)
        if kind is None:
            self._deliver()

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let signals take effect at once inside, as they do without."""
        _give_back(self._before)
        self._deliver()
        try:
            yield
        finally:
            self._before = _take(self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._came is None:
            self._came = number
            if self._waiting:
                self._waiting()
        else:  # asked twice: leave now
            _give_back(self._before)
            self._deliver()

    def _deliver(self) -> None:
        if self._came is not None:
            number, self._came = self._came, None
            signal.raise_signal(number)


def _take(handler: _Handler) -> dict[int, Any]:
    """Let a handler have the signals that are not ignored; return who had them. Only the main thread may, so only it does."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # None is a handler that was not set by Python, and cannot be put back.
    before: dict[int, Any] = {
        number: had for number in _SIGNALS if (had := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handler)
    return before


def _give_back(before: dict[int, Any]) -> None:
    for number, had in before.items():
        signal.signal(number, had)
