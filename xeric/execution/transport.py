"""Files of runs and stages between machines that share no file system: which are sent, in which order, and where they may be put.

A file crosses in pieces, so that neither side holds a large one in memory. The file that says whose folder it is goes first, and
the one whose presence says that it is complete goes last; each is put into its place as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from xeric.errors import DataError
from xeric.files import files_below, reading, replacing, shown_path
from xeric.records import RECORD_FILE
from xeric.run.folder import CHECKPOINT, CONFIG_FILE
from xeric.run.stage_store import STAGE_FILE

__all__ = ["PIECE", "file_in", "files_to_send", "put", "read_piece"]

PIECE = 16 * 2**20
"""Bytes of a file that cross at a time; a shorter piece is the file's last one."""

_LAST = (RECORD_FILE, STAGE_FILE)


def files_to_send(folder: Path) -> list[str]:
    """Return the names of a run's or a stage's files, as parts below its folder joined by ``/``, in the order of sending.

    Its checkpoint and files that are partly written are left out.
    """
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    sent = [name for name in names if name.partition("/")[0] != CHECKPOINT and not name.endswith(".part")]
    return sorted(sent, key=lambda name: (name in _LAST, name != CONFIG_FILE, name))


def file_in(folder: Path, name: str) -> Path:
    """Return the path of a file that another machine names.

    Args:
        folder: that the file must lie in.
        name: as :func:`files_to_send` gives it.

    Raises:
        DataError: the name leads out of the folder.
    """
    parts = name.split("/")
    path = folder.joinpath(*parts)
    proper = all(part not in ("", ".", "..") and "\0" not in part and Path(part).parts == (part,) for part in parts)
    # A link in the folder may lead out of it, too.
    if not proper or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"a worker has sent a file with the name {shown_path(name)!r}, which leads out of it", where=str(folder))
    return path


def read_piece(path: Path, offset: int) -> bytes:
    """Return the piece of a file that begins at an offset, in bytes."""
    with reading(path), path.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


def put(folder: Path, names: Iterable[str], piece: Callable[[str, int], bytes], check: Callable[[], None]) -> None:
    """Put files from another machine into a folder, in the order given, each as a whole.

    Args:
        folder: made where it is missing.
        names: of the files.
        piece: returns the piece of a file that begins at an offset.
        check: raises where nothing may be written any more; it is called before each piece and before a file gets its place.

    Raises:
        DataError: a name leads out of the folder.
        StorageError: the file system refuses.
    """
    for name in names:
        with replacing(file_in(folder, name)) as temporary:
            with temporary.open("wb") as file:
                ended = False
                while not ended:
                    check()
                    content = piece(name, file.tell())
                    file.write(content)
                    ended = len(content) < PIECE
            check()
