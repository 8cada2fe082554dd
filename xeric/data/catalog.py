"""Where tasks are: folders that the user names, those in ``XERIC_TASKS``, and the ones that come with the package.

A task's name is its file's name without ``.json``, in Unicode NFC, never a path. Where two folders hold the same name the earlier
folder wins, in this order: those given (``--tasks-dir``), those in ``XERIC_TASKS``, the bundled ones; so users can put their own
version of a bundled task in front of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from xeric.data.tasks import Task, check_task_name, load_task
from xeric.encodings import existing, nfc
from xeric.errors import DataError, UnknownNameError, UnreachableError
from xeric.files import expanded, read_error

__all__ = ["Catalog"]


class Catalog:
    """Tasks by name.

    Args:
        folders: where task files are; of two with the same name, the one in the earlier folder is found.

    Raises:
        DataError: a folder is missing or cannot be read.
    """

    def __init__(self, folders: Sequence[Path | str]) -> None:
        self.folders = tuple(expanded(folder) for folder in folders)
        self._files()

    @classmethod
    def of(cls, folders: Iterable[Path | str] = (), *, environment: Mapping[str, str] | None = None) -> Catalog:
        """Return the catalog of the folders given, those in ``XERIC_TASKS`` (parted by ``os.pathsep``) and the bundled tasks.

        Raises:
            DataError: a folder is missing or cannot be read.
        """
        named = (os.environ if environment is None else environment).get("XERIC_TASKS", "")
        bundled = Path(str(resources.files("xeric"))) / "bundled" / "tasks"
        return cls([*folders, *filter(None, named.split(os.pathsep)), *([bundled] if bundled.is_dir() else [])])

    def names(self) -> list[str]:
        """Return the names of all tasks, sorted."""
        return sorted(self._files())

    def find(self, name: str) -> Path:
        """Return the file of a task.

        Raises:
            UserError: ``name`` is a path or a file name, not a task name.
            UnknownNameError: no folder has such a task; the hint names the nearest.
        """
        files = self._files()
        path = files.get(check_task_name(name))
        if path is None:
            raise UnknownNameError("task", name, files)
        return path

    def load(self, name: str, *, group_key: str = "group") -> Task:
        """Return a task.

        Raises:
            UserError: see :meth:`find`.
            DataError: the file is no task; see :func:`xeric.data.tasks.load_task`.
        """
        return load_task(self.find(name), group_key=group_key)

    def _files(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for folder in self.folders:
            try:
                files_here = existing(folder).iterdir()
                task_files = sorted(p for p in files_here if p.suffix.lower() == ".json" and not p.name.startswith("."))
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and isinstance(unreachable := read_error(error, folder), UnreachableError):
                    raise unreachable from None
                reason = (error.strerror if isinstance(error, OSError) else None) or "no such folder"
                raise DataError(f"this folder of tasks cannot be read: {reason}", where=ascii(str(folder))[1:-1]) from None
            for path in task_files:
                files.setdefault(nfc(path.stem), path)
        return files
