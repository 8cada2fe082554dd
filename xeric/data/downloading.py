"""Original Natural Instructions v2 tasks from their repository: single files, or all of them in one archive.

What comes is not trusted. Addresses are https (or of this machine), also after a redirect; sizes are limited; a transfer that
breaks off goes on where it was, if the server says that it still has the same content, else from the beginning. Nothing of an
archive is written under a name of its own: a member ``.../tasks/NAME.json`` becomes ``NAME.json`` in the folder, once it reads as
a task, and an archive that holds anything else to be wary of (a path that leads out, a link among the tasks, a bomb) is refused
whole.
"""

from __future__ import annotations

import gzip
import http.client
import io
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from xeric.data.tasks import check_task_name, load_task
from xeric.encodings import nfc
from xeric.errors import DataError, RunError, UserError
from xeric.files import expanded, write_atomically, writing

__all__ = ["ARCHIVE_URL", "MAX_BYTES", "NIV2_URL", "download", "download_all"]

NIV2_URL = "https://raw.githubusercontent.com/allenai/natural-instructions/master/tasks/{name}.json"
"""Address of an original task file; Wang et al. 2022, definitions under Apache-2.0, instances under each file's own licence."""

ARCHIVE_URL = "https://codeload.github.com/allenai/natural-instructions/tar.gz/refs/heads/master"
"""Address of the repository as one archive."""

MAX_BYTES = 128 * 1024 * 1024
"""Larger task files are refused; GitHub holds none over 100 MiB."""

MAX_UNPACKED = 16 * 1024**3
MAX_MEMBERS = 100_000
"""Archives that unpack to more, or hold more files, are refused; the repository of 2022 has 1,613 tasks in some 3 GiB."""

_MAX_ARCHIVE = 4 * 1024**3
_ATTEMPTS = 4
_CHUNK = 1 << 20
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_BREAKS = (http.client.HTTPException, ConnectionError, TimeoutError)
_NETWORK_HINT = "check the network, or put the file into a folder yourself and name the folder by --tasks-dir"

Note = Callable[[str], None]


def download(
    names: Iterable[str],
    folder: Path | str,
    *,
    url: str = NIV2_URL,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    timeout: float = 30.0,
) -> list[Path]:
    """Fetch original task files; each is read as a task before it is put into its place.

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
        UserError: a name is a path, the repository has no such task, or the address is not https or has no ``{name}``.
        DataError: what came is no task.
        RunError: there is no connection, or it broke again and again.
    """
    if "{name}" not in url:
        raise UserError("the address has no {name}", where=url, hint="write {name} where the task's name belongs")
    paths = [expanded(folder) / f"{check_task_name(name)}.json" for name in names]
    for path in paths:
        if path.exists() and not overwrite:
            continue
        address = url.replace("{name}", urllib.parse.quote(path.stem))
        content = io.BytesIO()
        _transfer(address, content, path.stem, max_bytes=max_bytes, timeout=timeout)
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / path.name
            trial.write_bytes(content.getvalue())
            try:
                load_task(trial)
            except DataError as error:
                where = str(error.where).replace(str(trial), address)
                raise DataError(error.what, where=where, hint="what came is not a task file; try again later") from None
        write_atomically(path, content.getvalue())
    return paths


def download_all(
    folder: Path | str, *, url: str = ARCHIVE_URL, overwrite: bool = False, timeout: float = 30.0, note: Note | None = None
) -> list[Path]:
    """Fetch the archive of the repository and take every task file out of it that can be used.

    Args:
        folder: where to put them; made where missing. A file that is there already stays. The part of the archive that has come
            is kept there until all has, so that the same call goes on after an interruption.
        url: address of a ``.tar.gz`` in the repository's layout, ``ANY/tasks/NAME.json``.
        overwrite: replace files that are there already.
        timeout: seconds without an answer.
        note: is told of tasks that cannot be used.

    Returns:
        The files of all usable tasks, sorted.

    Raises:
        UserError: there is no such address, or it is not https.
        DataError: what came is no such archive, or one to be wary of; no task of it was written.
        RunError: there is no connection, or it broke again and again.
    """
    folder, say = expanded(folder), note or (lambda _: None)
    part = folder / ".natural-instructions.tar.gz.part"
    with writing(part, sockets=True):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("a+b") as target:
                _transfer(url, target, None, max_bytes=_MAX_ARCHIVE, timeout=timeout, tag=part.with_suffix(".tag"))
        finally:
            if not part.stat().st_size:
                _remove(part)
    if not part.exists():
        raise DataError("is no archive that can be read: it is empty", where=url, hint="try again later")
    with tempfile.TemporaryDirectory(prefix=".download-", suffix=".part", dir=folder) as scratch:
        try:
            unpacked = [_unpack(member, content, Path(scratch)) for member, content in _tasks(part, url)]
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"is no archive that can be read: {error}", where=url, hint="try again later") from None
        finally:
            _remove(part)
        if not unpacked:
            raise DataError("holds no tasks/NAME.json", where=url, hint="give the address of the repository's archive")
        return [path for trial in sorted(unpacked) if (path := _put(trial, folder, overwrite, say)) is not None]


