"""Runs one kind of input over many mutations, and says what broke the contract.

The contract: an input works, or is refused by a :class:`~xeric.errors.UserError` (exit code 2) of one sentence; nothing is
written outside the folder asked for; memory and time are bounded.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.fuzz.mutations import mutated
from xeric.errors import UserError

__all__ = ["Kind", "Outcome", "fuzz"]

_SECONDS = 20
_WAITED = 600
_MEMORY = 2 * 1024**3  # that the reading may add
_LONGEST = 3000


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: for the report.
        file: name of the file that is read.
        seeds: valid inputs, and hostile ones.
        read: reads the file; may write into the folder that it is given.
        sound: how many of the first seeds must be read without an error.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path, Path], object]
    sound: int = 1


@dataclass
class Outcome:
    """What became of the inputs of a kind.

    Attributes:
        accepted: how many worked.
        refused: how many were refused as they should be.
        faults: number of the input, and what was wrong.
    """

    accepted: int = 0
    refused: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)


class _TooSlowError(BaseException):
    """No ``except Exception`` may swallow it."""


def fuzz(kind: Kind, *, count: int, seed: int, root: Path) -> Outcome:
    """Read the seeds of a kind and then mutations of them, ``count`` in all."""
    outcome = Outcome()
    source, output, scratch = root / "source", root / "output", root / "scratch"
    for folder in (source, output, scratch):
        folder.mkdir(parents=True)
    with _limited_memory(), _elsewhere(source, scratch):
        for number in range(count):
            path = source / kind.file
            path.write_bytes(content := mutated(kind.seeds, number, seed))
            try:
                with _limited_time():
                    kind.read(path, output)
                outcome.accepted += 1
            except UserError as error:
                outcome.refused += 1
                if number < kind.sound:
                    outcome.faults.append((number, f"a valid input is refused: {error}"))
                outcome.faults += [(number, fault) for fault in _faults_of(error)]
            except (Exception, _TooSlowError) as error:  # noqa: BLE001 - what it is about
                outcome.faults.append((number, "".join(traceback.format_exception(error)[-6:])))
            outcome.faults += [(number, f"left {stray}") for stray in _strays(root, output, path)]
            if not path.is_file() or path.read_bytes() != content:
                outcome.faults.append((number, "changed its input"))
    return outcome


def _faults_of(error: UserError) -> Iterator[str]:
    for text in (str(error), error.hint or ""):
        if len(text.splitlines()) > 1:
            yield f"more than one line: {text!r}"
        if len(text) > _LONGEST:
            yield f"a message of {len(text)} characters: {text[:200]!r}"


def _strays(root: Path, output: Path, source: Path) -> Sequence[Path]:
    """Return what was written outside of the folder asked for, and remove it."""
    files = [path for path in root.rglob("*") if path.is_file() or path.is_symlink()]
    strays = [path for path in files if output not in path.parents and path != source]
    for path in files:
        if path != source:
            path.unlink()
    return strays


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _TooSlowError(
            f"more than {_SECONDS} processor seconds" if number == signal.SIGPROF else f"waited {_WAITED} seconds"
        )

    # Other work on the machine takes no processor time of this one.
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, _SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, _WAITED))
    before = {number: signal.signal(number, stop) for number, _, _ in timers}
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _elsewhere(folder: Path, scratch: Path) -> Iterator[None]:
    """Work in a folder of the test, temporary files included."""
    before, temporary = Path.cwd(), tempfile.tempdir
    os.chdir(folder)
    tempfile.tempdir = str(scratch)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = temporary
