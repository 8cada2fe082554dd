"""What a report is made from: a study folder's results and the texts of its lines. Reads records only; no model, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xeric.errors import UserError
from xeric.records import PREDICTION_FILES, Prediction, read_predictions
from xeric.studies.analysis import current_results
from xeric.studies.folder import StudyFolder
from xeric.studies.results import CellResult, StudyResults

__all__ = ["LineOutputs", "read_outputs", "read_results"]


def read_results(folder: Path, *, workers: int = 1) -> StudyResults:
    """Return a study's results; where they are missing or older than its records they are made and written first.

    Args:
        folder: of the study.
        workers: processes that make them; see :func:`xeric.studies.outputs.measure_runs`.

    Raises:
        UserError: the folder holds no study, or one that cannot be read.
    """
    if not StudyFolder(folder).study_file.is_file():
        raise UserError("holds no study", where=str(folder), hint="run one first: `xeric study run STUDY.yaml -o DIR`")
    return current_results(folder, workers=workers)


@dataclass(frozen=True)
class LineOutputs:
    """What one line wrote.

    Attributes:
        line: its id.
        seed: of the run that the texts are from: the first that was finished.
        predictions: over all tasks; empty where no run was finished.
        why: why there are none.
    """

    line: str
    seed: int | None
    predictions: tuple[Prediction, ...]
    why: str = ""


def read_outputs(folder: Path, results: StudyResults) -> list[LineOutputs]:
    """Return the test outputs of every line and trivial baseline, in the order of the results, each of its first finished seed.

    Raises:
        DataError: a predictions file is not one.
    """
    study, found = StudyFolder(folder), []
    for line in results.lines:
        if line.baseline:
            found.append(_baseline_outputs(line.id, study.baselines_dir / line.baseline))
        else:
            found.append(_line_outputs(line.id, study, [cell for cell in results.cells if cell.line == line.id]))
    return found


def _line_outputs(line: str, study: StudyFolder, cells: list[CellResult]) -> LineOutputs:
    files: dict[int, list[Path]] = {}
    for cell in cells:
        path = study.cell(cell.id) / PREDICTION_FILES["test"]
        if cell.status == "ok" and path.is_file():
            files.setdefault(cell.seed, []).append(path)
    if not files:
        states = sorted({cell.status for cell in cells} - {"ok"})
        return LineOutputs(line, None, (), f"no run of this line was finished ({', '.join(states) or 'no outputs kept'})")
    # One run a task: the seed that finished most of them, the first of those.
    seed = min(files, key=lambda one: (-len(files[one]), one))
    return LineOutputs(line, seed, _read_all(files[seed]))


def _baseline_outputs(line: str, folder: Path) -> LineOutputs:
    files = {int(path.parent.name): path for path in folder.glob(f"*/{PREDICTION_FILES['test']}") if path.parent.name.isdecimal()}
    if not files:
        return LineOutputs(line, None, (), "its outputs were not kept")
    return LineOutputs(line, min(files), _read_all([files[min(files)]]))


def _read_all(paths: Iterable[Path]) -> tuple[Prediction, ...]:
    return tuple(row for path in sorted(paths) for row in read_predictions(path))
