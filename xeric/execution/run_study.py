"""Carries a study out: tuning, runs, trivial baselines. :mod:`xeric.analysis` makes the results afterwards.

Every run has a folder and an identity of its own, and is finished once its record exists. So a killed study resumes with its
unfinished runs, several processes can work on one folder (:mod:`xeric.locks`), and no run is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from xeric.execution.open_study import OpenStudy, StudyRun
from xeric.execution.outages import Outages
from xeric.execution.watching import Watch
from xeric.execution.workers import Workers, check_device, reached, team_of
from xeric.progress import Silent, StudyProgress
from xeric.studies.config import StudyConfig

__all__ = ["Shard", "StudyRun", "Workers", "run_study"]

Shard = tuple[int, int]
"""Number (from 1) and count: the process takes one of every ``count`` runs."""


def run_study(
    study: StudyConfig | str | Path,
    output: str | Path,
    *,
    overrides: Iterable[str] = (),
    shard: Shard | None = None,
    workers: Workers | None = None,
    progress: StudyProgress | None = None,
    poll: float = 1.0,
) -> StudyRun:
    """Carry a study out, or resume it.

    Args:
        study: the study, or what :func:`xeric.studies.plan.load_study` takes.
        output: its folder; made where it is missing.
        overrides: of a study that is given by name or file.
        shard: carry out a part of the runs only; the others are left to other processes and not waited for.
        workers: who carries the runs out; this process alone if not given. Not with ``shard``.
        progress: is told what happens.
        poll: seconds between attempts while other processes work on the last runs.

    Raises:
        UserError: settings, tasks or bases cannot be used, or the folder holds another study; nothing is written.
        RunError: workers die outside of any run.
    """
    told = progress or Silent()
    check = partial(check_device, workers)
    opening = partial(OpenStudy.of, study, output, overrides=list(overrides), check=check, progress=told, poll=poll)
    with reached(workers):
        opened = Outages(told).outlast(opening)
        if workers is not None:
            with team_of(workers, opened) as team:
                Watch(opened, team, workers.progress).carry_out()
        else:
            runs = opened.plan.runs
            opened.runs.carry_out([run for number, run in enumerate(runs) if shard is None or number % shard[1] == shard[0] - 1])
        return opened.finished()
