"""A worker as a process of its own: events go to its standard output, line by line; it ends when its standard input does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading

from xeric.execution.worker_events import Event, Order, carry_out
from xeric.interruption import Interrupted, raising

__all__ = ["leave_with_the_driver", "main"]


def main() -> None:
    """Carry out the order that is given as arguments, and leave the process."""
    folder, number, retry_before = sys.argv[1:]
    # What libraries print must not get among the events.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(event: Event) -> None:
        with contextlib.suppress(OSError):  # nobody watches any more: the end of standard input says what to do
            events.write(json.dumps(event) + "\n")
            events.flush()

    try:
        with raising():
            threading.Thread(target=leave_with_the_driver, daemon=True).start()
            carry_out(Order(folder, int(number), int(retry_before)), send)
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)


def leave_with_the_driver() -> None:
    """Ask this process to leave as soon as the one that started it has closed the pipe, or has died."""
    # Not by sys.stdin: an interpreter that ends while a thread reads from it aborts.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
