"""Other paraphrases of the tasks' definitions: which runs are decoded under them, and where the predictions lie. No torch.

Under the k-th paraphrases of all tasks, each arm's run of the first seed decodes its test set once more. A file of predictions
carries a hash of the paraphrases in its name: it is there or it is not, and a paraphrase that changes asks for another file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xeric.config import digest
from xeric.data.text_form import one_form
from xeric.studies.config import StudyConfig
from xeric.studies.folder import PlannedRun, StudyFolder

__all__ = [
    "FOLDER",
    "Paraphrases",
    "fit_paraphrases",
    "no_longer_paraphrased",
    "not_decoded",
    "paraphrases_of",
    "prediction_files",
]

FOLDER = "paraphrases"
"""In a run folder: where predictions under other paraphrases lie."""

Paraphrases = tuple[dict[str, str], ...]
"""Other paraphrases of definitions: one for each task, as often as there are paraphrases."""


def paraphrases_of(study: StudyConfig, run: PlannedRun) -> Paraphrases:
    """Return the paraphrases that a run's run is decoded under, its own apart; none for runs of other seeds than the first."""
    if run.seed != study.seeds[0] or not study.paraphrases or _is_control(study, run):
        return ()
    count = len(study.paraphrases[run.tasks[0]])
    # As definitions are: brought into one form before they become a part of a prompt.
    form = functools.partial(one_form, keep_indentation=_keeps_indentation(study))
    return tuple({task: form(study.paraphrases[task][number]) for task in run.tasks} for number in range(count))


def _is_control(study: StudyConfig, run: PlannedRun) -> bool:
    """Say whether an arm does not show the tasks' own definitions, so that other words for them mean nothing."""
    key = run.arm.key
    return key.method in study.methods and study.entry(key.method).prompt.get("definition", True) is not True


def _keeps_indentation(study: StudyConfig) -> bool:
    found: Any = study.run
    for key in ("data", "cleaning", "keep_indentation"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return bool(found)


def prediction_files(place: Path, paraphrases: Paraphrases) -> list[Path]:
    """Return the files that a run's predictions under each of the paraphrases belong in.

    Args:
        place: the run's folder.
        paraphrases: as :func:`paraphrases_of` returns them.
    """
    return [place / FOLDER / f"{number}-{digest(one)[:12]}.jsonl" for number, one in enumerate(paraphrases, 1)]


def not_decoded(place: Path, paraphrases: Paraphrases) -> dict[Path, dict[str, str]]:
    """Return the paraphrases that a run has no predictions under yet, by the files that these belong in."""
    files = zip(prediction_files(place, paraphrases), paraphrases, strict=True)
    return {path: paraphrase for path, paraphrase in files if not path.is_file()}


def no_longer_paraphrased(study: StudyConfig, folder: StudyFolder, runs: Sequence[PlannedRun]) -> str:
    """Return a remark on finished runs that can no longer be decoded under the other paraphrases; empty where there is none."""
    gone = []
    for run in runs:
        place = folder.run_folder(run.id)
        if (
            not_decoded(place, paraphrases_of(study, run))
            and not (place / "adapter").is_dir()
            and folder.state(run.id).status == "ok"
        ):
            gone.append(run.id)
    if not gone:
        return ""
    count, like = ("1 run is", "") if len(gone) == 1 else (f"{len(gone)} runs are", " and its like")
    return (
        f"{count} not decoded under the other paraphrases of the definitions: what was trained was not kept (keep=none), and the "
        f"study had not these paraphrases yet; to have it made again, take away the folder runs/{gone[0]}{like}"
    )


def fit_paraphrases(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings without the paraphrases of tasks that overrides took out, and remarks.

    Where the study file has no paraphrases of a task that came in, all are left out: the study can still be run.

    Args:
        original: the study file as it was.
        data: the same with overrides applied.
    """
    named, tasks, before = data.get("paraphrases"), data.get("tasks"), original.get("tasks")
    overridden = named != original.get("paraphrases") or tasks == before
    if overridden or not (named and isinstance(named, Mapping) and isinstance(tasks, list) and isinstance(before, list)):
        return data, []
    # A name that was no task of the file's either stays, for the checks to complain about.
    kept = {task: paraphrases for task, paraphrases in named.items() if task in tasks or task not in before}
    strange = [task for task in tasks if task not in kept]
    if strange:
        remark = f"paraphrases are left out: the study file has no other paraphrases of the definition of {strange[0]!r}"
        return {**data, "paraphrases": {}}, [remark]
    return {**data, "paraphrases": kept}, []
