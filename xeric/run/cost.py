"""What a run cost and where it ran: the part of a record that need not repeat."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from xeric.training.memory import MemoryEstimate
from xeric.training.trainer import TrainResult

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures seconds by part and peak memory from its making on.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_peak()

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the seconds inside under ``part``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start

    def cost(self, result: TrainResult, estimate: MemoryEstimate) -> dict[str, Any]:
        """Return the ``cost`` of a record: seconds by part, bytes, tokens, device, host."""
        return {
            "seconds": {**result.seconds, **self._seconds},
            "peak_memory_bytes": self.peak(),
            "memory_estimate_bytes": estimate.as_bytes(),
            "tokens": result.tokens,
            "device": self._device_name(),
            "threads": torch.get_num_threads(),
            "host": platform.node(),
            "platform": platform.platform(),
        }

    def peak(self) -> int:
        """Return the bytes that were held at most since this was made."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if (peak := _resident_peak()) is not None:
            return peak
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    def _device_name(self) -> str:
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


_PROCESS = Path("/proc/self")


def _forget_peak() -> None:
    """Let the peak of this process's resident memory start anew: what an earlier run in it took is not this run's cost.

    Linux alone can (proc_pid_clear_refs(5)); elsewhere the peak is that of the process so far.
    """
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def _resident_peak() -> int | None:
    """Return the peak that :func:`_forget_peak` let start anew, in bytes; None where the system does not say."""
    try:
        status = (_PROCESS / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
