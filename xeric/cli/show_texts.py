"""What a run changed, on the terminal: texts of the base before it was adapted beside those of the run, and its scores."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from xeric.record_io import read_predictions
from xeric.records import BEFORE_FILE, PREDICTION_FILES, Prediction, Record

__all__ = ["before_scores", "show_texts"]

_TEXTS = 3
_LONGEST = 300


def before_scores(folder: Path, record: Record) -> dict[str, float]:
    """Return the scores of the base before it was adapted, by metric; none where it did not answer the whole test set."""
    rows = _read(folder / BEFORE_FILE)
    if not rows or {(row.task, row.id) for row in rows} != {
        (row.task, row.id) for row in _read(folder / PREDICTION_FILES["test"])
    }:
        return {}
    from xeric.metrics import score_predictions

    metrics = dict.fromkeys(metric for baseline in record.baselines.values() for metric in baseline.scores)
    return {name: score.score for name, score in score_predictions(rows, list(metrics), resamples=0).scores.items()}


def show_texts(folder: Path) -> None:
    """Print the first three test inputs that the base answered before, with its texts, those of the run, and the references."""
    after = {(row.task, row.id): row for row in _read(folder / PREDICTION_FILES["test"])}
    before = [row for row in _read(folder / BEFORE_FILE) if (row.task, row.id) in after]
    out = Console(highlight=False, markup=False, emoji=False)
    for row in _spread(before):
        out.print(f"\n{row.task}, {row.id}", style="bold")
        texts = {"input": row.input, "before": row.prediction, "after": after[row.task, row.id].prediction}
        for label, text in (texts | {"reference": row.references[0]}).items():
            out.print(f"  {label:9}  {_short(text)}", soft_wrap=True)


def _read(file: Path) -> list[Prediction]:
    return read_predictions(file) if file.is_file() and file.stat().st_size else []


def _spread(rows: list[Prediction]) -> list[Prediction]:
    """Return the first rows of the tasks by turns, three in all."""
    by_task: dict[str, list[Prediction]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    turns = sorted((position, task) for task, members in by_task.items() for position in range(len(members)))
    return [by_task[task][position] for position, task in turns[:_TEXTS]]


def _short(text: str) -> str:
    """Return a text on one line, the end of a long one left out."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST].rstrip() + " ..."