def _remove(part: Path) -> None:
    part.unlink()
    part.with_suffix(".tag").unlink(missing_ok=True)


def _put(trial: Path, folder: Path, overwrite: bool, say: Note) -> Path | None:
    """Put an unpacked task into its place if it can be used."""
    path = folder / trial.name
    if path.exists() and not overwrite:
        return path
    try:
        load_task(trial)
    except DataError as error:
        say(f"{trial.stem} is left out: {error.what}")
        return None
    with writing(path):
        return trial.replace(path)


def _tasks(archive: Path, url: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the task files of an archive.

    Raises:
        DataError: a member is to be wary of.
    """
    unpacked, seen = 0, set[str]()
    with tarfile.open(archive, "r:gz") as members:
        for number, member in enumerate(members):
            path = PurePosixPath(member.name)
            unpacked += member.size
            if number >= MAX_MEMBERS or unpacked > MAX_UNPACKED:
                raise _wary("unpacks to too much", member, url)
            if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise _wary("holds a path that leads out of it", member, url)
            if path.parts[1:2] != ("tasks",) or len(path.parts) != 3 or path.suffix != ".json":
                continue
            if not member.isreg():
                raise _wary("holds a link or device among the tasks", member, url)
            if member.size > MAX_BYTES:
                raise _wary(f"holds a task of more than {MAX_BYTES} bytes", member, url)
            name = nfc(check_task_name(path.stem))
            if name in seen:
                raise _wary("holds a task twice", member, url)
            seen.add(name)
            content = members.extractfile(member)
            assert content is not None, "a regular file"
            yield member, content


def _wary(what: str, member: tarfile.TarInfo, url: str) -> DataError:
    return DataError(
        f"the archive {what}: {member.name[:200]!a}", where=url, hint="nothing of it was written; take another source"
    )


def _unpack(member: tarfile.TarInfo, content: IO[bytes], scratch: Path) -> Path:
    path = scratch / f"{nfc(PurePosixPath(member.name).stem)}.json"
    path.write_bytes(content.read())
    return path


def _transfer(
    address: str, target: IO[bytes], name: str | None, *, max_bytes: int, timeout: float, tag: Path | None = None
) -> None:
    """Write what is at an address into a file, from where the file ends; after a break, go on.

    Args:
        address: https, or http on this machine.
        target: positioned at its end; emptied where the server has other content by now.
        name: of the task, for messages; None for the archive.
        max_bytes: refuse more.
        timeout: seconds without an answer.
        tag: file that keeps which content the target holds a part of, for a later call.
    """
    _check_address(address)
    validator = tag.read_text(encoding="utf-8") if tag is not None and tag.is_file() else ""
    missing: str = ""
    for _ in range(_ATTEMPTS):
        start = target.seek(0, io.SEEK_END)
        if start and not validator:
            start = _emptied(target)
        with _answer(address, start, validator, name, timeout) as response:
            if start and not _goes_on(response, start):
                start = _emptied(target)
            validator = _validator(response)
            if tag is not None:
                write_atomically(tag, validator)
            missing = _copied(response, target, start, max_bytes, address)
        if not missing:
            return
    raise RunError(f"the connection broke, {missing}", where=address, hint="try again")


def _emptied(target: IO[bytes]) -> int:
    target.seek(0)
    target.truncate()
    return 0


def _answer(address: str, start: int, validator: str, name: str | None, timeout: float) -> Any:
    headers = {"Range": f"bytes={start}-", "If-Range": validator} if start else {}
    try:
        request = urllib.request.Request(address, headers=headers)
        return urllib.request.build_opener(_CheckedRedirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # there is less by now, or nothing more
            return _answer(address, 0, "", name, timeout)
        if error.code == 404 and name is not None:
            hint = "see the names at github.com/allenai/natural-instructions/tree/master/tasks"
            raise UserError(f"there is no task {name!r} at the source", where=address, hint=hint) from None
        raise RunError(f"the source answers {error.code} {error.reason}", where=address, hint="try again later") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(f"cannot be fetched: {reason}", where=address, hint=_NETWORK_HINT) from None


def _goes_on(response: Any, start: int) -> bool:
    """Return whether an answer is the rest that was asked for, and not the whole again."""
    return response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _validator(response: Any) -> str:
    """Return the strong validator of an answer (its ETag), or nothing where the server sends none that is exact to the byte."""
    etag = str(response.headers.get("ETag") or "")
    return "" if etag.startswith("W/") else etag


def _copied(response: Any, target: IO[bytes], size: int, max_bytes: int, address: str) -> str:
    """Copy an answer; return what is missing, in words, and nothing where all has come."""
    try:
        while chunk := response.read(_CHUNK):
            size += target.write(chunk)
            if size > max_bytes:
                _emptied(target)
                raise DataError(f"is larger than {max_bytes} bytes", where=address)
    except _BREAKS as error:
        return f"after {size} bytes: {type(error).__name__}"
    return f"{response.length} bytes before the end" if response.length else ""


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UserError("is not an https address", where=address, hint="tasks are fetched over https only")
