"""One of several workers on the folder of a study: it takes runs that no other process works on, and leaves when none is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from xeric.execution.open_study import OpenStudy, StudyRun
from xeric.execution.outages import Outages
from xeric.progress import Silent, StudyProgress
from xeric.studies.config import StudyConfig
from xeric.studies.folder import PlannedRun

__all__ = ["by_base", "work"]


def work(
    study: StudyConfig | str | Path,
    output: str | Path,
    *,
    overrides: Iterable[str] = (),
    number: int = 0,
    retry_before: int | None = 0,
    progress: StudyProgress | None = None,
    poll: float = 1.0,
) -> StudyRun:
    """Carry out the runs of a study that no other process works on, until every other run is finished or taken.

    A run whose worker died is taken over; one that waits for trials of tuning that others carry out is waited for.

    Args:
        study: the study, or what :func:`xeric.studies.plan.load_study` takes.
        output: its folder; made where it is missing.
        overrides: of a study that is given by name or file.
        number: of the worker; workers begin with the runs of different bases.
        retry_before: as in :class:`~xeric.execution.executor.RunExecutor`.
        progress: is told what happens.
        poll: seconds between attempts while other processes work on trials.

    Raises:
        UserError: settings, tasks or bases cannot be used, or the folder holds another study; nothing is written.
    """
    told = progress or Silent()
    changes = list(overrides)
    opening = partial(OpenStudy.of, study, output, overrides=changes, progress=told, poll=poll, retry_before=retry_before)
    opened = Outages(told).outlast(opening)
    opened.runs.carry_out(by_base(opened.plan.study, opened.plan.runs, number), until_taken=True)
    return opened.finished()


def by_base(study: StudyConfig, runs: Sequence[PlannedRun], number: int) -> list[PlannedRun]:
    """Return runs base by base, so that each base is opened once; those of the base of this number come first.

    Within a base they keep their order.
    """
    bases = list(dict.fromkeys(study.base_name(run.arm.key.base) for run in runs))
    return sorted(runs, key=lambda run: (bases.index(study.base_name(run.arm.key.base)) - number) % len(bases))
