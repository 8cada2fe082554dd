"""Files are written whole or not at all, with the mode that the user's umask gives, and errors name the path.

Everything that Xeric writes goes through :func:`replacing`, by itself or by :func:`write_atomically`; what is given as a path
goes through :func:`expanded`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from xeric.errors import DataError, StorageError, UnreachableError, XericError
from xeric.processes import mark, marked_by_the_dead

__all__ = [
    "expanded",
    "files_below",
    "full_path",
    "give_usual_modes",
    "is_file",
    "is_of_other_programs",
    "modified_ns",
    "part_of",
    "partial_files",
    "read_error",
    "reading",
    "remove",
    "remove_abandoned",
    "replacing",
    "shown_path",
    "storage_error",
    "write_atomically",
    "writing",
]

_LONGEST_STEM = 40

# What is not finished: our own, which name the process that writes, and what the safetensors library writes beside its file.
_PART = re.compile(r"\.(?P<stem>.+)\.(?P<mark>[0-9a-f]{8}-[0-9a-f]+)\.[0-9a-f]{8}\.part")
_PARTIAL = re.compile(r"\..*\.part|\.tmp\w{6}")

# What file managers, network file systems and synchronisation put into any folder that they look at.
_OTHERS = re.compile(
    r"\.DS_Store|\._.*|\.localized|\.AppleDouble|\.Spotlight-V100|\.Trashes|\.fseventsd|Icon\r|Thumbs\.db|ehthumbs\.db|desktop\.ini"
    r"|\$RECYCLE\.BIN|\.directory|\.Trash-\d+|\.nfs.*|\.fuse_hidden.*|\.~lock\..*#|@eaDir|\.stfolder|\.dropbox.*|lost\+found",
    re.IGNORECASE,
)

_READ_HINTS = {
    errno.ENOENT: "check the path; relative ones start at the current folder",
    errno.EISDIR: "it is a folder: give a file",
    errno.EACCES: "you have no right to read it: have its mode changed",
}
_ELSEWHERE = "name another folder"
_HINTS = {
    errno.ENOSPC: "make room there and give the same command again",
    errno.EDQUOT: "make room there and give the same command again",
    errno.EROFS: f"it is mounted for reading only: {_ELSEWHERE}",
    errno.EACCES: f"you have no right to it: {_ELSEWHERE}, or have its mode changed",
    errno.EPERM: f"you have no right to it: {_ELSEWHERE}, or have its mode changed",
    errno.ENOTDIR: f"a part of the path is a file, not a folder: {_ELSEWHERE}",
    errno.EEXIST: f"a file is in the way: {_ELSEWHERE}",
    errno.EISDIR: f"a folder is in the way: {_ELSEWHERE}",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "symbolic links lead round in a circle: name the place itself",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
}
_UNREACHABLE_HINT = "the disk or the network behind it fails: check it, then give the same command again"
_UNREACHABLE = {
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ESHUTDOWN", "EREMOTEIO", "ENOLINK", "ECOMM"),
    )
    if hasattr(errno, name)
}
"""What network file systems (NFS, SMB, Lustre, FUSE) say where their server or the way to it fails; EIO is a broken disk, too."""
_OS_ERROR = re.compile(r"^(?P<reason>.*?)\s*\(os error (?P<number>\d+)\)")


def expanded(path: str | Path) -> Path:
    """Return a path as the user means it: a leading ``~`` is the home folder, of ``~name`` that of ``name``."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: then it is a name
        return Path(path)


def full_path(path: str | Path) -> str:
    """Return a path that means the same in every folder; what lies there is not looked at, and links are kept."""
    return os.path.abspath(expanded(path))  # noqa: PTH100 - Path.absolute() keeps `..`


