"""Locks for processes, on one or several machines, that share a folder.

A lock is a file whose name only one process can make, which every file system does atomically, shared ones included; no
``flock``. It names its holder, and the holder touches it every few seconds. A lock whose holder is dead (its process has ended,
on this machine) or silent (not touched for minutes, by the file system's own clock) is stale and can be taken over.

Taking over creates the *next generation* of the file (``NAME.2`` after ``NAME.1``), again exclusively, so of several processes
that see the same stale lock exactly one gets it. A holder that was only suspended finds the next generation and knows that it has
lost the lock.

After acquiring a lock, check again whether the work is done: another process may have finished it since the first check.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xeric.files import part_of, remove_abandoned, writing
from xeric.processes import is_running, machine, started

__all__ = ["BEAT_SECONDS", "STALE_SECONDS", "Holder", "Lock", "acquire", "held", "held_by", "is_held", "sweep", "this_process"]

BEAT_SECONDS = 15.0
STALE_SECONDS = 180.0
_RETRY_SECONDS = 1.0
"""How long a lock is taken for held after a look at it that the file system did not answer."""

_held_here: set[str] = set()
"""Contents of the locks that this process holds."""


class Lock:
    """A lock that this process holds; see :func:`acquire`.

    Args:
        path: its file.
        content: what was written into it; no other lock has the same.
        beat: seconds between touches.
    """

    def __init__(self, path: Path, content: str, *, beat: float = BEAT_SECONDS) -> None:
        self._path = path
        self._content = content
        self._beat = beat
        self._released = threading.Event()
        self._lost = False
        self._checked, self._sure_for = time.time(), beat
        self._thread = threading.Thread(target=self._touch, name=f"lock {path.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another process took the lock over (after this one was suspended for minutes).

        A resumed process may ask before its heartbeat thread has run, so after a pause the file is read again. Where the file
        system does not answer, the lock counts as held; it is read again a second later.
        """
        if not self._lost and abs(time.time() - self._checked) > self._sure_for:
            self._check()
        return self._lost

    def release(self) -> None:
        """Release the lock. Where the file system does not answer, its file stays, and is stale: nobody holds it any more."""
        self._released.set()
        self._thread.join()
        _held_here.discard(self._content)
        if self._check():
            with contextlib.suppress(OSError):
                # The newest generation last: while it exists, no process takes an older one for the newest.
                for path in self._generations():
                    path.unlink(missing_ok=True)

    def _touch(self) -> None:
        while not self._released.wait(self._sure_for):
            if not self._check():
                return
            try:
                os.utime(self._path)
            except OSError:
                self._sure_for = min(_RETRY_SECONDS, self._beat)

    def _check(self) -> bool:
        """Return whether the lock is still held; a lost lock stays lost."""
        try:
            generations = self._generations()
            self._lost = self._lost or generations[-1:] != [self._path] or self._path.read_text(encoding="utf-8") != self._content
            self._sure_for = self._beat
        except OSError:  # a shared file system that fails for a moment does not mean that the lock is lost
            self._sure_for = min(_RETRY_SECONDS, self._beat)
        self._checked = time.time()
        return not self._lost

    def _generations(self) -> list[Path]:
        return _generations(self._path.parent, self._path.stem)


