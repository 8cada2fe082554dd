"""Scoring a study again from its predictions: no model, no torch.

The texts of the trivial baselines in a run's record are not kept, so their scores are kept, except those by a metric whose
signature has changed: these are removed. Useful after a metric was added or fixed, and on a machine that cannot run the study.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from xeric.errors import DataError, UserError
from xeric.json_io import write_json
from xeric.metrics import METRICS, PRIMARY, Measured, score_measured
from xeric.metrics.stored import has_results, renewed, stored_metrics
from xeric.records import PREDICTION_FILES, RECORD_FILE, Record, Score, TrivialScores
from xeric.studies.folder import StudyFolder
from xeric.studies.paraphrases import FOLDER

__all__ = ["rescore"]


def rescore(folder: StudyFolder, metrics: Sequence[str] = (), *, progress: Callable[[], None] | None = None) -> dict[str, bool]:
    """Add metrics to the records of a study, or compute them again; scores by other metrics are kept.

    Args:
        folder: of the study.
        metrics: names; none is those of the study, or all where it names none.
        progress: is called after each run.

    Returns:
        Whether each record changed, by run.

    Raises:
        UserError: the folder holds no study, a metric is unknown, or the predictions do not fit their record.
    """
    names = list(metrics) or list(folder.read_study().run.get("metrics", ())) or METRICS.names()
    for name in names:
        METRICS.check(name)
    changed: dict[str, bool] = {}
    records: dict[Path, Record] = {}
    for run in folder.read_runs():
        run_folder = folder.run_folder(run.id)
        record = folder.state(run.id).record
        if record is not None and record.status == "ok":
            if not (run_folder / PREDICTION_FILES["test"]).is_file():
                raise UserError(
                    "keeps no predictions to score", where=str(run_folder), hint="rescore the folder it was published from"
                )
            counted = _recounted(run_folder / PREDICTION_FILES["test"], names)
            if set(counted.by_task()) != set(record.tasks):
                raise DataError("the predictions are of other tasks than the record", where=str(run_folder))
            report = score_measured(counted.only(names), seed=record.seeds.get("bootstrap", 0))
            tasks = {
                name: task.model_copy(update={"scores": {**_others(task.scores, names), **report.tasks[name]}})
                for name, task in record.tasks.items()
            }
            scores = {**_others(record.scores, names), **report.scores}
            notes = {**_others(record.score_notes, names), **report.notes}
            baselines = {name: _comparable(baseline, scores) for name, baseline in record.baselines.items()}
            updated = record.model_copy(update={"scores": scores, "score_notes": notes, "tasks": tasks, "baselines": baselines})
            changed[run.id] = _dump(updated) != _dump(record)
            if changed[run.id]:
                records[run_folder / RECORD_FILE] = updated
        if progress:
            progress()
    # Only now, when all could be counted: scores of two countings must not stand side by side.
    for path, record in records.items():
        write_json(path, record)
    _recount_others(folder, names)
    if not changed:
        raise UserError("holds no finished run", where=str(folder.root), hint="see `xeric study status`")
    return changed


def _recount_others(folder: StudyFolder, names: Sequence[str]) -> None:
    """Count again what has no record of its own scores: trivial baselines, paraphrases, and dev (by the primary metric)."""
    counted_by = {
        f"baselines/*/*/{PREDICTION_FILES['test']}": names,
        f"runs/*/{FOLDER}/*.jsonl": names,
        f"runs/*/{PREDICTION_FILES['dev']}": [PRIMARY],
        f"tuning/*/*/{PREDICTION_FILES['dev']}": [PRIMARY],
    }
    for pattern, metrics in counted_by.items():
        for path in folder.root.glob(pattern):
            if has_results(path):
                _recounted(path, metrics)


def _recounted(predictions: Path, names: Sequence[str]) -> Measured:
    """Count predictions again, by some metrics and by those that their statistics have already."""
    before = stored_metrics(predictions)
    return renewed(predictions, [*names, *(name for name in before if name not in names)])


_Value = TypeVar("_Value")


def _others(by_metric: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    """Return the values of metrics that are not scored again."""
    return {name: value for name, value in by_metric.items() if name not in names}


def _comparable(baseline: TrivialScores, scores: Mapping[str, Score]) -> TrivialScores:
    """Return a trivial baseline without the scores whose signature differs from the run's."""
    names = {name for name, score in baseline.scores.items() if name in scores and score.signature == scores[name].signature}

    def only(scores: Mapping[str, Score]) -> dict[str, Score]:
        return {name: score for name, score in scores.items() if name in names}

    tasks = {task: only(task_scores) for task, task_scores in baseline.tasks.items()}
    return TrivialScores(scores=only(baseline.scores), tasks=tasks)


def _dump(record: Record) -> str:
    return record.model_dump_json()
