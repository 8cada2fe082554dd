"""A run's folder: which files it may hold, whether its run is finished, and the lock that keeps other processes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from xeric.encodings import read_text
from xeric.errors import RunError, StorageError, UserError
from xeric.files import is_of_other_programs, partial_files, remove, writing
from xeric.locks import Lock, held, is_held, sweep
from xeric.metrics.stored import statistics_file
from xeric.progress import Progress
from xeric.record_io import read_record
from xeric.records import BEFORE_FILE, PREDICTION_FILES, Record
from xeric.run.tracking import TRACKING
from xeric.training.log import LOG_FILES

__all__ = ["ADAPTER", "CHECKPOINT", "CONFIG_FILE", "Guarded", "finished", "heading", "leftovers", "occupied", "tidy"]

CONFIG_FILE = "config.yaml"
ADAPTER = "adapter"
CHECKPOINT = "checkpoint"
_LOCKS = "locks"
_WRITTEN = {name for file in PREDICTION_FILES.values() for name in (file, statistics_file(Path(file)).name)}
_OURS = {CONFIG_FILE, BEFORE_FILE, *LOG_FILES, *_WRITTEN, ADAPTER, CHECKPOINT, TRACKING, _LOCKS}
_AFTER_CONFIG = {*PREDICTION_FILES.values(), ADAPTER}
"""What a run writes only after its configuration: without that, the file is somebody else's."""
_ELSEWHERE = "name another folder with -o"


def heading(identity: str) -> str:
    """Return the first line of a run's ``config.yaml``."""
    return f"# run {identity}"


def finished(folder: Path, identity: str) -> Record | None:
    """Return the record where the folder holds this run, finished; None where the run may use the folder.

    Raises:
        UserError: the folder holds another run or files that are not a run's, or it cannot be a folder.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError("is a file, not a folder", where=str(folder), hint=_ELSEWHERE)
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    record = read_record(folder)
    if record is not None:
        if record.run_id == identity:
            return record
        raise UserError(f"holds another run ({record.run_id}, this one is {identity})", where=str(folder), hint=_ELSEWHERE)
    if strange := sorted(name for name in names - _OURS if not name.endswith(".part") and not is_of_other_programs(name)):
        raise UserError(f"holds files that are not a run's: {', '.join(strange[:3])}", where=str(folder), hint=_ELSEWHERE)
    if CONFIG_FILE not in names and (foreign := sorted(names & _AFTER_CONFIG)):
        what = f"holds {foreign[0]} and no {CONFIG_FILE}, which a run writes first"
        raise UserError(what, where=str(folder), hint=_ELSEWHERE)
    if CONFIG_FILE in names and read_text(folder / CONFIG_FILE).splitlines()[:1] != [heading(identity)]:
        raise UserError("holds another, unfinished run", where=str(folder), hint=f"{_ELSEWHERE}, or delete it")
    return None


def leftovers(folder: Path) -> list[Path]:
    """Return what a killed process has left in the folder of a run, or of a stage, that is finished by now."""
    checkpoint = folder / CHECKPOINT
    parts = [path for path in partial_files(folder) if checkpoint not in path.parents]
    return [checkpoint, *parts] if checkpoint.exists() else parts


def tidy(folder: Path) -> None:
    """Delete :func:`leftovers` and the locks of dead processes, unless another process is about to.

    A folder that cannot be written stays as it is: what is wanted of it is there.
    """
    locks = folder / _LOCKS
    with contextlib.suppress(OSError, StorageError):
        if locks.is_dir():
            sweep(locks)
        if not is_held(locks, "run"):
            for path in leftovers(folder):
                remove(path)


@contextlib.contextmanager
def occupied(folder: Path, progress: Progress) -> Iterator[Lock]:
    """Wait until no other process works in a run's folder, and keep others out of it.

    A folder into which nothing was written is removed afterwards, so that a corrected command can use it.

    Raises:
        StorageError: the folder cannot be made.
    """

    def waiting() -> None:
        progress.note(f"another process works in {folder}; waiting until it is done")

    with writing(folder):
        new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with held(folder / _LOCKS, "run", waiting=waiting) as lock:
            yield lock
    finally:
        for path in (folder / _LOCKS, *new_folders):
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


class Guarded:
    """Passes progress on, and stops a run whose lock another process has taken over (this one was suspended for minutes)."""

    def __init__(self, progress: Progress, lock: Lock, folder: Path) -> None:
        self._progress, self._lock, self._folder = progress, lock, folder

    def note(self, text: str) -> None:
        """Pass a remark on."""
        self._progress.note(text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Pass the start of a phase on."""
        self._progress.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Pass progress on."""
        if self._lock.lost:
            raise self._lost()
        self._progress.advance(units, loss)

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Say of any error inside that the run was taken over, where it was: its new owner may have removed what was there."""
        try:
            yield
        except Exception:
            if self._lock.lost:
                raise self._lost() from None
            raise

    def _lost(self) -> RunError:
        return RunError("another process has taken this run over", where=str(self._folder), hint="look there for its result")
