"""The folder of an export: written under another name and renamed at the end, so that a partial export is never found in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xeric.errors import DataError, UserError
from xeric.files import give_usual_modes, is_of_other_programs, part_of, remove_abandoned, writing
from xeric.json_io import read_json, write_json

__all__ = ["DESCRIPTION_FILE", "check_free", "describe", "new_folder"]

DESCRIPTION_FILE = "export.json"
"""What an export says of itself, its files included: a folder that holds nothing else may be replaced by another export."""


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
        foreign = sorted(_files(folder) - _described(folder))
    if foreign:
        raise UserError(
            f"holds files that are not those of an export, such as {foreign[0]!r}",
            where=str(folder),
            hint="name another folder with -o",
        )


def describe(work: Path, description: Mapping[str, Any]) -> None:
    """Write what an export says of itself, after all its other files."""
    write_json(work / DESCRIPTION_FILE, {**description, "files": sorted(_files(work))})


def _files(folder: Path) -> set[str]:
    """Return the paths in a folder of all files and empty folders but those of file managers and the like."""
    paths = [path for path in folder.rglob("*") if not is_of_other_programs(path.name)]
    return {str(path.relative_to(folder)) for path in paths if not path.is_dir() or path.is_symlink() or not any(path.iterdir())}


def _described(folder: Path) -> set[str]:
    """Return the files that an earlier export in a folder says are its own; none where it holds no export."""
    try:
        description = read_json(folder / DESCRIPTION_FILE)
    except DataError:
        return set()
    files = description.get("files") if isinstance(description, dict) and "to" in description else None
    return {DESCRIPTION_FILE, *(name for name in files if isinstance(name, str))} if isinstance(files, list) else set()


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
