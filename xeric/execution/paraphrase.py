"""Decoding a finished run's test set again under paraphrases of its tasks' definitions.

Inputs and references come from the run's own predictions, everything else from its saved adaptation: only the definitions differ
from what the run decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from xeric.bases.base import Base
from xeric.json_io import write_jsonl
from xeric.metrics.stored import renewed
from xeric.progress import Progress
from xeric.record_io import read_predictions
from xeric.records import PREDICTION_FILES, Prediction
from xeric.run.adapted import Adapted, adapted_on

__all__ = ["decode_paraphrased"]


def decode_paraphrased(
    folder: Path,
    base: Base,
    missing: Mapping[Path, Mapping[str, str]],
    *,
    shared: bool,
    metrics: Sequence[str],
    progress: Progress,
) -> None:
    """Decode a run's test set under other paraphrases and write the predictions, each file as soon as it is done.

    Args:
        folder: the folder of a finished run whose adapter is there.
        base: its base, open; it is unchanged afterwards.
        missing: paraphrases by task, by the file that is to be written.
        shared: whether the run decoded with the shared prefix.
        metrics: that statistics are written for.
        progress: is told what happens.

    Raises:
        UserError: the run's files are damaged, or a paraphrase leaves no room in the base's context.
    """
    predictions = read_predictions(folder / PREDICTION_FILES["test"])
    with adapted_on(folder, base) as adapted:
        for path, paraphrases in missing.items():
            progress.start(f"decode paraphrase {path.name.partition('-')[0]}", len(predictions))
            write_jsonl(path, _answers(adapted.paraphrased(paraphrases), predictions, shared, progress))
            renewed(path, metrics)


def _answers(adapted: Adapted, predictions: Sequence[Prediction], shared: bool, progress: Progress) -> list[Prediction]:
    """Return a run's predictions with the model's new outputs, decoded task by task as in the run."""
    answers: list[Prediction] = []
    for task, group in groupby(predictions, key=lambda row: row.task):
        rows = list(group)
        texts = adapted.answer([row.input for row in rows], task, shared=shared, progress=progress.advance, note=progress.note)
        answers += [row.model_copy(update={"prediction": text}) for row, text in zip(rows, texts, strict=True)]
    return answers
