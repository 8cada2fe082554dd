"""Reading a report's inputs: a study folder's results and the texts of its arms. Reads records only; no model, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xeric.analysis.analyse import current_results
from xeric.analysis.results import RunResult, StudyResults
from xeric.errors import UserError
from xeric.metrics import PRIMARY, Measured
from xeric.metrics.stored import measured
from xeric.record_io import read_predictions
from xeric.records import PREDICTION_FILES, Prediction
from xeric.studies.baselines import baseline_files
from xeric.studies.folder import StudyFolder

__all__ = ["ArmOutputs", "read_outputs", "read_results"]


def read_results(folder: Path) -> StudyResults:
    """Return a study's results; missing results, or results older than its records, are computed and written first.

    Args:
        folder: of the study.

    Raises:
        UserError: the folder holds no study, or one that cannot be read.
    """
    if not StudyFolder(folder).study_file.is_file():
        raise UserError("holds no study", where=str(folder), hint="run one first: `xeric study run STUDY.yaml -o DIR`")
    return current_results(folder)


@dataclass(frozen=True)
class ArmOutputs:
    """The outputs of one arm.

    Attributes:
        arm: its id.
        seed: of the run that the texts are from: the first finished one.
        predictions: over all tasks; empty where no run was finished.
        scores: of each text, on :data:`xeric.metrics.PRIMARY`, by task and id.
        why: the reason where there are none.
    """

    arm: str
    seed: int | None
    predictions: tuple[Prediction, ...] = ()
    scores: Mapping[tuple[str, str], float] = field(default_factory=dict)
    why: str = ""


def read_outputs(folder: Path, results: StudyResults) -> list[ArmOutputs]:
    """Return the test outputs of every arm and trivial baseline, in the order of the results, each of its first finished seed.

    Raises:
        DataError: a file of predictions cannot be read.
    """
    study, outputs = StudyFolder(folder), []
    baselines = baseline_files(study, results.study.get("seeds", ()))
    for arm in results.arms:
        if arm.baseline:
            outputs.append(_baseline_outputs(arm.id, arm.baseline, baselines))
        else:
            outputs.append(_arm_outputs(arm.id, study, [run for run in results.runs if run.arm == arm.id]))
    return outputs


def _arm_outputs(arm: str, study: StudyFolder, runs: list[RunResult]) -> ArmOutputs:
    files: dict[int, list[Path]] = {}
    for run in runs:
        path = study.run_folder(run.id) / PREDICTION_FILES["test"]
        if run.status == "ok" and path.is_file():
            files.setdefault(run.seed, []).append(path)
    if not files:
        states = sorted({run.status for run in runs} - {"ok"})
        return ArmOutputs(arm, None, why=f"no run of this arm was finished ({', '.join(states) or 'no outputs kept'})")
    # Where each task has its own run: the first of the seeds with most tasks finished.
    seed = min(files, key=lambda seed: (-len(files[seed]), seed))
    return _read(arm, seed, files[seed])


def _baseline_outputs(arm: str, name: str, baselines: Mapping[tuple[str, int], Path]) -> ArmOutputs:
    files = {seed: path for (baseline, seed), path in baselines.items() if baseline == name and path.is_file()}
    if not files:
        return ArmOutputs(arm, None, why="its outputs were not kept")
    return _read(arm, min(files), [files[min(files)]])


def _read(arm: str, seed: int, paths: Iterable[Path]) -> ArmOutputs:
    paths = sorted(paths)
    rows = tuple(row for path in paths for row in read_predictions(path))
    scores = Measured.joined([measured(path, [PRIMARY]) for path in paths]).per_example(PRIMARY)
    return ArmOutputs(arm, seed, rows, scores)
