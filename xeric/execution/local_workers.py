"""Workers as processes on this machine, which divide its processor cores and GPUs among them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import IO

import torch

from xeric.execution.worker_events import Event, Order

__all__ = ["LEAVE_SECONDS", "LocalWorker", "ending", "environment"]

_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from xeric.execution.worker_process import main; main()"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LEAVE_SECONDS = 20.0
"""How long a process that was asked to leave may take."""
_TAIL_BYTES = 4000


def environment(number: int, count: int) -> dict[str, str]:
    """Return the environment of one of several workers on this machine.

    Args:
        number: of the worker, from 0.
        count: of workers. The cores are divided among them, unless ``OMP_NUM_THREADS`` is set. Where there are several GPUs, each
            worker sees one, in turn.
    """
    result = dict(os.environ)
    if "OMP_NUM_THREADS" not in result:
        result |= dict.fromkeys(_THREADS, str(max(1, _cores() // count)))
    gpus = _gpus(result)
    if len(gpus) > 1:
        result["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus(variables: Mapping[str, str]) -> list[str]:
    """Return the GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    names = [name.strip() for name in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return names[:count] if names else [str(index) for index in range(count)]


class LocalWorker:
    """A worker that runs as a process; see :class:`xeric.execution.watching.Worker`.

    Args:
        order: what it is to do.
        variables: its environment.
    """

    def __init__(self, order: Order, variables: Mapping[str, str]) -> None:
        self.number = order.number
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path), order.folder, str(order.number), str(order.retry_before)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(variables),
            # Ctrl-C reaches the driver alone, which passes it on.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def events(self) -> list[Event]:
        """Return what it has told since the last call."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def ended(self) -> str | None:
        """Return how it died, empty where it left by itself; None while it works."""
        code = self._process.poll()
        if code is None:
            return None
        self._reader.join()  # its last events
        return ending(code, self._errors)

    def leave(self) -> None:
        """Ask it to leave."""
        self._process.terminate()  # nothing where it has gone already

    def stop(self) -> None:
        """Wait until it has gone, and end it where that takes too long."""
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # cut off by its death
                self._events.put(json.loads(line))


def ending(code: int, errors: IO[bytes]) -> str:
    """Return how a process ended, empty where it left by itself.

    Args:
        code: its return code, as :mod:`subprocess` has it.
        errors: file that it wrote its standard error into.
    """
    if code == 0:
        return ""
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + (", as the system does when memory is exhausted" if name == "SIGKILL" else "")
    return f"left with exit code {code}" + (f": {line}" if (line := _last_line(errors)) else "")


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - _TAIL_BYTES))
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
