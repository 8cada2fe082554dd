"""One run by several processes of this machine: this one is the first, and starts the others.

Each of the others sees one GPU, or has its part of the processor cores. It gets the run's settings from the first process, prints
nothing, and ends when that one does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from xeric.cli.options import quiet_libraries
from xeric.errors import RunError, UserError, XericError
from xeric.execution.local_workers import LEAVE_SECONDS, ending, environment
from xeric.execution.worker_process import leave_with_the_driver
from xeric.interruption import Interrupted, raising
from xeric.run.config import RunConfig
from xeric.run.execute import execute
from xeric.training.processes import Processes, ProcessLostError, Rank, joined, launched_rank

__all__ = ["main", "processes_of_run"]

_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from xeric.cli.launching import main; main()"


@contextlib.contextmanager
def processes_of_run(device: str, count: int | None) -> Iterator[Processes]:
    """Connect the processes that carry out a run together for what is inside.

    Args:
        device: that the run is computed on.
        count: of processes, which are started here; None is those that a launcher (`torchrun`) has started, else this one alone.

    Raises:
        UserError: there are not as many GPUs, or a launcher has started several processes already.
        RunError: one of the processes has ended; the message says how.
    """
    rank = launched_rank()
    if count is None or count == 1:
        with joined(device, rank) as processes:
            yield processes
        return
    if rank is not None:
        raise UserError("a launcher has started several processes already", where="--processes", hint="leave it out")
    if device.startswith("cuda") and torch.cuda.device_count() < count:
        what = f"{count} processes need as many GPUs, and there are {torch.cuda.device_count()}"
        raise UserError(what, where="--processes", hint="give fewer")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(int(environment(0, count)["OMP_NUM_THREADS"]))
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        others = [_Other(number, count, device, rendezvous) for number in range(1, count)]
        try:
            for other in others:
                other.wait_until_ready()
            with joined(device, Rank(0, count, 0), f"file://{rendezvous}") as processes:
                yield processes
        except ProcessLostError:
            raise _lost(others) from None
        finally:
            for other in others:
                other.stop()


class _Other:
    """Another process of the run, as the first sees it."""

    def __init__(self, number: int, count: int, device: str, rendezvous: str) -> None:
        self.number = number
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path), rendezvous, str(number), str(count), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(number, count),
            # Ctrl-C reaches the first process alone, and the others stop at the same step.
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until it can be reached.

        Raises:
            ProcessLostError: it has ended.
        """
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise ProcessLostError

    def ended(self) -> str:
        """Return how it ended, empty where it left because another one had; one that does not end is stopped."""
        self.stop()
        return self._how

    def stop(self) -> None:
        """Wait until it has gone, and end it where that takes too long."""
        if self._errors.closed:
            return
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._how = ending(self._process.returncode, self._errors)
        self._errors.close()


def _lost(others: list[_Other]) -> RunError:
    """Return which of the other processes has ended, and how, as an error."""
    endings = [f"process {other.number} {how}" for other in others if (how := other.ended())]
    what = ", ".join(endings) or "another process of this run has ended"
    return RunError(what, hint="the same command goes on from the last checkpoint")


def main() -> None:
    """Be one of the other processes, as the arguments say, and leave the process."""
    rendezvous, number, count, device = sys.argv[1:]
    ready = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print is nobody's result
    quiet_libraries()
    try:
        with raising():
            threading.Thread(target=leave_with_the_driver, daemon=True).start()
            with ready:
                ready.write("ready\n")
            with joined(device, Rank(int(number), int(count), 0), f"file://{rendezvous}") as processes:
                config, folder = processes.from_first(_given)
                execute(config, folder, processes=processes)
    except (Interrupted, ProcessLostError):
        sys.exit(0)  # the first process says why
    except XericError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _given() -> tuple[RunConfig, Path | None]:
    raise AssertionError("the first process gives the settings")
