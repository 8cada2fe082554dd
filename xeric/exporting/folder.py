"""The folder of an export: written under another name and renamed at the end, so that a partial export is never found in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from xeric.errors import UserError
from xeric.files import give_usual_modes, is_of_other_programs, part_of, remove_abandoned, writing

__all__ = ["DESCRIPTION_FILE", "check_free", "new_folder"]

DESCRIPTION_FILE = "export.json"
"""What an export says of itself; a folder that holds it may be replaced by another export."""


def check_free(folder: Path) -> None:
    """Check that an export may be put into a folder: it is missing, empty, or holds an earlier export.

    Raises:
        UserError: it may not.
    """
    with writing(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UserError("is a file", where=str(folder), hint="name a folder with -o")
        if (folder / DESCRIPTION_FILE).is_file() or all(is_of_other_programs(path.name) for path in folder.iterdir()):
            return
    raise UserError("holds files that are not those of an export", where=str(folder), hint="name another folder with -o")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write, and put it into its place at the end; where anything fails, nothing is left of it.

    Raises:
        UserError: the place is not free.
        StorageError: the file system refuses.
    """
    check_free(folder)
    work, old = part_of(folder), part_of(folder)
    try:
        with writing(folder):
            remove_abandoned(folder)
            work.mkdir(parents=True)
        yield work
        with writing(folder):
            give_usual_modes(work)
            check_free(folder)
            if folder.exists():
                folder.rename(old)
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
