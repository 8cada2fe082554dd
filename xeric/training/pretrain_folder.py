"""The folder of a pretraining: whether a training may use it."""

from __future__ import annotations

from pathlib import Path

from xeric.errors import UserError
from xeric.training.checkpoint import CheckpointFile

__all__ = ["check_folder", "state_files"]

_ELSEWHERE = "name another folder with -o"


def state_files(folder: Path, key: str) -> tuple[CheckpointFile, CheckpointFile]:
    """Return where a training keeps its state: now, and at the end of the level stretch of its learning rate.

    Args:
        folder: of the training.
        key: its identity.
    """
    now, stable = (CheckpointFile(folder / "state" / f"{name}.safetensors", key) for name in ("now", "stable"))
    return now, stable


def check_folder(folder: Path, key: str) -> None:
    """Do nothing if a training may begin or go on in a folder.

    A base's files have the names that a repository's have (``README.md``), and a state is hours of work: neither is overwritten
    because a folder was mistyped or a setting changed.

    Raises:
        UserError: the folder is a file, holds the state of a training with other settings, or files of something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file, not a folder", where=str(folder), hint=_ELSEWHERE)
    if any(file.is_of_another_run() for file in state_files(folder, key)):
        hint = f"{_ELSEWHERE}, or delete it; only how long and how fast to train may change on the way"
        raise UserError("holds a training with other settings", where=str(folder), hint=hint)
    begun = any((folder / name).is_dir() for name in ("state", "corpus"))
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() and not begun else []
    if found:
        raise UserError(f"holds files that are not a training's: {', '.join(found[:3])}", where=str(folder), hint=_ELSEWHERE)
