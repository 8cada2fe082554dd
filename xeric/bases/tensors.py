"""Files of named tensors (safetensors): written atomically, with the usual file mode; read with errors that name the cause."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from xeric.errors import DataError, UnreachableError
from xeric.files import is_file, reading, replacing, storage_error

__all__ = ["read_header", "read_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors, atomically; see :func:`xeric.files.replacing`.

    Args:
        path: of the file.
        tensors: contiguous, on the CPU, no two of which share memory.
        header: texts to keep beside them.

    Raises:
        StorageError: the file system refuses.
    """
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, metadata=None if header is None else dict(header))


def read_tensors(path: Path, what: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, by name, on the CPU.

    Args:
        path: of the file.
        what: expected content, for the message: ``lora weights``.

    Raises:
        DataError: it is not there, cannot be read, or holds no tensors.
        UnreachableError: the file system does not answer.
    """
    _check_readable(path, what)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        _check_reachable(error, path)
        raise DataError(f"holds no {what}: the file is damaged", where=str(path), hint=str(error).splitlines()[0]) from None


def read_header(path: Path) -> dict[str, str] | None:
    """Return the texts beside the tensors of a file; None where there is no such file, or it is incomplete.

    Raises:
        DataError: it exists and cannot be read.
    """
    with reading(path):
        if not is_file(path):
            return None
        with path.open("rb"):
            pass
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        _check_reachable(error, path)
        return None


def _check_readable(path: Path, what: str) -> None:
    """Check that a file can be read; the library reports a file without permission as missing."""
    try:
        with reading(path), path.open("rb"):
            pass
    except DataError as error:
        if path.parent.is_dir() and not path.exists():
            raise DataError(
                f"holds no {what}", where=str(path.parent), hint=f"{path.name} is missing: copy the folder whole"
            ) from None
        raise error from None


def _check_reachable(error: Exception, path: Path) -> None:
    """Check that an error of the library is not that of a file system that does not answer: the file is not damaged then."""
    if isinstance(refused := storage_error(error, path, doing="read"), UnreachableError):
        raise refused from None
