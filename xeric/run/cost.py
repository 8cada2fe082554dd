"""What a run cost and where it ran: the part of a record that may differ when the run is repeated."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from xeric.training.memory import MemoryEstimate
from xeric.training.result import TrainResult

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures seconds by phase, and peak memory since its construction.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_peak()

    @contextlib.contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Count the seconds inside under ``phase``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def cost(self, result: TrainResult, estimate: MemoryEstimate, processes: int = 1) -> dict[str, Any]:
        """Return the ``cost`` of a record: seconds by phase, bytes, tokens, device, host; of the first of several processes."""
        return {
            "seconds": {**result.seconds, **self._seconds},
            "peak_memory_bytes": self.peak(),
            "memory_estimate_bytes": estimate.as_bytes(),
            "tokens": result.tokens,
            **({"time": asdict(result.time)} if result.time else {}),
            "device": self._device_name(),
            "threads": torch.get_num_threads(),
            **({"processes": processes} if processes > 1 else {}),
            "host": platform.node(),
            "platform": platform.platform(),
        }

    def peak(self) -> int:
        """Return the largest number of bytes held since construction."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if (peak := _resident_peak()) is not None:
            return peak
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024

    def _device_name(self) -> str:
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


_PROCESS = Path("/proc/self")


def _reset_peak() -> None:
    """Reset the peak of this process's resident memory, so that an earlier run in the process is not counted.

    Only Linux can (proc_pid_clear_refs(5)); elsewhere the peak is that of the whole process.
    """
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def _resident_peak() -> int | None:
    """Return the peak that :func:`_reset_peak` reset, in bytes; None where the system does not report it."""
    try:
        status = (_PROCESS / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    line = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(line[1]) * 1024 if line else None
