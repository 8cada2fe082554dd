"""How far a study is: what each cell's folder holds, who works on what, how tuning stands. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xeric.run.locks import is_held
from xeric.studies.folder import CellState, PlannedCell, StudyFolder, read_state
from xeric.studies.paraphrases import prediction_files, wordings_of

__all__ = ["StudyStatus", "study_status"]


@dataclass(frozen=True)
class StudyStatus:
    """What a study's folder holds at the moment.

    Attributes:
        folder: the study's.
        cells: planned cells, in their order.
        states: what each cell's folder holds, by cell.
        running: cells and trials that a process works on now.
        trials: how each run of a trial stands (``ok``, ``diverged``, ``failed``, ``missing``), by its folder's path in the study.
        tuned: how many methods' tunings are done.
        wordings: how many readings of the test set under other wordings of the definitions are there, and how many the study asks
            for.
    """

    folder: StudyFolder
    cells: tuple[PlannedCell, ...]
    states: dict[str, CellState]
    running: tuple[str, ...]
    trials: dict[str, str]
    tuned: int
    wordings: tuple[int, int]

    def counts(self) -> dict[str, int]:
        """Return how many cells have each status; ``running`` ones are counted apart from ``missing`` ones."""
        found = [self.status(cell) for cell in self.cells]
        return {status: found.count(status) for status in ("ok", "diverged", "failed", "running", "missing")}

    def status(self, cell: PlannedCell) -> str:
        """Return ``ok``, ``diverged``, ``failed``, ``running`` or ``missing``."""
        status = self.states[cell.id].status
        return "running" if status in ("missing", "failed") and cell.id in self.running else status

    def as_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        rows = []
        for cell in self.cells:
            state = self.states[cell.id]
            row: dict[str, Any] = {"id": cell.id, "line": cell.line.id, "seed": cell.seed, "status": self.status(cell)}
            if state.record is not None:
                row["scores"] = {name: score.score for name, score in state.record.scores.items()}
            if state.failure is not None:
                row |= state.failure.model_dump(mode="json", exclude_none=True)
            rows.append(row)
        done, planned = self.wordings
        found = {"folder": str(self.folder.root), "counts": self.counts(), "cells": rows, "trials": self.trials}
        return found | {"wordings": {"done": done, "planned": planned}}


def study_status(folder: StudyFolder) -> StudyStatus:
    """Return how far a study is.

    Raises:
        UserError: the folder holds no study.
    """
    cells = tuple(folder.read_cells())
    places = [folder.cell(cell.id) for cell in cells]
    study = folder.read_study()
    asked = [path for cell in cells for path in prediction_files(folder.cell(cell.id), wordings_of(study, cell))]
    trials = sorted(path for path in folder.tuning_dir.glob("*/*") if path.is_dir())
    running = tuple(path.name for path in (*places, *trials) if is_held(folder.locks_dir, folder.lock_name(path)))
    return StudyStatus(
        folder=folder,
        cells=cells,
        states={cell.id: folder.state(cell.id) for cell in cells},
        running=running,
        trials={str(path.relative_to(folder.root)): read_state(path).status for path in trials},
        tuned=len(list(folder.tuning_dir.glob("*/tuning.json"))),
        wordings=(sum(path.is_file() for path in asked), len(asked)),
    )
