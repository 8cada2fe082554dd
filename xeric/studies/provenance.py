"""What became of every cell, and what a study's results were made with and on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from xeric import __version__
from xeric.metrics.significance import DEFAULT_SEED, LEVEL
from xeric.records import PREDICTION_FILES, Record
from xeric.studies.folder import CellState, PlannedCell
from xeric.studies.lines import DRAWS
from xeric.studies.outputs import Outputs
from xeric.studies.results import CellResult
from xeric.studies.statistics import ASSUMED_SEED_SD

__all__ = ["cell_results", "provenance"]


def cell_results(outputs: Outputs) -> list[CellResult]:
    """Return every planned cell with its state; those without scores say why."""
    return [_cell(outputs, cell, state) for cell, state in outputs.cells]


def _cell(outputs: Outputs, cell: PlannedCell, state: CellState) -> CellResult:
    known: dict[str, Any] = {"id": cell.id, "line": cell.line.id, "seed": cell.seed, "settings": cell.settings}
    record = state.record
    if record is None:
        failed = state.failure is not None
        return CellResult(**known, status="failed" if failed else "missing", error=state.failure.error if state.failure else None)
    status, error = record.status, record.error
    if status == "ok" and not (outputs.folder.cell(cell.id) / PREDICTION_FILES["test"]).is_file():
        return CellResult(**known, status="missing", error="its predictions are gone")
    if status == "diverged" and error is None:
        error = f"the loss was no longer finite after {record.done_steps} of {record.planned_steps} steps"
    return CellResult(
        **known,
        status=status,
        error=error,
        scores={name: score.score for name, score in record.scores.items()},
        tasks={task: {name: score.score for name, score in one.scores.items()} for task, one in record.tasks.items()},
        cost=record.cost,
        parameters=record.parameters,
    )


def provenance(outputs: Outputs) -> dict[str, Any]:
    """Return versions, machines, bases, time spent, and how the statistics were made."""
    records = [state.record for _, state in outputs.cells if state.record is not None]
    bases: dict[str, Any] = {}
    for cell, state in outputs.cells:
        if state.record is not None:
            bases.setdefault(cell.line.key.base, state.record.base)
    return {
        "xeric": __version__,
        "study": outputs.folder.read_identity(),
        "versions": {
            name: _one_or_all(record.versions[name] for record in records if name in record.versions)
            for name in dict.fromkeys(name for record in records for name in record.versions)
        },
        "bases": bases,
        "hosts": _all(record.cost.get("host") for record in records),
        "devices": _all(record.cost.get("device") for record in records),
        "threads": _all(record.cost.get("threads") for record in records),
        "cells": dict(Counter(state.status for _, state in outputs.cells)),
        "seconds": sum(_seconds(record) for record in records),
        "result_versions": _all(record.result_version for record in records),
        "repeats": _all(record.deterministic for record in records),
        "statistics": {
            "intervals": f"{LEVEL:.0%}, runs by t, instances by bootstrap; docs/studies.md",
            "draws": DRAWS,
            "seed": DEFAULT_SEED,
            "correction": "holm",
            "assumed_seed_sd": ASSUMED_SEED_SD,
        },
    }


def _seconds(record: Record) -> float:
    return sum(float(value) for value in record.cost.get("seconds", {}).values())


def _all(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value is not None})


def _one_or_all(values: Iterable[str]) -> str:
    return " and ".join(sorted(set(values)))
