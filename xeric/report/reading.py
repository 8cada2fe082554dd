"""What a report is made from: a study folder's results and the texts of its arms. Reads records only; no model, no torch."""

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
from xeric.studies.folder import StudyFolder

__all__ = ["ArmOutputs", "read_outputs", "read_results"]


def read_results(folder: Path) -> StudyResults:
    """Return a study's results; where they are missing or older than its records they are made and written first.

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
    """What one arm wrote.

    Attributes:
        arm: its id.
        seed: of the run that the texts are from: the first that was finished.
        predictions: over all tasks; empty where no run was finished.
        scores: of each text by itself, on :data:`xeric.metrics.PRIMARY`, by task and id.
        why: why there are none.
    """

    arm: str
    seed: int | None
    predictions: tuple[Prediction, ...] = ()
    scores: Mapping[tuple[str, str], float] = field(default_factory=dict)
    why: str = ""


def read_outputs(folder: Path, results: StudyResults) -> list[ArmOutputs]:
    """Return the test outputs of every arm and trivial baseline, in the order of the results, each of its first finished seed.

    Raises:
        DataError: a predictions file is not one.
    """
    study, found = StudyFolder(folder), []
    for arm in results.arms:
        if arm.baseline:
            found.append(_baseline_outputs(arm.id, study.baselines_dir / arm.baseline))
        else:
            found.append(_arm_outputs(arm.id, study, [run for run in results.runs if run.arm == arm.id]))
    return found


def _arm_outputs(arm: str, study: StudyFolder, runs: list[RunResult]) -> ArmOutputs:
    files: dict[int, list[Path]] = {}
    for run in runs:
        path = study.run_folder(run.id) / PREDICTION_FILES["test"]
        if run.status == "ok" and path.is_file():
            files.setdefault(run.seed, []).append(path)
    if not files:
        states = sorted({run.status for run in runs} - {"ok"})
        return ArmOutputs(arm, None, why=f"no run of this arm was finished ({', '.join(states) or 'no outputs kept'})")
    # One run per task: the seed that finished most of them, the first of those.
    seed = min(files, key=lambda one: (-len(files[one]), one))
    return _read(arm, seed, files[seed])


def _baseline_outputs(arm: str, folder: Path) -> ArmOutputs:
    files = {int(path.parent.name): path for path in folder.glob(f"*/{PREDICTION_FILES['test']}") if path.parent.name.isdecimal()}
    if not files:
        return ArmOutputs(arm, None, why="its outputs were not kept")
    return _read(arm, min(files), [files[min(files)]])


def _read(arm: str, seed: int, paths: Iterable[Path]) -> ArmOutputs:
    paths = sorted(paths)
    rows = tuple(row for path in paths for row in read_predictions(path))
    scores = Measured.joined([measured(path, [PRIMARY]) for path in paths]).per_example(PRIMARY)
    return ArmOutputs(arm, seed, rows, scores)
