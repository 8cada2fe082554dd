"""Pictures that instances of a task name: found safely, read within limits, and told apart by their content.

A task file comes from anywhere, so what it names is looked at with care: a picture lies in the folder of the file that names
it, or below, and no part of its name, nor a symbolic link on the way, leads out of there. Files are limited in bytes, and what
they unpack to in pixels, which the header says before anything is unpacked; only the usual formats of pictures are opened.

A picture is known by the SHA-256 of its file. It is read again when its features are computed, and refused if it has changed.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from xeric.errors import DataError
from xeric.files import reading, shown_path, write_atomically

__all__ = [
    "BLANK",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Picture",
    "copied_name",
    "copy_picture",
    "find_picture",
    "read_picture",
    "read_pixels",
]

MAX_BYTES = 20_000_000
"""Size of a picture's file, at most."""

MAX_PIXELS = 40_000_000
"""Width times height of a picture, at most: 120 MB as it is read."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is opened, by Pillow's names; of an animation, the first frame."""

_WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """A picture's file.

    Attributes:
        path: of the file; None for :data:`BLANK`.
        sha256: of its content.
    """

    path: Path | None
    sha256: str


BLANK = Picture(None, "")
"""In place of a picture where a control shows none: all features are 0."""


def find_picture(name: Any, folder: Path | None, where: str) -> Picture:
    """Return the picture that a file names.

    Args:
        name: relative to the folder, parted by ``/``.
        folder: of the file that names it; None where that is no file.
        where: the name stands, for messages.

    Raises:
        DataError: the name is no relative path within the folder, or leads to no file there of at most :data:`MAX_BYTES`.
    """
    if folder is None:
        raise DataError("names a picture, and there is no folder to look for it", where=where, hint="load the task from its file")
    path = _path_within(name, folder, where)
    return Picture(path, hashlib.sha256(_content(path, where)).hexdigest())


def read_picture(path: Path) -> Picture:
    """Return the picture in a file that the user names.

    Raises:
        DataError: there is no such file, or it is larger than :data:`MAX_BYTES`.
    """
    return Picture(path, hashlib.sha256(_content(path, shown_path(path))).hexdigest())


def read_pixels(picture: Picture, side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture's pixels ``[side, side, 3]``, red, green and blue from 0 to 255.

    It is turned as its camera says, laid on white where it is transparent, and scaled to fit a white square, in whose centre it
    stands.

    Args:
        picture: not :data:`BLANK`.
        side: of the square, in pixels.

    Raises:
        DataError: the file has changed since it was found, is no picture of :data:`FORMATS`, or has more than :data:`MAX_PIXELS`.
        ModuleNotFoundError: Pillow is not installed (the extra ``pictures``).
    """
    from PIL import Image, ImageOps

    assert picture.path is not None
    where, content = shown_path(picture.path), _unchanged(picture)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; ours is the smaller limit
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise _TooLargeError(f"it has {opened.width} x {opened.height} pixels")
                turned: Any = ImageOps.exif_transpose(opened).convert("RGBA")
    except _TooLargeError as error:
        raise DataError(f"the picture is too large: {error}, and {MAX_PIXELS} may be read", where=where) from None
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120].rstrip(".")
        hint = f"the formats are {', '.join(FORMATS)}"
        raise DataError(f"is no picture that can be read: {reason}", where=where, hint=hint) from None
    flat = Image.alpha_composite(Image.new("RGBA", turned.size, _WHITE), turned).convert("RGB")
    # Scaled before it is centred: a square about a picture of one row would be far larger than the picture.
    width, height = (max(1, round(length * side / max(flat.size))) for length in flat.size)
    square = Image.new("RGB", (side, side), _WHITE[:3])
    scaled = flat.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    square.paste(scaled, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square, dtype=np.uint8)


class _TooLargeError(Exception):
    """A picture has more pixels than may be read."""


def copied_name(picture: Picture, folder: str) -> str:
    """Return what a picture is called in a folder of pictures that :func:`copy_picture` fills: by its content."""
    assert picture.path is not None
    return f"{folder}/{picture.sha256[:32]}{picture.path.suffix.lower()}"


def copy_picture(picture: Picture, path: Path) -> None:
    """Write a picture's file, unless it is there.

    Raises:
        DataError: the file has changed since it was found.
        StorageError: the file system refuses.
    """
    if not path.is_file():
        write_atomically(path, _unchanged(picture))


def _unchanged(picture: Picture) -> bytes:
    assert picture.path is not None
    where = shown_path(picture.path)
    content = _content(picture.path, where)
    if hashlib.sha256(content).hexdigest() != picture.sha256:
        raise DataError("the picture has changed since its task was loaded", where=where, hint="give the command again")
    return content


def _path_within(name: Any, folder: Path, where: str) -> Path:
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError("expected the name of a picture's file", where=where)
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts or "\\" in name:
        hint = "name it relative to the folder of the file that names it, with / between folders"
        raise DataError(f"{shown_path(name)!r} is no path within the folder of the file that names it", where=where, hint=hint)
    try:
        root, path = folder.resolve(), (folder / name).resolve()
        inside, is_file = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside, is_file = True, False
    if not inside:
        raise DataError(f"{shown_path(name)!r} is a link that leads out of the folder of the file that names it", where=where)
    if not is_file:
        raise DataError(f"there is no picture {shown_path(name)!r}", where=where, hint=f"looked for it in {shown_path(folder)}")
    return path


def _content(path: Path, where: str) -> bytes:
    with reading(path):
        if not path.is_file():  # a device or a pipe would be read without end
            raise DataError("there is no such file", where=where)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"the picture's file has more than {MAX_BYTES} bytes", where=where, hint="scale it down")
    return content
