"""Locks for processes, on one or several machines, that share a folder.

A lock is a file that is created exclusively, which every file system can do atomically, shared ones included; no ``flock``. It
names its holder, and the holder touches it every few seconds. A lock whose holder is dead (its process has ended, on this
machine) or silent (not touched for minutes, by the file system's own clock) is stale and can be taken over.

Taking over creates the *next generation* of the file (``NAME.2`` after ``NAME.1``), again exclusively, so of several processes
that see the same stale lock exactly one gets it. A holder that was only suspended finds the next generation and knows that it has
lost the lock.

After acquiring a lock, check again whether the work is done: another process may have finished it since the first check.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from xeric.files import writing

__all__ = ["BEAT_SECONDS", "STALE_SECONDS", "Holder", "Lock", "acquire", "held", "held_by", "is_held", "sweep", "this_process"]

BEAT_SECONDS = 15.0
STALE_SECONDS = 180.0


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
        self._checked = time.time()
        self._thread = threading.Thread(target=self._touch, name=f"lock {path.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another process took the lock over (after this one was suspended for minutes).

        A resumed process may ask before its heartbeat thread has run, so after a pause the file is read again.
        """
        if not self._lost and abs(time.time() - self._checked) > self._beat:
            self._check()
        return self._lost

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        self._thread.join()
        if self._check():
            # The newest generation last: while it exists, no process takes an older one for the newest.
            for path in self._generations():
                path.unlink(missing_ok=True)

    def _touch(self) -> None:
        while not self._released.wait(self._beat):
            if not self._check():
                return
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _check(self) -> bool:
        """Return whether the lock is still held; a lost lock stays lost."""
        with contextlib.suppress(OSError):  # a shared file system that fails for a moment does not mean that the lock is lost
            generations = self._generations()
            self._lost = self._lost or generations[-1:] != [self._path] or self._path.read_text(encoding="utf-8") != self._content
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
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        except FileNotFoundError:
            # Another process has just removed the empty folder.
            return acquire(folder, name, beat=beat, stale=stale)
        content = json.dumps(_myself())
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
        except BaseException:  # a full disk
            path.unlink(missing_ok=True)
            raise
    return Lock(path, content, beat=beat)


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
    return Holder(_machine(), os.getpid())


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
    started = psutil.Process().create_time()
    return {"machine": _machine(), "pid": os.getpid(), "started": started, "token": secrets.token_hex(8)}


def _machine() -> str:
    """Return what identifies this machine's process ids: host, boot and, in containers, the pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        # Not Linux: the host's name alone.
        return platform.node()
    return f"{platform.node()} {boot} {namespace}"


def _is_stale(path: Path, seconds: float) -> bool:
    """Return whether a lock's holder is gone; a lock that disappears meanwhile was released, so it is not stale."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        if holder["machine"] == _machine():
            return not _is_alive(int(holder["pid"]), float(holder["started"]))
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        # Created and not yet written, or its writer was killed while writing: only the time since the last touch can tell.
        pass
    try:
        return _now(path.parent) - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # The system may have given the number to a new process.
        return abs(process.create_time() - started) < 1.0 and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _now(folder: Path) -> float:
    """Return the time by the file system's clock: the clocks of machines that share a folder may differ."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.") as file:
        return Path(file.name).stat().st_mtime