def acquire(folder: Path, name: str, *, beat: float = BEAT_SECONDS, stale: float = STALE_SECONDS) -> Lock | None:
    """Return the lock of a name, or None where another process holds it.

    Args:
        folder: where locks lie; made where it is missing.
        name: what is locked; a part of a file name.
        beat: seconds between the holder's touches.
        stale: seconds of silence after which a holder on another machine counts as gone; many times ``beat``.

    Raises:
        StorageError: the file system refuses.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        generations = _generations(folder, name)
        if generations and not _is_stale(generations[-1], stale):
            return None
        path = folder / f"{name}.{_generation(generations[-1]) + 1 if generations else 1}"
        content = json.dumps(_myself())
        created = False
        _held_here.add(content)  # before other threads can see the file
        try:
            created = _created(path, folder / name, content)
        except FileNotFoundError:
            # Another process has just removed the empty folder.
            return acquire(folder, name, beat=beat, stale=stale)
        finally:
            if not created:
                _held_here.discard(content)
    return Lock(path, content, beat=beat) if created else None


def _created(path: Path, name: Path, content: str) -> bool:
    """Create a file unless it exists; return whether this process has. Its content is there as soon as it is.

    A process that is killed between creating and writing would leave a lock that names nobody, and which all others would have to
    wait for until it is old. So the file is written under another name and linked, which fails where the name is taken.
    """
    remove_abandoned(name)
    part = part_of(name)
    try:
        part.write_text(content, encoding="utf-8")
        try:
            os.link(part, path)
        except FileExistsError:
            # On a network file system the answer to a link that was made can be lost, and the link be asked for again.
            return part.stat().st_nlink > 1
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            return _created_exclusively(path, content)
        return True
    finally:
        part.unlink(missing_ok=True)


def _created_exclusively(path: Path, content: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
    except BaseException:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return True


@contextlib.contextmanager
def held(folder: Path, name: str, *, poll: float = 1.0, waiting: Callable[[], None] | None = None) -> Iterator[Lock]:
    """Wait for the lock of a name and hold it for what is inside.

    Args:
        folder: as in :func:`acquire`.
        name: as in :func:`acquire`.
        poll: seconds between attempts while another process holds it.
        waiting: called once, if another process holds it.
    """
    while (lock := acquire(folder, name)) is None:
        if waiting:
            waiting()
            waiting = None
        time.sleep(poll)
    try:
        yield lock
    finally:
        lock.release()


def is_held(folder: Path, name: str, *, stale: float = STALE_SECONDS) -> bool:
    """Return whether a process that is alive holds the lock of a name."""
    generations = _generations(folder, name)
    return bool(generations) and not _is_stale(generations[-1], stale)


class Holder(NamedTuple):
    """A process as locks name it."""

    machine: str
    pid: int


def this_process() -> Holder:
    """Return what this process is called in its locks."""
    return Holder(machine(), os.getpid())


def held_by(folder: Path, holder: Holder) -> set[str]:
    """Return the names of the locks that a process holds, or held when it died."""
    return {path.stem for path in _lock_files(folder) if _holder(path) == holder}


def sweep(folder: Path) -> None:
    """Delete stale locks, and the folder if it is then empty."""
    for name in {path.stem for path in _lock_files(folder)}:
        lock = acquire(folder, name)
        if lock is not None:
            lock.release()
    with contextlib.suppress(OSError):  # another process holds a lock
        folder.rmdir()


def _generations(folder: Path, name: str) -> list[Path]:
    """Return the files of a lock, oldest first."""
    return sorted((path for path in _lock_files(folder) if path.stem == name), key=_generation)


def _lock_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix[1:].isdecimal()]
    except FileNotFoundError:
        return []


def _holder(path: Path) -> Holder | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Holder(str(content["machine"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):  # released meanwhile, or not written yet
        return None


def _generation(path: Path) -> int:
    return int(path.suffix[1:])


def _myself() -> dict[str, Any]:
    return {"machine": machine(), "pid": os.getpid(), "start": started(os.getpid()), "token": secrets.token_hex(8)}


def _is_stale(path: Path, seconds: float) -> bool:
    """Return whether a lock's holder is gone; a lock that disappears meanwhile was released, so it is not stale."""
    try:
        content = path.read_text(encoding="utf-8")
        holder = json.loads(content)
        if holder["machine"] == machine():
            # One of this process's own that could not be deleted when it was released is held by nobody.
            left = int(holder["pid"]) == os.getpid() and content not in _held_here
            return left or not is_running(int(holder["pid"]), float(holder["start"]))
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        # Created and not yet written, or its writer was killed while writing: only the time since the last touch can tell.
        pass
    try:
        return _now(path.parent) - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """Return the time by the file system's clock: the clocks of machines that share a folder may differ."""
    remove_abandoned(folder / "now")
    part = part_of(folder / "now")
    try:
        part.touch()
        return part.stat().st_mtime
    finally:
        part.unlink(missing_ok=True)
