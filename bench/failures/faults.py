"""Faults at a chosen file operation of a process, by a small library that is compiled here and preloaded (``shim.c``)."""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Action", "Fault", "library", "preloaded", "unavailable"]

_SOURCE = Path(__file__).with_name("shim.c")
_LOADED = "XERIC_FAILURES_SHIM"


class Action(enum.IntEnum):
    """What happens at the k-th operation."""

    COUNT = 0
    KILL = 1
    """The process is killed before the operation."""
    TEAR = 2
    """A half of what is to be written is written, then the process is killed; like ``KILL`` where nothing is written."""
    STOP = 3
    """The process is stopped (SIGSTOP) before the operation."""
    FULL = 4
    """From here on, everything that takes space fails with ``number``."""
    REFUSE = 5
    """From here on, every operation fails with ``number``."""


@dataclass(frozen=True)
class Fault:
    """What is done to a process.

    Attributes:
        action: see there.
        at: number of the operation, from 1.
        number: ``errno`` of a refusal.
        folder: operations below it are counted.
        clock: seconds by which the clock of the process is ahead.
        no_locks: whether ``flock`` and ``fcntl`` refuse to lock, as some network file systems do.
    """

    folder: Path
    action: Action = Action.COUNT
    at: int = 0
    number: int = errno.ENOSPC
    clock: int = 0
    no_locks: bool = False

    def arm(self) -> None:
        """Let it happen in this process."""
        shim = library()
        if self.clock:
            # The time of boot that the system states moves with its clock.
            lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
            moved = [f"btime {int(line.split()[1]) + self.clock}" if line.startswith("btime") else line for line in lines]
            file = Path(tempfile.gettempdir(), f"xeric-failures-stat-{os.getpid()}")
            file.write_text("\n".join(moved) + "\n", encoding="ascii")
            shim.failures_clock(ctypes.c_longlong(self.clock), str(file).encode())
        if self.no_locks:
            shim.failures_no_locks(errno.ENOSYS)
        shim.failures_arm(str(self.folder).encode(), int(self.action), ctypes.c_long(self.at), self.number)


def library() -> ctypes.CDLL:
    """Return the preloaded library."""
    shim = ctypes.CDLL(None)
    shim.failures_names.restype = ctypes.c_char_p
    shim.failures_count.restype = ctypes.c_long
    return shim


def unavailable() -> str | None:
    """Return why faults cannot be made here, or None where they can."""
    if sys.platform != "linux":
        return "they are made by LD_PRELOAD, on Linux only"
    try:
        subprocess.run(["cc", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "there is no C compiler (cc)"
    return None


def preloaded(module: str) -> None:
    """Start ``python -m module`` again in this process with the library loaded first, unless it is already."""
    if os.environ.get(_LOADED):
        return
    if reason := unavailable():
        sys.exit(f"no failures can be made: {reason}")
    shim = Path(tempfile.mkdtemp(prefix="xeric-failures-"), "shim.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(_SOURCE), "-ldl", "-lpthread"], check=True)
    variables = {"LD_PRELOAD": str(shim), _LOADED: "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # No network, and no colours: what is compared must not depend on either.
    variables |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "PYTHONHASHSEED": "0"}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **variables})
