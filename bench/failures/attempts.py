"""Attempts at a command: each in a child of a process that has imported everything, so that one costs no start-up."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.failures.faults import Action, Fault, library

__all__ = ["Attempt", "Outcome", "attempt", "import_all"]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        code: its exit code; negative is the signal that ended it.
        operations: a letter for each file operation; empty where it was killed.
        output: of both streams.
        seconds: it took.
    """

    code: int
    operations: str
    output: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether it was killed before its end."""
        return self.code == -signal.SIGKILL

    @property
    def faults(self) -> list[str]:
        """What a user must not be shown."""
        signs = ("Traceback", "unexpected ", "this is a mistake in Xeric")
        return [line.strip() for line in self.output.splitlines() if any(sign in line for sign in signs)]


class Attempt:
    """A command that runs in a child process.

    Args:
        arguments: of ``xeric``.
        fault: what is done to it.
        log: file for what it says.
        before: is called in the child first.
    """

    def __init__(self, arguments: Sequence[str], fault: Fault, log: Path, before: Callable[[], None] | None = None) -> None:
        self._log, self._start = log, time.monotonic()
        self._counts, counts = os.pipe()
        log.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            _child(arguments, fault, log, counts, before)
        os.close(counts)

    def wait(self, seconds: float | None = None) -> Outcome | None:
        """Return how it ended, or None where it has not after so many seconds."""
        descriptor = os.pidfd_open(self.pid)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                return None
        finally:
            os.close(descriptor)
        _, status = os.waitpid(self.pid, 0)
        with contextlib.suppress(ProcessLookupError):  # what it started, such as pip
            os.killpg(self.pid, signal.SIGKILL)
        with os.fdopen(self._counts, "rb") as counts:
            os.set_blocking(counts.fileno(), False)
            told = counts.read() or b""
        output = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        operations = json.loads(told) if told.endswith(b'"') else ""
        return Outcome(os.waitstatus_to_exitcode(status), operations, output, time.monotonic() - self._start)

    def until_stopped(self) -> bool:
        """Wait until it has stopped itself; return False where it ended instead."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def signal(self, number: int) -> None:
        """Send a signal to it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def attempt(
    arguments: Sequence[str], fault: Fault, log: Path, *, kill_after: float | None = None, limit: float = 300.0
) -> Outcome:
    """Run a command to its end, or kill it after so many seconds.

    Raises:
        RuntimeError: it takes longer than ``limit``.
    """
    running = Attempt(arguments, fault, log)
    outcome = running.wait(limit if kill_after is None else kill_after)
    if outcome is None:
        running.signal(signal.SIGKILL)
        outcome = running.wait()
        if kill_after is None:
            raise RuntimeError(f"hangs: xeric {' '.join(arguments)}\n{outcome.output if outcome else ''}")
    assert outcome is not None
    return outcome


def _child(arguments: Sequence[str], fault: Fault, log: Path, counts: int, before: Callable[[], None] | None) -> None:
    code = 70
    try:
        os.setsid()
        descriptor = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        if before:
            before()
        from xeric.cli.main import run

        fault.arm()
        code = run(list(arguments))
        library().failures_disarm()
        operations = library().failures_names().decode()
        os.write(counts, json.dumps(operations if fault.action in (Action.COUNT, Action.FULL, Action.REFUSE) else "").encode())
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - a child must never go on with what its parent does
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def import_all(arguments: Sequence[Sequence[str]], folder: Path) -> None:
    """Import what commands import, by carrying each out in a child that tells what it has loaded."""
    names: set[str] = set()
    for number, words in enumerate(arguments):
        file = folder / f"modules-{number}.json"
        child = os.fork()
        if child == 0:
            _modules_of(words, file, folder)
        os.waitpid(child, 0)
        names |= set(json.loads(file.read_text(encoding="utf-8")))
    for name in sorted(names - set(sys.modules)):
        if not name.startswith(("__", "pip")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    # Children share what is loaded; a collection of garbage would look at, and so copy, all of it in each of them.
    gc.collect()
    gc.freeze()


def _modules_of(words: Sequence[str], file: Path, folder: Path) -> None:
    code = 1
    try:
        with (folder / "import.log").open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            from xeric.cli.main import run

            code = run(list(words))
            file.write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")
    finally:
        os._exit(code)
