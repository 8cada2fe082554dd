"""How far a study is: what each run's folder holds, who works on what, how tuning stands. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xeric.run.locks import is_held
from xeric.studies.folder import PlannedRun, RunState, StudyFolder, read_state
from xeric.studies.paraphrases import paraphrases_of, prediction_files

__all__ = ["StudyStatus", "study_status"]


@dataclass(frozen=True)
class StudyStatus:
    """What a study's folder holds at the moment.

    Attributes:
        folder: the study's.
        runs: planned runs, in their order.
        states: what each run's folder holds, by run.
        running: runs and trials that a process works on now.
        trials: how each run of a trial stands (``ok``, ``diverged``, ``failed``, ``missing``), by its folder's path in the study.
        tuned: how many methods' tunings are done.
        paraphrases: how many times a test set is decoded under paraphrases of the definitions, and how many the study asks for.
    """

    folder: StudyFolder
    runs: tuple[PlannedRun, ...]
    states: dict[str, RunState]
    running: tuple[str, ...]
    trials: dict[str, str]
    tuned: int
    paraphrases: tuple[int, int]

    def counts(self) -> dict[str, int]:
        """Return how many runs have each status; ``running`` ones are counted apart from ``missing`` ones."""
        found = [self.status(run) for run in self.runs]
        return {status: found.count(status) for status in ("ok", "diverged", "failed", "running", "missing")}

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
        done, planned = self.paraphrases
        found = {"folder": str(self.folder.root), "counts": self.counts(), "runs": rows, "trials": self.trials}
        return found | {"paraphrases": {"done": done, "planned": planned}}


def study_status(folder: StudyFolder) -> StudyStatus:
    """Return how far a study is.

    Raises:
        UserError: the folder holds no study.
    """
    runs = tuple(folder.read_runs())
    places = [folder.run_folder(run.id) for run in runs]
    study = folder.read_study()
    asked = [path for run in runs for path in prediction_files(folder.run_folder(run.id), paraphrases_of(study, run))]
    trials = sorted(path for path in folder.tuning_dir.glob("*/*") if path.is_dir())
    running = tuple(path.name for path in (*places, *trials) if is_held(folder.locks_dir, folder.lock_name(path)))
    return StudyStatus(
        folder=folder,
        runs=runs,
        states={run.id: folder.state(run.id) for run in runs},
        running=running,
        trials={str(path.relative_to(folder.root)): read_state(path).status for path in trials},
        tuned=len(list(folder.tuning_dir.glob("*/tuning.json"))),
        paraphrases=(sum(path.is_file() for path in asked), len(asked)),
    )
