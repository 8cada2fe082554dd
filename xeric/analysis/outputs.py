"""The outputs of a study's runs, read once: records, and counted predictions by arm and seed. No torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xeric.metrics.measuring import Measured
from xeric.metrics.stored import has_results, measured
from xeric.records import PREDICTION_FILES, Record, Split
from xeric.studies.baselines import baseline_files
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import PlannedArm, PlannedRun, RunState, StudyFolder
from xeric.studies.paraphrases import paraphrases_of, prediction_files

__all__ = ["Outputs", "Runs", "measured_runs", "read_outputs"]

Runs = dict[str, dict[int, Measured]]
"""Counted predictions by arm and seed."""


@dataclass(frozen=True)
class Outputs:
    """The contents of a study's folder, without predictions.

    Attributes:
        folder: the folder.
        study: its study file.
        runs: every planned run with the state of its folder.
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
        """Return the records of the runs with status ``ok``, by seed; a seed is left out until all its tasks are done."""
        by_seed: defaultdict[int, list[Record]] = defaultdict(list)
        for run, state in self.of(arm):
            if state.record is not None and state.record.status == "ok":
                by_seed[run.seed].append(state.record)
        return {seed: records for seed, records in by_seed.items() if len(records) == self._runs_per_seed}

    @property
    def sizes(self) -> dict[str, int]:
        """Training examples of the trained arms, mean over tasks, by id: as planned, else as counted in the records."""
        sizes: dict[str, int] = {}
        for name, arm in self.arms.items():
            runs = list(self.records(name).values())
            if arm.key.untrained or not runs:
                continue
            counts = [task.data.get("train", 0) + task.data.get("dev", 0) for record in runs[0] for task in record.tasks.values()]
            sizes[name] = arm.key.n_train or round(sum(counts) / len(counts))
        return sizes

    def find(self, key: ArmKey) -> str | None:
        """Return the id of the arm with these axes, or None where the study has none."""
        canonical = self.study.canonical(key)
        return next((name for name, arm in self.arms.items() if self.study.canonical(arm.key) == canonical), None)

    def files(self, split: Split) -> dict[tuple[str, int], list[Path]]:
        """Return the files of predictions by arm and seed, of seeds with all tasks done."""
        by_run: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        done: Counter[tuple[str, int]] = Counter()
        for run, state in self.runs:
            path, owner = self.folder.run_folder(run.id) / PREDICTION_FILES[split], (run.arm.id, run.seed)
            scored = state.status == "ok" and has_results(path)
            if scored:
                by_run[owner].append(path)
            # A task may be too small for a dev set: its file is then empty.
            done[owner] += scored or (state.status == "ok" and split == "dev")
        return {owner: paths for owner, paths in by_run.items() if done[owner] == self._runs_per_seed}

    def paraphrased_files(self) -> dict[tuple[str, int], list[Path]]:
        """Return the files of predictions under paraphrases of the definitions, by arm and number of the paraphrase (from 1)."""
        by_run: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        for run, state in self.runs:
            if state.status == "ok":
                files = prediction_files(self.folder.run_folder(run.id), paraphrases_of(self.study, run))
                for number, path in enumerate(files, 1):
                    if has_results(path):
                        by_run[run.arm.id, number].append(path)
        return {owner: paths for owner, paths in by_run.items() if len(paths) == self._runs_per_seed}

    def baseline_files(self) -> dict[tuple[str, int], list[Path]]:
        """Return the files of the trivial baselines' predictions by name and seed, without those drawn for other seeds."""
        files = baseline_files(self.folder, self.study.seeds) if self.study.baselines else {}
        return {drawn: [path] for drawn, path in files.items() if has_results(path)}

    @property
    def _runs_per_seed(self) -> int:
        return 1 if self.study.joint else len(self.study.tasks)


def read_outputs(root: Path) -> Outputs:
    """Return the contents of a study's folder.

    Raises:
        UserError: it holds no study, or a file in it is damaged.
    """
    folder = StudyFolder(root)
    study = folder.read_study()
    return Outputs(folder, study, tuple((run, folder.state(run.id)) for run in folder.read_runs()))


def measured_runs(files: Mapping[tuple[str, int], list[Path]], metrics: Sequence[str]) -> Runs:
    """Return the counted predictions of many runs, from their statistics.

    Args:
        files: predictions by arm and seed; several files of one run are read as one.
        metrics: names.

    Raises:
        DataError: a file holds no predictions, or they cannot be scored.
    """
    runs: Runs = defaultdict(dict)
    for (name, seed), paths in files.items():
        runs[name][seed] = Measured.joined([measured(path, metrics) for path in paths])
    return dict(runs)
