"""Processes of one machine: whether one still runs, whatever is done to the clock meanwhile."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import zlib
from pathlib import Path

__all__ = ["is_running", "machine", "mark", "marked_by_the_dead", "started"]


def machine() -> str:
    """Return what identifies this machine's process ids: host, boot and, in containers, the pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        # Not Linux: the host's name alone.
        return platform.node()
    return f"{platform.node()} {boot} {namespace}"


def started(pid: int) -> float | None:
    """Return when a process was started, as a number that no setting of the clock changes; None where it does not run.

    On Linux these are the clock ticks from boot to start. What counts from the epoch, as psutil does, moves with the clock: once
    it is set by a second, every process seems to be another one.
    """
    if sys.platform != "linux":
        return _started_by_psutil(pid)
    try:
        # The name of the program, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def _started_by_psutil(pid: int) -> float | None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return None


def is_running(pid: int, start: float | None = None) -> bool:
    """Return whether a process of this machine runs.

    Args:
        pid: its number.
        start: what :func:`started` said of it: the system gives numbers of dead processes to new ones. None: any process counts.
    """
    now = started(pid)
    if now is not None:
        return start is None or abs(now - start) < 1.0
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's, and hidden
        return True
    return False  # a zombie


def mark() -> str:
    """Return what names this process in the name of a file that is not finished yet."""
    return f"{_machine_mark()}-{os.getpid():x}"


def marked_by_the_dead(text: str) -> bool:
    """Return whether a mark is that of a process of this machine that runs no more."""
    where, _, pid = text.partition("-")
    return where == _machine_mark() and not is_running(int(pid, 16))


@functools.cache
def _machine_mark() -> str:
    return f"{zlib.crc32(machine().encode()):08x}"
