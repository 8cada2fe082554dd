"""A finished run asked again with other paraphrases of its tasks' definitions.

Inputs and references come from the run's own predictions, everything else from its saved adaptation: nothing but the words of the
definitions differs from what the run decoded.
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
        base: its base, open; it is left as it was found.
        missing: paraphrases by task, by the file that is to be written.
        shared: whether the run decoded with the shared prefix.
        metrics: that statistics are written for.
        progress: is told what happens.

    Raises:
        UserError: the run's files are not what they should be, or a paraphrase leaves no room in the base's context.
    """
    asked = read_predictions(folder / PREDICTION_FILES["test"])
    with adapted_on(folder, base) as adapted:
        for path, paraphrases in missing.items():
            progress.start(f"decode paraphrase {path.name.partition('-')[0]}", len(asked))
            write_jsonl(path, _answers(adapted.paraphrased(paraphrases), asked, shared, progress))
            renewed(path, metrics)


def _answers(adapted: Adapted, asked: Sequence[Prediction], shared: bool, progress: Progress) -> list[Prediction]:
    """Return what the model answers to the inputs of a run's predictions, task by task as the run decoded them."""
    found: list[Prediction] = []
    for task, group in groupby(asked, key=lambda row: row.task):
        rows = list(group)
        texts = adapted.answer([row.input for row in rows], task, shared=shared, progress=progress.advance, note=progress.note)
        found += [row.model_copy(update={"prediction": text}) for row, text in zip(rows, texts, strict=True)]
    return found
