"""A run's folder: what may lie in it, whether it holds the run done, and that one process at a time works in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from xeric.encodings import read_text
from xeric.errors import RunError, UserError
from xeric.files import is_of_other_programs, writing
from xeric.metrics.stored import statistics_file
from xeric.progress import Progress
from xeric.record_io import read_record
from xeric.records import PREDICTION_FILES, Record
from xeric.run.locks import Lock, held
from xeric.training.log import LOG_FILES

__all__ = ["ADAPTER", "CHECKPOINT", "CONFIG_FILE", "Guarded", "finished", "heading", "occupied"]

CONFIG_FILE = "config.yaml"
ADAPTER = "adapter"
CHECKPOINT = "checkpoint"
_LOCKS = "locks"
_WRITTEN = {name for file in PREDICTION_FILES.values() for name in (file, statistics_file(Path(file)).name)}
_OURS = {CONFIG_FILE, *LOG_FILES, *_WRITTEN, ADAPTER, CHECKPOINT, _LOCKS}
_ELSEWHERE = "name another folder with -o"


def heading(identity: str) -> str:
    """Return the first line of a run's ``config.yaml``."""
    return f"# run {identity}"


def finished(folder: Path, identity: str) -> Record | None:
    """Return the record where the folder holds this run done, or None where the run may use the folder.

    Raises:
        UserError: the folder holds another run, or something that is no run, or there can be no such folder.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError("is a file, not a folder", where=str(folder), hint=_ELSEWHERE)
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    done = read_record(folder)
    if done is not None:
        if done.run_id == identity:
            return done
        raise UserError(f"holds another run ({done.run_id}, this one is {identity})", where=str(folder), hint=_ELSEWHERE)
    if strange := sorted(name for name in found - _OURS if not name.endswith(".part") and not is_of_other_programs(name)):
        raise UserError(f"holds files that are not a run's: {', '.join(strange[:3])}", where=str(folder), hint=_ELSEWHERE)
    if CONFIG_FILE in found and read_text(folder / CONFIG_FILE).splitlines()[:1] != [heading(identity)]:
        raise UserError("holds another, unfinished run", where=str(folder), hint=f"{_ELSEWHERE}, or delete it")
    return None


@contextlib.contextmanager
def occupied(folder: Path, progress: Progress) -> Iterator[Lock]:
    """Wait until no other process works in a run's folder, and keep others out of it.

    Where nothing is written into the folder meanwhile, no trace of it is left: a corrected command finds it free.

    Raises:
        StorageError: there can be no such folder.
    """

    def waiting() -> None:
        progress.note(f"another process works in {folder}; waiting until it is done")

    with writing(folder):
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with held(folder / _LOCKS, "run", waiting=waiting) as lock:
            yield lock
    finally:
        for path in (folder / _LOCKS, *made):
            with contextlib.suppress(OSError):  # something lies in it
                path.rmdir()


class Guarded:
    """Hands progress on; stops a run whose folder another process has taken over, because this one was asleep for minutes."""

    def __init__(self, progress: Progress, lock: Lock, folder: Path) -> None:
        self._progress, self._lock, self._folder = progress, lock, folder

    def note(self, text: str) -> None:
        """Hand a remark on."""
        self._progress.note(text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Hand the start of a phase on."""
        self._progress.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Hand progress on."""
        if self._lock.lost:
            raise RunError("another process has taken this run over", where=str(self._folder), hint="look there for its result")
        self._progress.advance(units, loss)
