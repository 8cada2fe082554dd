"""The state of every run, and the versions, machines and bases of a study's results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from xeric import __version__
from xeric.analysis.comparison import DRAWS
from xeric.analysis.outputs import Outputs
from xeric.analysis.results import RunResult
from xeric.metrics.stored import has_results
from xeric.records import PREDICTION_FILES, Record
from xeric.statistics.decisions import ASSUMED_SEED_SD
from xeric.statistics.resampling import DEFAULT_SEED, LEVEL
from xeric.studies.folder import PlannedRun, RunState

__all__ = ["provenance", "run_results"]


def run_results(outputs: Outputs) -> list[RunResult]:
    """Return every planned run with its status, and the reason where it has no scores."""
    return [_run(outputs, run, state) for run, state in outputs.runs]


def _run(outputs: Outputs, run: PlannedRun, state: RunState) -> RunResult:
    common: dict[str, Any] = {"id": run.id, "arm": run.arm.id, "seed": run.seed, "settings": run.settings}
    record = state.record
    if record is None:
        failed = state.failure is not None
        return RunResult(**common, status="failed" if failed else "missing", error=state.failure.error if state.failure else None)
    status, error = record.status, record.error
    if status == "ok" and not has_results(outputs.folder.run_folder(run.id) / PREDICTION_FILES["test"]):
        return RunResult(**common, status="missing", error="its predictions are gone")
    if status == "diverged" and error is None:
        error = f"the loss was no longer finite after {record.done_steps} of {record.planned_steps} steps"
    return RunResult(
        **common,
        status=status,
        error=error,
        scores={name: score.score for name, score in record.scores.items()},
        tasks={task: {name: score.score for name, score in result.scores.items()} for task, result in record.tasks.items()},
        cost=record.cost,
        parameters=record.parameters,
    )


def provenance(outputs: Outputs) -> dict[str, Any]:
    """Return versions, machines, bases, time spent, and how the statistics were made."""
    records = [state.record for _, state in outputs.runs if state.record is not None]
    bases: dict[str, Any] = {}
    for run, state in outputs.runs:
        if state.record is not None:
            bases.setdefault(run.arm.key.base, state.record.base)
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
        "runs": dict(Counter(state.status for _, state in outputs.runs)),
        "seconds": sum(_seconds(record) for record in records),
        "result_versions": _all(record.result_version for record in records),
        "repeats": _all(record.deterministic for record in records),
        "statistics": {
            "intervals": f"{LEVEL:.0%}, runs by t, instances by bootstrap; docs/concepts/statistics.md",
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
