"""Trainings that several processes carry out together: what each of the processes does, started by ``test_processes.py``."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests import rows
from tests.attached import train
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.tensors import write_tensors
from xeric.data.rows import EncodedTask
from xeric.errors import XericError
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.checkpoint import CheckpointFile
from xeric.training.loss import dev_loss
from xeric.training.options import TrainOptions
from xeric.training.processes import ALONE, Processes, Rank, joined
from xeric.training.result import TrainResult


@dataclass(frozen=True)
class Case:
    """A training, and in which process after how many steps it is killed."""

    name: str
    method: Mapping[str, Any]
    train: Mapping[str, Any] = field(default_factory=dict)
    killed: tuple[int, int] | None = None
    lr: float = 2e-3


def carry_out(case: Case, base_folder: str, folder: Path, processes: Processes = ALONE) -> TrainResult:
    """Train in ``folder / name`` and write the weights there; on two tasks, with dev selection."""
    base = load_base(base_folder, device="cpu", precision="fp32")
    tasks = _tasks(base)
    dev = [rows.training_rows(base, rows.task("one", seed=5), 6)]
    definitions = {task.task: rows.task(task.task).definition for task in tasks}
    method = method_options(case.method)
    # Other seeds in the others: the weights that the training starts from are the first one's.
    adaptation = METHODS.get(method.name).attach(base, method, seed=processes.number, definitions=definitions)
    run_folder = folder / case.name
    run_folder.mkdir(parents=True, exist_ok=True)
    result = train(
        base,
        adaptation,
        tasks,
        TrainOptions.model_validate({"max_steps": 8, "batch_size": 8, "micro_batch_size": 2, "dev_every": 2, **case.train}),
        lr=case.lr,
        evaluate=lambda: -dev_loss(base, dev, batch_size=2, processes=processes),
        checkpoint=CheckpointFile(run_folder / "checkpoint" / "training.safetensors", "key"),
        log=run_folder / "log.jsonl",
        progress=_Killer(case.killed, processes.number),
        processes=processes,
    )
    # Every process has the weights; the files show that they are the same.
    write_tensors(run_folder / f"weights{processes.number}.safetensors", adaptation.state(), {})
    return result


def _tasks(base: Base) -> list[EncodedTask]:
    return [rows.training_rows(base, rows.task("one"), 11), rows.training_rows(base, rows.task("two", language="Hindi"), 6)]


class _Killer:
    """A progress that kills its process after some steps, as the system does."""

    def __init__(self, killed: tuple[int, int] | None, number: int) -> None:
        self._left = killed[1] if killed and killed[0] == number else -1

    def note(self, text: str) -> None: ...

    def start(self, phase: str, total: int, done: int = 0) -> None: ...

    def advance(self, units: int, loss: float | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def work(number: int, count: int, rendezvous: str, cases: Sequence[Case], base_folder: str, folder: Path) -> None:
    """Be one of the processes."""
    torch.set_num_threads(1)
    with joined("cpu", Rank(number, count, number), f"file://{rendezvous}") as processes:
        for case in cases:
            try:
                carry_out(case, base_folder, folder, processes)
            except XericError as error:
                (folder / f"error{number}").write_text(f"{type(error).__name__}: {error}")
                raise SystemExit(1) from None


def together(count: int, cases: Sequence[Case], base_folder: str, folder: Path) -> list[int | None]:
    """Carry trainings out by so many processes, and return the exit codes of these."""
    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    arguments = (count, str(rendezvous), cases, base_folder, folder)
    others = [context.Process(target=work, args=(number, *arguments)) for number in range(count)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    return [other.exitcode for other in others]
