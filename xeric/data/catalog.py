"""Where tasks are: folders that the user names, those in ``XERIC_TASKS``, and the ones that come with the package.

A task's name is its file's name without ``.json``, in Unicode NFC, never a path. Where two folders hold the same name the earlier
folder wins, in this order: those given (``--tasks-dir``), those in ``XERIC_TASKS``, the bundled ones; so users can put their own
version of a bundled task in front of it. Original Natural Instructions v2 files can be downloaded into a folder.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from xeric.data.tasks import Task, check_task_name, load_task
from xeric.encodings import existing, nfc
from xeric.errors import DataError, RunError, UnknownNameError, UserError
from xeric.files import expanded, write_atomically

__all__ = ["MAX_BYTES", "NIV2_URL", "Catalog", "download"]

NIV2_URL = "https://raw.githubusercontent.com/allenai/natural-instructions/master/tasks/{name}.json"
"""Address of an original task file; Wang et al. 2022, definitions under Apache-2.0, instances under each file's own licence."""

MAX_BYTES = 128 * 1024 * 1024
"""Larger files are refused; GitHub holds none over 100 MiB."""

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


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
                reason = (error.strerror if isinstance(error, OSError) else None) or "no such folder"
                raise DataError(f"this folder of tasks cannot be read: {reason}", where=ascii(str(folder))[1:-1]) from None
            for path in task_files:
                files.setdefault(nfc(path.stem), path)
        return files


def download(
    names: Iterable[str],
    folder: Path | str,
    *,
    url: str = NIV2_URL,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    timeout: float = 30.0,
) -> list[Path]:
    """Fetch original Natural Instructions v2 task files; each is read as a task before it is put into its place.

    Args:
        names: task names, for example ``task1711_poki_text_generation``.
        folder: where to put them; made where missing. A file that is there already stays.
        url: address with ``{name}`` in it; https, or http on this machine.
        overwrite: fetch a file that is there already.
        max_bytes: refuse a larger file.
        timeout: seconds without an answer.

    Returns:
        The files, in the order of ``names``.

    Raises:
        UserError: a name is a path, the repository has no such task, or the address is not https.
        DataError: what came is no task.
        RunError: there is no connection, or it broke.
    """
    paths = [expanded(folder) / f"{check_task_name(name)}.json" for name in names]
    for path in paths:
        if path.exists() and not overwrite:
            continue
        address = url.replace("{name}", urllib.parse.quote(path.stem))
        content = _fetch(address, path.stem, max_bytes, timeout)
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / path.name
            trial.write_bytes(content)
            try:
                load_task(trial)
            except DataError as error:
                where = str(error.where).replace(str(trial), address)
                raise DataError(error.what, where=where, hint="what came is not a task file; try again later") from None
        write_atomically(path, content)
    return paths


def _fetch(address: str, name: str, max_bytes: int, timeout: float) -> bytes:
    _check_address(address)
    try:
        with urllib.request.build_opener(_CheckedRedirects).open(address, timeout=timeout) as response:
            content = bytes(response.read(max_bytes + 1))
            missing = response.length or 0
    except urllib.error.HTTPError as error:
        if error.code == 404:
            hint = "see the names at github.com/allenai/natural-instructions/tree/master/tasks"
            raise UserError(f"there is no task {name!r} at the source", where=address, hint=hint) from None
        raise RunError(f"the source answers {error.code} {error.reason}", where=address, hint="try again later") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        hint = "check the network, or put the file into a folder yourself and name the folder by --tasks-dir"
        raise RunError(f"cannot be fetched: {reason}", where=address, hint=hint) from None
    if len(content) > max_bytes:
        raise DataError(f"is larger than {max_bytes} bytes", where=address)
    if missing:
        raise RunError(f"the connection broke, {missing} bytes before the end", where=address, hint="try again")
    return content


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UserError("is not an https address", where=address, hint="tasks are fetched over https only")
