"""Where a trimmed base is written: into a folder that the user names, or into the cache folder, made once.

In the cache it lies under ``HOME/bases/trimmed-`` and the start of a hash of the base's files, the texts and the choice of
tokens: what it is, whatever files and folders are called.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from xeric.bases.finding import find_folder
from xeric.bases.home import home
from xeric.bases.loading import base_identity
from xeric.bases.store import alone, working_folder
from xeric.bases.trimmed_card import trimmed_card, trimmed_source
from xeric.bases.trimming import MORE, Trimmed, write_trimmed
from xeric.config import digest
from xeric.data.vocabulary import VocabularyTexts, read_vocabulary_texts
from xeric.errors import UserError
from xeric.files import expanded, give_usual_modes, part_of, remove_abandoned, write_atomically, writing
from xeric.progress import Progress, Silent

__all__ = ["trim_base", "trimmed_folder"]

# Part of the key: raised when trimming changes, so that folders in the cache are made again.
_FORMAT = 1


def trim_base(
    base: str,
    to: Sequence[str | Path],
    output: str | Path,
    *,
    more: int | None = None,
    split_seed: int = 0,
    tasks_dirs: Sequence[str | Path] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Trimmed:
    """Write a base without the tokens that a language and a task do not need, as a folder that is a base itself.

    Args:
        base: as ``--base`` takes it.
        to: task files, tables, text files, folders of text files, or names of tasks; see :mod:`xeric.data.vocabulary`.
        output: a new or empty folder.
        more: how many tokens are kept beside those of the texts; None for :data:`xeric.bases.trimming.MORE`.
        split_seed: of the runs that will use it (``data.split_seed``): outputs of tested instances are not read.
        tasks_dirs: folders to look for tasks in.
        device: that the base is asked on.
        progress: is told how it proceeds.

    Raises:
        UserError: the base is of a kind that cannot be trimmed, nothing would be dropped, or ``output`` is not empty.
        DataError: base or texts cannot be read, or the trimmed base would not be the same on the texts.
        StorageError: the folder cannot be written.
    """
    folder, progress, more = expanded(output), progress or Silent(), MORE if more is None else more
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError("is not empty", where=str(folder), hint="name a new folder")
    texts = read_vocabulary_texts(to, split_seed=split_seed, tasks_dirs=tasks_dirs)
    work = part_of(folder)
    with writing(folder):
        remove_abandoned(folder)
        work.mkdir(parents=True)
        try:
            result = _fill(work, base, texts, more, split_seed, device, progress)
            if folder.is_dir():
                folder.rmdir()
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return result


def trimmed_folder(
    base: str,
    to: Sequence[str | Path],
    *,
    more: int | None = None,
    split_seed: int = 0,
    tasks_dirs: Sequence[str | Path] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Return the folder of a trimmed base in the cache, made unless this was done before.

    Arguments and errors are those of :func:`trim_base`.
    """
    progress, more = progress or Silent(), MORE if more is None else more
    texts = read_vocabulary_texts(to, split_seed=split_seed, tasks_dirs=tasks_dirs)
    identity = {"format": _FORMAT, "base": base_identity(base, progress), "texts": texts.fingerprint, "more": more}
    folder = home() / "bases" / f"trimmed-{digest(identity)[:16]}"
    if folder.is_dir():
        return folder
    with alone(folder.name, progress):
        if not folder.is_dir():
            progress.note(f"the vocabulary of {base} is trimmed once, and the result kept in {folder}")
            with working_folder(folder.name) as work:
                _fill(work, base, texts, more, split_seed, device, progress)
                folder.parent.mkdir(parents=True, exist_ok=True)
                if not folder.is_dir():  # made by a process that took the lock over meanwhile
                    work.rename(folder)
    return folder


def _fill(work: Path, base: str, texts: VocabularyTexts, more: int, split_seed: int, device: str, progress: Progress) -> Trimmed:
    """Write a trimmed base with its card into an empty folder."""
    result = write_trimmed(base, texts, work, more=more, device=device, progress=progress)
    source = find_folder(base, progress)
    facts = trimmed_source(result, texts, source, more=more, split_seed=split_seed)
    write_atomically(work / "source.json", json.dumps(facts, ensure_ascii=False) + "\n")
    write_atomically(work / "README.md", trimmed_card(result, texts, source))
    give_usual_modes(work)
    return result
