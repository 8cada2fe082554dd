"""The metadata of a GGUF file (Gerganov et al., GGUF v3) with the types that they are written in, and a copy of them alone.

A converted base keeps the copy (:data:`HEADER_FILE`), a GGUF file without tensors, so that a model made of it can become a GGUF
file again with the same metadata and tokenizer. The ``gguf`` package's reader keeps a view of every token of the vocabulary and
takes half a minute for 262,144 of them; this one takes a second.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFValueType

from xeric.errors import DataError
from xeric.files import reading, write_atomically

__all__ = ["HEADER_FILE", "KeyValue", "copy_header", "read_header"]

HEADER_FILE = "header.gguf"

_MAGIC = b"GGUF"
_COUNTS = struct.Struct("<IQQ")  # version, tensors, keys
_NUMBERS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}


@dataclass(frozen=True)
class KeyValue:
    """A value of a GGUF file's metadata.

    Attributes:
        value: a number, a truth value, a text, or a list of them.
        kind: the type that it is written in.
        items: of a list, the type of its items; else None.
    """

    value: Any
    kind: GGUFValueType
    items: GGUFValueType | None = None


class _Broken(Exception):
    """The bytes are not those of a GGUF file."""


class _Scan:
    """Reads values one after the other."""

    def __init__(self, content: mmap.mmap, position: int) -> None:
        self.content, self.position = content, position

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.content, self.position)
        self.position += struct.calcsize(code)
        return value

    def text(self) -> str:
        length = self.number("Q")
        start, self.position = self.position, self.position + length
        if self.position > len(self.content):  # a slice would end silently where the file does
            raise _Broken
        return self.content[start : self.position].decode("utf-8", errors="surrogateescape")

    def kind(self) -> GGUFValueType:
        try:
            return GGUFValueType(self.number("I"))
        except ValueError:
            raise _Broken from None

    def plain(self, kind: GGUFValueType) -> Any:
        return self.text() if kind == GGUFValueType.STRING else self.number(_NUMBERS[kind])

    def value(self) -> KeyValue:
        kind = self.kind()
        if kind != GGUFValueType.ARRAY:
            return KeyValue(self.plain(kind), kind)
        items = self.kind()
        return KeyValue([self.plain(items) for _ in range(self.number("Q"))], kind, items)


def read_header(path: Path) -> dict[str, KeyValue]:
    """Return the metadata of a GGUF file, by key, in the file's order.

    Raises:
        DataError: it cannot be read as a GGUF file.
    """
    return _read(path)[0]


def copy_header(path: Path, target: Path) -> None:
    """Write a GGUF file's metadata as a GGUF file without tensors.

    Raises:
        DataError: it cannot be read as a GGUF file.
        StorageError: the file system refuses.
    """
    keys, content = _read(path)
    version = _COUNTS.unpack_from(content, len(_MAGIC))[0]
    write_atomically(target, _MAGIC + _COUNTS.pack(version, 0, len(keys)) + content[len(_MAGIC) + _COUNTS.size :])


def _read(path: Path) -> tuple[dict[str, KeyValue], bytes]:
    """Return the metadata, and the bytes of the file up to their end."""
    try:
        with reading(path):
            if not path.stat().st_size:  # cannot be mapped
                raise _Broken
        with reading(path), path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[: len(_MAGIC)] != _MAGIC:
                raise _Broken
            count = _COUNTS.unpack_from(content, len(_MAGIC))[2]
            scan = _Scan(content, len(_MAGIC) + _COUNTS.size)
            keys = {scan.text(): scan.value() for _ in range(count)}
            return keys, content[: scan.position]
    except (_Broken, KeyError, struct.error):
        raise DataError("cannot be read as a GGUF file", where=str(path)) from None
