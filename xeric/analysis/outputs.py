"""What the runs of a study left behind, read and counted once: records, and predictions by arm and seed. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xeric.metrics.measuring import Measured, measure
from xeric.processes import process_pool
from xeric.record_io import read_predictions
from xeric.records import PREDICTION_FILES, Record, Split
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import PlannedArm, PlannedRun, RunState, StudyFolder
from xeric.studies.paraphrases import paraphrases_of, prediction_files

__all__ = ["Outputs", "Runs", "measure_runs", "read_outputs"]

Runs = dict[str, dict[int, Measured]]
"""Counted predictions by arm and seed."""

_WORTH_PROCESSES = 4 << 20
"""Bytes of predictions, some five seconds of counting, from which on starting processes takes less time than it saves."""


@dataclass(frozen=True)
class Outputs:
    """A study's folder, read; predictions are not yet.

    Attributes:
        folder: the folder.
        study: its study file.
        runs: every planned run with what its folder holds.
    """

    folder: StudyFolder
    study: StudyConfig
    runs: tuple[tuple[PlannedRun, RunState], ...]

    @property
    def arms(self) -> dict[str, PlannedArm]:
        """Every planned arm, by id, in the order of the plan."""
        return {run.arm.id: run.arm for run, _ in self.runs}

    @property
    def fixed(self) -> set[str]:
        """Arms whose outputs do not depend on a seed: nothing is trained, and decoding does not sample."""
        return {name for name, arm in self.arms.items() if arm.key.untrained and not self.study.samples}

    def of(self, arm: str) -> list[tuple[PlannedRun, RunState]]:
        """Return the runs of an arm."""
        return [(run, state) for run, state in self.runs if run.arm.id == arm]

    def records(self, arm: str) -> dict[int, list[Record]]:
        """Return the records of the runs that went well, by seed; a seed counts when all its tasks are done."""
        found: defaultdict[int, list[Record]] = defaultdict(list)
        for run, state in self.of(arm):
            if state.record is not None and state.record.status == "ok":
                found[run.seed].append(state.record)
        return {seed: records for seed, records in found.items() if len(records) == self._parts}

    @property
    def sizes(self) -> dict[str, int]:
        """Training examples of the trained arms, mean over tasks, by id: as planned, or as many as there were."""
        found: dict[str, int] = {}
        for name, arm in self.arms.items():
            runs = list(self.records(name).values())
            if arm.key.untrained or not runs:
                continue
            counts = [task.data.get("train", 0) + task.data.get("dev", 0) for record in runs[0] for task in record.tasks.values()]
            found[name] = arm.key.n_train or round(sum(counts) / len(counts))
        return found

    def find(self, key: ArmKey) -> str | None:
        """Return the id of the arm with these axes, or None where the study has none."""
        wanted = self.study.canonical(key)
        return next((name for name, arm in self.arms.items() if self.study.canonical(arm.key) == wanted), None)

    def files(self, part: Split) -> dict[tuple[str, int], list[Path]]:
        """Return the files of predictions by arm and seed, of the seeds all of whose tasks are done."""
        found: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        for run, state in self.runs:
            path = self.folder.run_folder(run.id) / PREDICTION_FILES[part]
            # Without any dev instances the file is there, and empty.
            if state.status == "ok" and path.is_file() and path.stat().st_size:
                found[run.arm.id, run.seed].append(path)
        return {owner: paths for owner, paths in found.items() if len(paths) == self._parts}

    def paraphrased_files(self) -> dict[tuple[str, int], list[Path]]:
        """Return the files of predictions under paraphrases of the definitions, by arm and number of the paraphrase (from 1)."""
        found: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        for run, state in self.runs:
            if state.status == "ok":
                files = prediction_files(self.folder.run_folder(run.id), paraphrases_of(self.study, run))
                for number, path in enumerate(files, 1):
                    if path.is_file():
                        found[run.arm.id, number].append(path)
        return {owner: paths for owner, paths in found.items() if len(paths) == self._parts}

    def baseline_files(self) -> dict[tuple[str, int], list[Path]]:
        """Return the files of the trivial baselines' predictions by name and seed."""
        paths = sorted(self.folder.baselines_dir.glob(f"*/*/{PREDICTION_FILES['test']}")) if self.study.baselines else []
        return {(path.parts[-3], int(path.parts[-2])): [path] for path in paths if path.parts[-2].isdecimal()}

    @property
    def _parts(self) -> int:
        return 1 if self.study.joint else len(self.study.tasks)


def read_outputs(root: Path) -> Outputs:
    """Return what a study's folder holds.

    Raises:
        UserError: it holds no study, or a file in it is not what it should be.
    """
    folder = StudyFolder(root)
    study = folder.read_study()
    return Outputs(folder, study, tuple((run, folder.state(run.id)) for run in folder.read_runs()))


def measure_runs(files: Mapping[tuple[str, int], list[Path]], metrics: Sequence[str], *, workers: int = 1) -> Runs:
    """Return the counted predictions of many runs; this is what takes the time of an analysis.

    Args:
        files: predictions by arm and seed; several files of one run are read as one.
        metrics: names.
        workers: processes. More than one start Python anew, so a script that asks for them keeps its work under
            ``if __name__ == "__main__"``.

    Raises:
        DataError: a file holds no predictions, or they cannot be scored.
    """
    jobs = [(paths, tuple(metrics)) for paths in files.values()]
    size = sum(path.stat().st_size for paths in files.values() for path in paths)
    if workers > 1 and size > _WORTH_PROCESSES:
        with process_pool(workers) as pool:
            measured = list(pool.map(_measure, jobs))
    else:
        measured = [_measure(job) for job in jobs]
    found: Runs = defaultdict(dict)
    for (name, seed), one in zip(files, measured, strict=True):
        found[name][seed] = one
    return dict(found)


def _measure(job: tuple[Sequence[Path], Sequence[str]]) -> Measured:
    paths, metrics = job
    return measure([row for path in paths for row in read_predictions(path)], metrics)
