"""The folder of an adaptation.

::

adapter/, config.yaml, predictions.jsonl, ...   the run that is handed over: what ``xeric generate`` and ``xeric export`` take
README.md, report.html, adapt.json              what was found, as a model card, as a page and as data
work/                                           task, search and final study: what the same command goes on from
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xeric.config import digest
from xeric.data.importing import task_to_json, write_task
from xeric.data.tasks import Task, check_task_name
from xeric.errors import DataError, UserError
from xeric.files import is_of_other_programs, writing
from xeric.json_io import read_json, write_json
from xeric.locks import held
from xeric.progress import Progress
from xeric.studies.folder import StudyFolder

__all__ = ["AdaptFolder"]

_WORK = "work"
_LOCKS = "locks"
_ELSEWHERE = "name another folder with -o"


class AdaptFolder:
    """The paths of an adaptation, and who may work there.

    Args:
        root: the folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / _WORK
        self.tasks_dir = self.work / "task"
        self.search_dir = self.work / "search"
        self.final_dir = self.work / "final"
        self.clock_file = self.work / "time.json"
        self.plan_file = self.work / "plan.json"
        self.search_file = self.work / "search.json"
        self.settings_file = self.work / "settings.json"
        self.card_file = root / "README.md"
        self.page_file = root / "report.html"
        self.result_file = root / "adapt.json"

    @contextlib.contextmanager
    def occupied(self, progress: Progress) -> Iterator[None]:
        """Keep other processes out; wait for one that works here.

        Raises:
            UserError: the folder holds something else.
        """
        self._check()
        with writing(self.root):
            new_folders = [path for path in (self.work, *self.work.parents) if not path.exists()]
            self.work.mkdir(parents=True, exist_ok=True)

        def waiting() -> None:
            progress.note(f"another process works in {self.root}; waiting until it is done")

        try:
            with held(self.work / _LOCKS, "adapt", waiting=waiting):
                yield
        except UserError:
            # What cannot be used leaves nothing behind, so that a corrected command can use the folder.
            if self.work in new_folders and not self.plan_file.is_file():
                shutil.rmtree(self.work, ignore_errors=True)
                for path in new_folders:
                    with contextlib.suppress(OSError):  # not empty
                        path.rmdir()
            raise

    def _check(self) -> None:
        with writing(self.root):
            if self.root.exists() and not self.root.is_dir():
                raise UserError("is a file, not a folder", where=str(self.root), hint=_ELSEWHERE)
            strange = sorted(self._strange())
        if strange:
            raise UserError(
                f"holds files that are not an adaptation's: {', '.join(strange[:3])}", where=str(self.root), hint=_ELSEWHERE
            )

    def _strange(self) -> list[str]:
        """Return the names of what no adaptation puts here; beside a finished one, which stays as it is, anything may lie."""
        begun = self._begun()
        if begun and self.result_file.is_file():
            return []
        ours = {_WORK}
        # What is handed over has the names that it has in the run's own folder; card and page follow it.
        if handed_over := {path.name for path in StudyFolder(self.final_dir).runs_dir.glob("*/*")}:
            ours |= {*handed_over, self.card_file.name, self.page_file.name}
        inside = [] if begun else [f"{_WORK}/{name}" for name in _unknown(self.work, {_LOCKS})]
        return [*_unknown(self.root, ours), *inside]

    def _begun(self) -> bool:
        """Return whether :meth:`begin` wrote the settings here."""
        if not self.settings_file.is_file():
            return False
        try:
            identity = read_json(self.settings_file)
        except DataError:
            return False
        return isinstance(identity, dict) and set(identity) == {"settings", "task"} and isinstance(identity["settings"], dict)

    def begin(self, task: Task, settings: dict[str, Any]) -> None:
        """Write the task and the settings, or check that the folder was begun with the same ones.

        Args:
            task: that is adapted to.
            settings: all that decides what is done.

        Raises:
            UserError: the folder holds another adaptation, or the task's name is none.
        """
        task_file = self.tasks_dir / f"{check_task_name(task.name)}.json"
        identity = {"settings": settings, "task": digest(task_to_json(task))}
        if self.settings_file.is_file():
            if read_json(self.settings_file) != identity:
                raise UserError(
                    "holds an adaptation of another file, or with other settings",
                    where=str(self.root),
                    hint=f"{_ELSEWHERE}, or delete it; the same command goes on where it was",
                )
        else:
            write_json(self.settings_file, identity)  # first: from now on the folder is known as an adaptation's
        if not task_file.is_file():
            write_task(task, task_file)


def _unknown(folder: Path, known: set[str]) -> list[str]:
    """Return the names in a folder that are neither known nor of other programs, nor parts of files that were being written."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [name for name in names - known if not name.endswith(".part") and not is_of_other_programs(name)]
