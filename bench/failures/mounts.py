"""Mounts that this process and its children alone see: a small disk in memory, a folder for reading only."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SmallDisk", "enter", "read_only"]

_NEW_NAMESPACE = 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 1, 32, 4096, 16384, 1 << 18, 2


def enter() -> str | None:
    """Give this process mounts of its own; return why that is not possible, else None."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_NAMESPACE):
        return f"mounts need root ({os.strerror(ctypes.get_errno())})"
    try:
        _mount("none", Path("/"), None, _RECURSIVE | _PRIVATE)
    except OSError as error:
        return f"mounts are not permitted ({error.strerror})"
    return None


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else word.encode() for word in (source, str(target), kind)]
    if library.mount(*words, ctypes.c_ulong(flags), None if options is None else options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _unmount(target: Path) -> None:
    ctypes.CDLL(None).umount2(str(target).encode(), _DETACH)


class SmallDisk:
    """A file system in memory, as large as is said; a context.

    Args:
        folder: where it is mounted.
        kibibytes: its size.
    """

    def __init__(self, folder: Path, kibibytes: int) -> None:
        self._folder, self._size = folder, kibibytes

    def __enter__(self) -> SmallDisk:
        self._folder.mkdir(parents=True, exist_ok=True)
        _mount("tmpfs", self._folder, "tmpfs", 0, f"size={self._size}k")
        return self

    def __exit__(self, *_: object) -> None:
        _unmount(self._folder)

    def grow(self, kibibytes: int) -> None:
        """Give it another size."""
        _mount("tmpfs", self._folder, "tmpfs", _REMOUNT, f"size={kibibytes}k")


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder over itself for reading only."""
    _mount(str(folder), folder, None, _BIND)
    try:
        _mount("none", folder, None, _REMOUNT | _BIND | _READ_ONLY)
        yield
    finally:
        _unmount(folder)
