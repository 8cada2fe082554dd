"""What a report is made from: a study folder's results and the texts of its arms. Reads records only; no model, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xeric.analysis.analyse import current_results
from xeric.analysis.results import RunResult, StudyResults
from xeric.errors import UserError
from xeric.record_io import read_predictions
from xeric.records import PREDICTION_FILES, Prediction
from xeric.studies.folder import StudyFolder

__all__ = ["ArmOutputs", "read_outputs", "read_results"]


def read_results(folder: Path, *, workers: int = 1) -> StudyResults:
    """Return a study's results; where they are missing or older than its records they are made and written first.

    Args:
        folder: of the study.
        workers: processes that make them; see :func:`xeric.analysis.outputs.measure_runs`.

    Raises:
        UserError: the folder holds no study, or one that cannot be read.
    """
    if not StudyFolder(folder).study_file.is_file():
        raise UserError("holds no study", where=str(folder), hint="run one first: `xeric study run STUDY.yaml -o DIR`")
    return current_results(folder, workers=workers)


@dataclass(frozen=True)
class ArmOutputs:
    """What one line wrote.

    Attributes:
        arm: its id.
        seed: of the run that the texts are from: the first that was finished.
        predictions: over all tasks; empty where no run was finished.
        why: why there are none.
    """

    arm: str
    seed: int | None
    predictions: tuple[Prediction, ...]
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
        return ArmOutputs(arm, None, (), f"no run of this arm was finished ({', '.join(states) or 'no outputs kept'})")
    # One run a task: the seed that finished most of them, the first of those.
    seed = min(files, key=lambda one: (-len(files[one]), one))
    return ArmOutputs(arm, seed, _read_all(files[seed]))


def _baseline_outputs(arm: str, folder: Path) -> ArmOutputs:
    files = {int(path.parent.name): path for path in folder.glob(f"*/{PREDICTION_FILES['test']}") if path.parent.name.isdecimal()}
    if not files:
        return ArmOutputs(arm, None, (), "its outputs were not kept")
    return ArmOutputs(arm, min(files), _read_all([files[min(files)]]))


def _read_all(paths: Iterable[Path]) -> tuple[Prediction, ...]:
    return tuple(row for path in sorted(paths) for row in read_predictions(path))
