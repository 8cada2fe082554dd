"""Other wordings of the tasks' definitions: which runs are decoded under them, and where the predictions lie. No torch.

The k-th wordings of all tasks make one more reading of the test set by each line's run of the first seed. A file of predictions
carries a hash of the wordings in its name: it is there or it is not, and a wording that changes asks for another file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xeric.config import digest
from xeric.data.cleaning import one_form
from xeric.studies.config import StudyConfig
from xeric.studies.folder import PlannedCell, StudyFolder

__all__ = ["FOLDER", "Wordings", "fit_paraphrases", "never_reworded", "not_decoded", "prediction_files", "wordings_of"]

FOLDER = "paraphrases"
"""In a run folder: where predictions under other wordings lie."""

Wordings = tuple[dict[str, str], ...]
"""Other wordings of definitions: one for each task, as often as there are wordings."""


def wordings_of(study: StudyConfig, cell: PlannedCell) -> Wordings:
    """Return the wordings that a cell's run is decoded under, its own apart; none for runs of other seeds than the first."""
    if cell.seed != study.seeds[0] or not study.paraphrases:
        return ()
    count = len(study.paraphrases[cell.tasks[0]])
    # As definitions are: brought into one form before they become a part of a prompt.
    form = functools.partial(one_form, keep_indentation=_keeps_indentation(study))
    return tuple({task: form(study.paraphrases[task][number]) for task in cell.tasks} for number in range(count))


def _keeps_indentation(study: StudyConfig) -> bool:
    found: Any = study.run
    for key in ("data", "cleaning", "keep_indentation"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return bool(found)


def prediction_files(place: Path, wordings: Wordings) -> list[Path]:
    """Return the files that a run's predictions under each of the wordings belong in.

    Args:
        place: the run's folder.
        wordings: as :func:`wordings_of` returns them.
    """
    return [place / FOLDER / f"{number}-{digest(one)[:12]}.jsonl" for number, one in enumerate(wordings, 1)]


def not_decoded(place: Path, wordings: Wordings) -> dict[Path, dict[str, str]]:
    """Return the wordings that a run has no predictions under yet, by the files that these belong in."""
    files = zip(prediction_files(place, wordings), wordings, strict=True)
    return {path: wording for path, wording in files if not path.is_file()}


def never_reworded(study: StudyConfig, folder: StudyFolder, cells: Sequence[PlannedCell]) -> str:
    """Return a remark on finished runs that can no longer be decoded under the other wordings; empty where there is none."""
    gone = []
    for cell in cells:
        place = folder.cell(cell.id)
        if (
            not_decoded(place, wordings_of(study, cell))
            and not (place / "adapter").is_dir()
            and folder.state(cell.id).status == "ok"
        ):
            gone.append(cell.id)
    if not gone:
        return ""
    runs, like = ("1 run is", "") if len(gone) == 1 else (f"{len(gone)} runs are", " and its like")
    return (
        f"{runs} not decoded under the other wordings of the definitions: what was trained was not kept (keep=none), and the "
        f"study had not these wordings yet; to have it made again, take away the folder cells/{gone[0]}{like}"
    )


def fit_paraphrases(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings without the wordings of tasks that overrides took out, and remarks.

    Where the study file has no wordings of a task that came in, all are left out: the study can still be run.

    Args:
        original: the study file as it was.
        data: the same with overrides applied.
    """
    named, tasks, before = data.get("paraphrases"), data.get("tasks"), original.get("tasks")
    overridden = named != original.get("paraphrases") or tasks == before
    if overridden or not (named and isinstance(named, Mapping) and isinstance(tasks, list) and isinstance(before, list)):
        return data, []
    # A name that was no task of the file's either stays, for the checks to complain about.
    kept = {task: wordings for task, wordings in named.items() if task in tasks or task not in before}
    strange = [task for task in tasks if task not in kept]
    if strange:
        remark = f"paraphrases are left out: the study file has no other wordings of the definition of {strange[0]!r}"
        return {**data, "paraphrases": {}}, [remark]
    return {**data, "paraphrases": kept}, []
