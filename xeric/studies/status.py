"""The progress of a study: the state of each run, the runs in work, and the trials of tuning. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xeric.locks import is_held
from xeric.studies.config import StudyConfig
from xeric.studies.folder import PlannedRun, RunState, StudyFolder, read_state
from xeric.studies.paraphrases import paraphrases_of, prediction_files
from xeric.studies.searching import planned_searches, read_search

__all__ = ["StudyStatus", "study_status"]


@dataclass(frozen=True)
class StudyStatus:
    """What a study's folder holds at the moment.

    Attributes:
        folder: the study's.
        runs: planned runs, in their order.
        states: what each run's folder holds, by run.
        running: runs and trials that a process works on now.
        trials: status of each run of a trial (``ok``, ``diverged``, ``failed``, ``missing``), by its folder's path in the study.
        tuned: how many methods' tunings are done.
        searches: for definitions that are done, and that the study asks for.
        paraphrases: decodings of test sets under paraphrases that are done, and that the study asks for.
    """

    folder: StudyFolder
    runs: tuple[PlannedRun, ...]
    states: dict[str, RunState]
    running: tuple[str, ...]
    trials: dict[str, str]
    tuned: int
    searches: tuple[int, int]
    paraphrases: tuple[int, int]

    def counts(self) -> dict[str, int]:
        """Return how many runs have each status; ``running`` ones are not counted as ``missing``."""
        statuses = [self.status(run) for run in self.runs]
        return {status: statuses.count(status) for status in ("ok", "diverged", "failed", "running", "missing")}

    def status(self, run: PlannedRun) -> str:
        """Return ``ok``, ``diverged``, ``failed``, ``running`` or ``missing``."""
        status = self.states[run.id].status
        return "running" if status in ("missing", "failed") and run.id in self.running else status

    def as_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        rows = []
        for run in self.runs:
            state = self.states[run.id]
            row: dict[str, Any] = {"id": run.id, "arm": run.arm.id, "seed": run.seed, "status": self.status(run)}
            if state.record is not None:
                row["scores"] = {name: score.score for name, score in state.record.scores.items()}
            if state.failure is not None:
                row |= state.failure.model_dump(mode="json", exclude_none=True)
            rows.append(row)
        summary = {"folder": str(self.folder.root), "counts": self.counts(), "runs": rows, "trials": self.trials}
        further = {"searches": self.searches, "paraphrases": self.paraphrases}
        return summary | {name: {"done": done, "planned": planned} for name, (done, planned) in further.items()}


def study_status(folder: StudyFolder) -> StudyStatus:
    """Return the progress of a study.

    Raises:
        UserError: the folder holds no study.
    """
    runs = tuple(folder.read_runs())
    run_folders = [folder.run_folder(run.id) for run in runs]
    study = folder.read_study()
    paraphrase_files = [path for run in runs for path in prediction_files(folder.run_folder(run.id), paraphrases_of(study, run))]
    trials = sorted(path for path in folder.tuning_dir.glob("*/*") if path.is_dir())
    searches = {folder.search(*search) for search in _searches(study, runs)}
    working = (*run_folders, *trials, *sorted(searches))
    running = tuple(path.name for path in working if is_held(folder.locks_dir, folder.lock_name(path)))
    return StudyStatus(
        folder=folder,
        runs=runs,
        states={run.id: folder.state(run.id) for run in runs},
        running=running,
        trials={str(path.relative_to(folder.root)): read_state(path).status for path in trials},
        tuned=len(list(folder.tuning_dir.glob("*/tuning.json"))),
        searches=(sum(read_search(path) is not None for path in searches), len(searches)),
        paraphrases=(sum(path.is_file() for path in paraphrase_files), len(paraphrase_files)),
    )


def _searches(study: StudyConfig, runs: Sequence[PlannedRun]) -> set[tuple[str, str, str]]:
    """Return base, prompt label and task of every search that runs need."""
    planned = (search for run in runs for search in planned_searches(study, run.arm.key, run.tasks))
    return {(search.base, search.prompt, search.task) for search in planned}
