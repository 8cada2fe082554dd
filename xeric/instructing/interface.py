"""``xeric.instruct``: a search for a task, its base and settings given as a user gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.precision import PrecisionName
from xeric.data.tasks import Task
from xeric.files import expanded
from xeric.instructing import instruct as searching
from xeric.instructing.options import instruct_options
from xeric.instructing.outcome import InstructOutcome
from xeric.progress import Progress

__all__ = ["instruct"]


def instruct(
    task: Task,
    base: Base | str,
    output: str | Path | None = None,
    *,
    device: str = "auto",
    precision: PrecisionName = "auto",
    progress: Progress | None = None,
    **options: Any,
) -> InstructOutcome:
    """Search a better definition, or better demonstrations, of a task for a base that is used as it is.

    Args:
        task: of :func:`xeric.load_task`.
        base: an open base, or the name of one.
        output: the task file to write, with its scores beside it; the same call goes on after an interruption. None writes
            nothing.
        device: of a base that is named: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: likewise: ``auto``, ``fp32``, ``bf16`` or ``4bit``.
        progress: is told what happens.
        options: of :class:`xeric.instructing.options.InstructOptions`: ``search="both"``, ``candidates=100``, ``seconds=600``,
            ``proposer="http://localhost:8080/v1"``, ``prompt={...}``, ``data={...}``.

    Raises:
        UserError: a setting is unknown or does not fit, or the file is there already.
        RunError: the proposer cannot be reached, or does not answer as one.
    """
    chosen = instruct_options(options)
    path = expanded(output) if output is not None else None
    if path is not None:
        searching.check_output(path)
    opened = base if isinstance(base, Base) else load_base(base, device=device, precision=precision, progress=progress)
    return searching.instruct(task, opened, path, chosen, progress=progress)
