"""What a report is made from: a study folder's results and the texts of its lines. Reads records only; no model, no torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from pydantic import ValidationError

from xeric.errors import DataError, UserError
from xeric.records import Prediction, read_predictions, write_json
from xeric.studies.results import CellResult, StudyResults

__all__ = ["RESULTS_FILE", "LineOutputs", "read_outputs", "read_results"]

RESULTS_FILE = "results.json"
_STUDY_FILE = "study.yaml"
_PREDICTIONS = "predictions.jsonl"
_INPUTS = (
    _STUDY_FILE,
    "cells.json",
    "cells/*/record.json",
    "cells/*/failure.json",
    "tuning/*/tuning.json",
    f"baselines/*/*/{_PREDICTIONS}",
)


class _Analysis(Protocol):
    def analyse(self, folder: Path) -> StudyResults: ...


def read_results(folder: Path) -> StudyResults:
    """Return a study's results; where they are missing or older than its records they are made and written first.

    Raises:
        UserError: the folder holds no study, or none of its cells is done.
        DataError: its results cannot be read.
    """
    path = folder / RESULTS_FILE
    if not path.is_file() and not (folder / _STUDY_FILE).is_file():
        raise UserError("holds no study", where=str(folder), hint="run one first: `xeric study run STUDY.yaml -o DIR`")
    if not path.is_file() or _newest(folder) > path.stat().st_mtime_ns:
        # By name, and only here: a report on finished results needs no statistics library.
        analysis = cast(_Analysis, importlib.import_module("xeric.studies.analysis"))
        results = analysis.analyse(folder)
        write_json(path, results)
        return results
    try:
        return StudyResults.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"not a study's results: {field}: {first['msg']}",
            where=str(path),
            hint="delete the file; `xeric report` makes it again from the records",
        ) from None


def _newest(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for pattern in _INPUTS for path in folder.glob(pattern)), default=0)


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
    found = []
    for line in results.lines:
        if line.baseline:
            found.append(_baseline_outputs(line.id, folder / "baselines" / line.baseline))
        else:
            found.append(_line_outputs(line.id, folder, [cell for cell in results.cells if cell.line == line.id]))
    return found


def _line_outputs(line: str, folder: Path, cells: list[CellResult]) -> LineOutputs:
    files: dict[int, list[Path]] = {}
    for cell in cells:
        path = folder / "cells" / cell.id / _PREDICTIONS
        if cell.status == "ok" and path.is_file():
            files.setdefault(cell.seed, []).append(path)
    if not files:
        states = sorted({cell.status for cell in cells} - {"ok"})
        return LineOutputs(line, None, (), f"no run of this line was finished ({', '.join(states) or 'no outputs kept'})")
    # One run a task: the seed that finished most of them, the first of those.
    seed = min(files, key=lambda one: (-len(files[one]), one))
    return LineOutputs(line, seed, _read_all(files[seed]))


def _baseline_outputs(line: str, folder: Path) -> LineOutputs:
    files = {int(path.parent.name): path for path in folder.glob(f"*/{_PREDICTIONS}") if path.parent.name.isdecimal()}
    if not files:
        return LineOutputs(line, None, (), "its outputs were not kept")
    return LineOutputs(line, min(files), _read_all([files[min(files)]]))


def _read_all(paths: Iterable[Path]) -> tuple[Prediction, ...]:
    return tuple(row for path in sorted(paths) for row in read_predictions(path))
