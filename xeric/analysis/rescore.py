"""Scores of a study made again from its predictions: no model, no torch.

The texts of the trivial baselines in a run's record are not kept, so their scores stay, but for those by a metric that now counts
otherwise: these are taken out. Useful after a metric was added or mended, and on a machine that could never run the study.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from xeric.errors import DataError, UserError
from xeric.json_io import write_json
from xeric.metrics import METRICS, Measured, score_measured
from xeric.metrics.stored import has_results, renewed, stored_metrics
from xeric.records import PREDICTION_FILES, RECORD_FILE, Record, Score, TrivialScores
from xeric.studies.folder import StudyFolder
from xeric.studies.paraphrases import FOLDER

__all__ = ["rescore"]


def rescore(folder: StudyFolder, metrics: Sequence[str] = (), *, progress: Callable[[], None] | None = None) -> dict[str, bool]:
    """Add metrics to the records of a study, or renew them; scores by other metrics stay as they are.

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
    for run in folder.read_runs():
        place = folder.run_folder(run.id)
        record = folder.state(run.id).record
        if record is not None and record.status == "ok":
            counted = _counted_anew(place / PREDICTION_FILES["test"], names)
            if set(counted.by_task()) != set(record.tasks):
                raise DataError("the predictions are of other tasks than the record", where=str(place))
            report = score_measured(counted.only(names), seed=record.seeds.get("bootstrap", 0))
            tasks = {
                name: task.model_copy(update={"scores": {**_others(task.scores, names), **report.tasks[name]}})
                for name, task in record.tasks.items()
            }
            scores = {**_others(record.scores, names), **report.scores}
            notes = {**_others(record.score_notes, names), **report.notes}
            baselines = {name: _comparable(known, scores) for name, known in record.baselines.items()}
            renewed = record.model_copy(update={"scores": scores, "score_notes": notes, "tasks": tasks, "baselines": baselines})
            changed[run.id] = _dump(renewed) != _dump(record)
            if changed[run.id]:
                write_json(place / RECORD_FILE, renewed)
        if progress:
            progress()
    others = [folder.baselines_dir.glob("*/*/predictions.jsonl"), folder.root.glob(f"runs/*/{FOLDER}/*.jsonl")]
    for path in (path for paths in others for path in paths):
        if has_results(path):
            _counted_anew(path, names)
    if not changed:
        raise UserError("holds no finished run", where=str(folder.root), hint="see `xeric study status`")
    return changed


def _counted_anew(predictions: Path, names: Sequence[str]) -> Measured:
    """Count predictions by some metrics and by those that their statistics had before."""
    before = stored_metrics(predictions)
    return renewed(predictions, [*names, *(name for name in before if name not in names)])


_Value = TypeVar("_Value")


def _others(known: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    """Return what is known of metrics that are not scored again."""
    return {name: value for name, value in known.items() if name not in names}


def _comparable(known: TrivialScores, scores: Mapping[str, Score]) -> TrivialScores:
    """Return a trivial baseline without the scores that were made in another way than the run's now are."""
    kept = {name for name, score in known.scores.items() if name in scores and score.signature == scores[name].signature}

    def only(found: Mapping[str, Score]) -> dict[str, Score]:
        return {name: score for name, score in found.items() if name in kept}

    return TrivialScores(scores=only(known.scores), tasks={task: only(found) for task, found in known.tasks.items()})


def _dump(record: Record) -> str:
    return record.model_dump_json()
