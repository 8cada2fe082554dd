"""A quick look at a task: can it be read, what is noise in it, how would it be split."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from xeric.data.cleaning import CleaningOptions, clean
from xeric.data.splits import SplitOptions, split
from xeric.data.tasks import load_task
from xeric.encodings import nfc
from xeric.errors import UserError
from xeric.text import words

__all__ = ["TaskCheck", "check_task"]


@dataclass(frozen=True)
class TaskCheck:
    """What was found in one task file.

    Attributes:
        name: of the task.
        ok: whether it can be used.
        error: why not, in one sentence.
        instances: how many the file holds.
        kept: how many are left after cleaning.
        drops: how many were dropped, by reason.
        merged: how many live on as further references of another instance with the same input.
        clusters: groups of instances that stay on one side of a split.
        languages: output languages.
        mean_words: of inputs and of outputs.
        test: instances that a split holds out.
        max_train: the largest ``n_train`` it leaves.
        notes: sentences for the user.
    """

    name: str
    ok: bool
    error: str | None = None
    instances: int = 0
    kept: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    merged: int = 0
    clusters: int = 0
    languages: tuple[str, ...] = ()
    mean_words: dict[str, float] = field(default_factory=dict)
    test: int = 0
    max_train: int = 0
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def check_task(path: Path, cleaning: CleaningOptions | None = None) -> TaskCheck:
    """Read, clean and split a task with the default settings and return what was found; nothing is raised for a bad file."""
    name = nfc(path.stem)
    try:
        task = load_task(path)
    except UserError as error:
        return TaskCheck(name, ok=False, error=str(error))
    cleaned = clean(task, cleaning)
    fields: dict[str, Any] = {
        "instances": len(task.instances),
        "kept": len(cleaned.instances),
        "drops": cleaned.drops,
        "merged": cleaned.merged,
        "clusters": len(set(cleaned.clusters)),
        "languages": task.output_languages,
        "notes": cleaned.notes,
    }
    if cleaned.instances:
        fields["mean_words"] = {
            "input": round(fmean(len(words(i.input)) for i in cleaned.instances), 1),
            "output": round(fmean(len(words(i.outputs[0])) for i in cleaned.instances), 1),
        }
    try:
        parts = split(cleaned, SplitOptions())
        _ = task.language
    except UserError as error:
        return TaskCheck(name, ok=False, error=str(error), **fields)
    return TaskCheck(name, ok=True, test=len(parts.test), max_train=parts.n_train, **fields)
