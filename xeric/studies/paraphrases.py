"""Paraphrases of the tasks' definitions: which runs are decoded under them, and the files of the predictions. No torch.

Under the k-th paraphrases of all tasks, each arm's run of the first seed decodes its test set once more. The name of a file of
predictions contains a hash of the paraphrases: a paraphrase that changes means another file.
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
"""The folder, inside a run's, of predictions under paraphrases."""

Paraphrases = tuple[dict[str, str], ...]
"""For each number of a paraphrase, the paraphrases of the tasks' definitions, by task."""


def paraphrases_of(study: StudyConfig, run: PlannedRun) -> Paraphrases:
    """Return the paraphrases that a run is decoded under beside the definitions themselves; none unless its seed is the first."""
    if run.seed != study.seeds[0] or not study.paraphrases or _shows_other_definitions(study, run) or _shows_pictures(study, run):
        return ()
    count = len(study.paraphrases[run.tasks[0]])
    # Like definitions, they are brought into one form before they become part of a prompt.
    form = functools.partial(one_form, keep_indentation=_keeps_indentation(study))
    return tuple({task: form(study.paraphrases[task][number]) for task in run.tasks} for number in range(count))


def _shows_other_definitions(study: StudyConfig, run: PlannedRun) -> bool:
    """Return whether an arm does not show the tasks' own definitions, so that paraphrases of them do not apply."""
    if study.prompt_entry(run.arm.key.prompt).search is not None:
        return True
    prompt = study.prompt_settings(run.arm.key)
    return prompt.get("definition", True) is not True or bool(prompt.get("definitions"))


def _shows_pictures(study: StudyConfig, run: PlannedRun) -> bool:
    """Return whether an arm sees pictures: predictions do not hold them, so its texts under paraphrases would be without."""
    method = study.entry(run.arm.key.method).method if run.arm.key.method in study.methods else {}
    return method.get("name") == "picture" or bool(method.get("picture"))


def _keeps_indentation(study: StudyConfig) -> bool:
    value: Any = study.run
    for key in ("data", "cleaning", "keep_indentation"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return bool(value)


def prediction_files(folder: Path, paraphrases: Paraphrases) -> list[Path]:
    """Return the files of a run's predictions under each of the paraphrases.

    Args:
        folder: the run's folder.
        paraphrases: as :func:`paraphrases_of` returns them.
    """
    return [folder / FOLDER / f"{number}-{digest(by_task)[:12]}.jsonl" for number, by_task in enumerate(paraphrases, 1)]


def not_decoded(folder: Path, paraphrases: Paraphrases) -> dict[Path, dict[str, str]]:
    """Return the paraphrases that a run has no predictions under yet, by the file of each."""
    files = zip(prediction_files(folder, paraphrases), paraphrases, strict=True)
    return {path: paraphrase for path, paraphrase in files if not path.is_file()}


def no_longer_paraphrased(study: StudyConfig, folder: StudyFolder, runs: Sequence[PlannedRun]) -> str:
    """Return a remark on finished runs that can no longer be decoded under the paraphrases; empty where there are none."""
    undecodable = []
    for run in runs:
        run_folder = folder.run_folder(run.id)
        if (
            not_decoded(run_folder, paraphrases_of(study, run))
            and not (run_folder / "adapter").is_dir()
            and folder.state(run.id).status == "ok"
        ):
            undecodable.append(run.id)
    if not undecodable:
        return ""
    count, like = ("1 run is", "") if len(undecodable) == 1 else (f"{len(undecodable)} runs are", " and its like")
    return (
        f"{count} not decoded under the paraphrases of the definitions: the study file had others or none at the time, and no "
        f"adapter was kept (keep=none); to compute again, delete the folder runs/{undecodable[0]}{like}"
    )


def fit_paraphrases(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings without the paraphrases of tasks that overrides removed, and remarks.

    Where the study file has no paraphrases of a task that overrides added, all are left out, so that the study can be run.

    Args:
        original: the study file without overrides.
        data: the same with overrides applied.
    """
    paraphrases, tasks, original_tasks = data.get("paraphrases"), data.get("tasks"), original.get("tasks")
    if paraphrases != original.get("paraphrases") or tasks == original_tasks:
        return data, []
    if not (paraphrases and isinstance(paraphrases, Mapping) and isinstance(tasks, list) and isinstance(original_tasks, list)):
        return data, []
    # A name that is no task of the file either is kept: the checks refuse it.
    kept = {task: texts for task, texts in paraphrases.items() if task in tasks or task not in original_tasks}
    added = [task for task in tasks if task not in kept]
    if added:
        remark = f"paraphrases are left out: the study file has no other paraphrases of the definition of {added[0]!r}"
        return {**data, "paraphrases": {}}, [remark]
    return {**data, "paraphrases": kept}, []