def shown_path(path: str | Path) -> str:
    """Return a path as it can be printed: escaped where it is not text."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def is_of_other_programs(name: str) -> bool:
    """Return whether a file of this name is of no concern: file managers and the like put it into any folder."""
    return _OTHERS.fullmatch(name) is not None


def storage_error(
    error: BaseException, path: Path | str | None = None, *, doing: str = "written", sockets: bool = True
) -> StorageError | None:
    """Return what the file system refused, as an error for the user; None where the error is of another kind.

    Args:
        error: an :class:`OSError`, or the error of a library written in Rust, which ends with ``(os error 28)``.
        path: what was asked for; None is what the error itself names.
        doing: what could not be done to it.
        sockets: whether an error of a connection may be that of a socket; then it counts only where it names a file.

    Returns:
        An :class:`UnreachableError` where the same may succeed later.
    """
    if isinstance(error, XericError):
        return None
    if isinstance(error, OSError) and not (sockets and _may_be_of_a_socket(error)):
        number, reason = error.errno, error.strerror
        path = error.filename if path is None else path
    elif rust_error := _OS_ERROR.search(str(error)):
        number, reason = int(rust_error["number"]), os.strerror(int(rust_error["number"]))
    else:
        return None
    if number is None or reason is None or number == errno.EPIPE:
        return None
    what, where = f"cannot be {doing}: {reason}", None if path is None else str(path)
    if number in _UNREACHABLE:
        return UnreachableError(what, where=where, hint=_UNREACHABLE_HINT)
    return StorageError(what, where=where, hint=_HINTS.get(number, _ELSEWHERE))


def _may_be_of_a_socket(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) and error.filename is None


def read_error(error: OSError, path: Path | str) -> DataError | StorageError:
    """Return that a file cannot be read, as an error for the user: of the file, or of a file system that does not answer."""
    if error.errno in _UNREACHABLE and (unreachable := storage_error(error, shown_path(path), doing="read", sockets=False)):
        return unreachable
    hint = _READ_HINTS.get(error.errno or 0)
    return DataError(f"cannot be read: {error.strerror or error}", where=shown_path(path), hint=hint)


@contextlib.contextmanager
def writing(path: Path, *, sockets: bool = False) -> Iterator[None]:
    """Name the path in the error where the file system refuses what is done inside.

    Args:
        path: of what is written.
        sockets: whether something is read from a connection inside; errors of it are left as they are.

    Raises:
        StorageError: it does.
    """
    try:
        yield
    except Exception as error:
        if (refused := storage_error(error, path, sockets=sockets)) is None:
            raise
        raise refused from None


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Name the path in the error where a file cannot be read inside.

    Raises:
        DataError: it cannot, or is no path that a file can have.
        UnreachableError: its file system does not answer.
    """
    try:
        yield
    except OSError as error:
        raise read_error(error, path) from None
    except ValueError:  # a NUL, or half of a surrogate pair: Python asks no file system about such a path
        raise DataError("is not a path that a file can have", where=shown_path(path)) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write beside ``path``, and put it into its place at the end: all of it, or nothing where that fails.

    A reader, or a kill at any moment, sees the old content or the new and nothing between. What a killed process has left of this
    file on this machine is removed. The mode is what the user's umask gives, whatever mode a library that writes the file thinks
    right.

    Raises:
        StorageError: the file system refuses, inside or at the end.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        temporary = part_of(path)
        mode = _make(temporary)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def part_of(path: Path) -> Path:
    """Return where this process may make a file or folder before it is put into its place: beside it, by a name of its own."""
    return path.with_name(f".{path.name[:_LONGEST_STEM]}.{mark()}.{secrets.token_hex(4)}.part")


def remove_abandoned(path: Path) -> None:
    """Delete the parts of a file or folder (:func:`part_of`) that processes of this machine left when they were killed."""
    with contextlib.suppress(FileNotFoundError):
        for part in path.parent.iterdir():
            name = _PART.fullmatch(part.name)
            if name and name["stem"] == path.name[:_LONGEST_STEM] and marked_by_the_dead(name["mark"]):
                remove(part)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all in it, where it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def partial_files(folder: Path) -> list[Path]:
    """Return the files below a folder that are not finished, by whatever process; for whoever is alone there."""
    return [path for path in files_below(folder) if _PARTIAL.fullmatch(path.name)]


def _make(path: Path) -> int:
    """Make an empty file and return its mode: what the system gives, by umask and the folder's own rules."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return os.fstat(descriptor).st_mode & 0o777
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str | bytes) -> None:
    """Write a file whole; see :func:`replacing`.

    Raises:
        StorageError: the file system refuses.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder at any depth; other processes may add and delete files and folders meanwhile.

    Raises:
        UnreachableError: the file system does not answer.
    """

    def check(error: OSError) -> None:
        # Folders that are deleted or closed to us are left out; but an outage must not look like a folder without files.
        if error.errno in _UNREACHABLE:
            raise read_error(error, error.filename or folder)

    for parent, _, names in os.walk(folder, onerror=check):
        yield from (Path(parent, name) for name in names)


def is_file(path: Path) -> bool:
    """Return whether a file is there. With :meth:`pathlib.Path.is_file` of Python 3.14, an outage looks like its absence.

    Raises:
        OSError: the file system refuses to say.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path that no file can have
        return False


def modified_ns(path: Path) -> int | None:
    """Return when a file was last modified, in nanoseconds since the epoch, or None where it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def give_usual_modes(folder: Path) -> None:
    """Give a folder and all in it the modes that the umask gives, where a library has written them for their maker alone."""
    probe = folder / ".mode.part"
    mode = _make(probe)
    probe.unlink()
    for path in (folder, *folder.rglob("*")):
        path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)  # a folder that may be read may be entered
