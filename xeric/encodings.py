"""Files of users as text: from bytes to Unicode, the same way wherever a file enters.

This module knows Unicode's encodings and nothing else: not languages and their code pages (:mod:`xeric.data.code_pages`), not
what a text means.

* UTF-8 with or without a byte-order mark, and UTF-16 and UTF-32, also without a mark, are told apart by their bytes.
* Text that is UTF-8 but for a few lines stays UTF-8. The bytes that do not fit become U+FFFD and their lines are named: one line
  of another program, or a file that ends inside a letter, says nothing about the rest.
* A name is the same name in NFC and NFD: Macs write file names in NFD, keyboards type NFC.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import regex

from xeric.errors import DataError, UserError
from xeric.files import expanded, reading

__all__ = [
    "REPLACEMENT",
    "Text",
    "check_text",
    "decode",
    "decode_as",
    "existing",
    "nfc",
    "not_unicode",
    "read_bytes",
    "read_text",
    "text_of",
]

REPLACEMENT = "\ufffd"
"""Stands for bytes that are not text; cleaning drops what holds it under ``broken_encoding``."""

_BREAK = regex.compile(r"\r\n?|\n")
_ESCAPED = regex.compile(r"[\udc80-\udcff]+")
_HALF = regex.compile(r"\p{Cs}")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What single-byte text hardly ever looks like, read as UTF-8. Two bytes may fit by chance ("ß" before a quotation mark).
_TELLING = regex.compile(r"[\u00a0-\u017f\u0800-\ud7ff\uf900-\U0010ffff]|[\u0180-\u07ff]{2,}")


@dataclass(frozen=True)
class Text:
    """A file's text.

    Attributes:
        text: without a byte-order mark.
        encoding: as Python names it.
        odd: numbers (from 1) of the lines that hold bytes which are no text in it; :data:`REPLACEMENT` stands for these.
        lines: how many lines there are.
    """

    text: str
    encoding: str
    odd: tuple[int, ...] = ()
    lines: int = 0

    @property
    def is_mostly_sound(self) -> bool:
        """Whether at most half of the lines that tell encodings apart are odd."""
        return not self.odd or len(self.odd) * 2 <= sum(not line.isascii() for line in _BREAK.split(self.text))

    def note(self, name: str) -> str:
        """Return a sentence about the odd lines of a file of this name; empty where there are none."""
        if not self.odd:
            return ""
        shown = ", ".join(map(str, self.odd[:5])) + (f" and {len(self.odd) - 5} more" if len(self.odd) > 5 else "")
        verb, noun = ("holds", "line") if len(self.odd) == 1 else ("hold", "lines")
        what = f"{len(self.odd)} of its {self.lines} lines {verb} bytes that are not ({noun} {shown})"
        return f"{name} is {self.encoding.upper()}, but {what}; they were read as {REPLACEMENT!r}"


def nfc(name: str) -> str:
    """Return a name in the one Unicode form that names are compared in."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path | str) -> Path:
    """Return the path with ``~`` expanded; where nothing is there, the path whose names differ in their Unicode form alone."""
    path = expanded(path)
    try:
        if path.exists() or str(path).isascii():
            return path
        parent = existing(path.parent)
        return next((entry for entry in sorted(parent.iterdir()) if nfc(entry.name) == nfc(path.name)), path)
    except (OSError, ValueError):
        return path


def read_bytes(path: Path | str) -> bytes:
    """Return a file's content.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    with reading(path):
        return existing(path).read_bytes()


def read_text(path: Path | str, encoding: str | None = None) -> str:
    r"""Return the text of a file, every byte of it; line ends are ``\n``.

    Args:
        path: of the file.
        encoding: as Python names it; None for the encodings of Unicode.

    Raises:
        UserError: there is no such encoding.
        DataError: the file cannot be read, or is not such text; ``where`` names the line.
    """
    return text_of(read_bytes(path), path, encoding)


def text_of(content: bytes, path: Path | str, encoding: str | None = None) -> str:
    """Return the text of a file's content; see :func:`read_text`.

    Args:
        content: every byte of it.
        path: the file, for messages.
        encoding: as Python names it; None for the encodings of Unicode.

    Raises:
        UserError: there is no such encoding.
        DataError: the content is not such text; ``where`` names the line.
    """
    decoded = decode_as(content, encoding) if encoding else decode(content)
    if encoding and decoded and decoded.odd:
        raise DataError(f"not {encoding} text", where=f"{path}, line {decoded.odd[0]}", hint="give the encoding it is in")
    if decoded is None or decoded.odd:
        raise not_unicode(path, content)
    return decoded.text.replace("\r\n", "\n").replace("\r", "\n")


def not_unicode(path: Path | str, content: bytes, hint: str = "save the file as UTF-8") -> DataError:
    """Return the error about the first byte of a file that is not UTF-8."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return DataError(f"not UTF-8 text: byte 0x{content[error.start]:02x}", where=f"{path}, line {line}", hint=hint)
    return DataError("not UTF-8 text", where=str(path), hint=hint)


def decode(content: bytes) -> Text | None:
    """Return the text in an encoding of Unicode, or None where the bytes are in none of them."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return decode_as(content[len(mark) :], encoding)
    return _without_mark(content) or _utf8(content)


def decode_as(content: bytes, encoding: str) -> Text:
    """Return the text in an encoding, whatever does not fit replaced.

    Raises:
        UserError: there is no such encoding of text.
    """
    try:
        is_utf8 = codecs.lookup(encoding).name == "utf-8"
        if is_utf8:
            text = _ESCAPED.sub(REPLACEMENT, content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
        else:
            text = content.decode(encoding, "replace").removeprefix("\ufeff")
    except (LookupError, ValueError):
        raise UserError(f"there is no encoding {encoding!r}", hint="use utf-8, cp1252 or another that Python knows") from None
    lines = _BREAK.split(text)
    sound = content.count(REPLACEMENT.encode()) if is_utf8 else 0
    odd = tuple(number for number, line in enumerate(lines, 1) if REPLACEMENT in line) if text.count(REPLACEMENT) > sound else ()
    return Text(text, encoding, odd, len(lines) - (not lines[-1]))


def check_text(text: str, where: str, *, nul: bool = True) -> str:
    """Return a text that can be written as UTF-8.

    Args:
        text: as it was read.
        where: the place, for the message.
        nul: refuse a NUL, too: it is a sign of a file that was saved in another encoding.

    Raises:
        DataError: the text holds half of a surrogate pair, or a NUL.
    """
    half = _HALF.search(text)
    if half or (nul and "\0" in text):
        what = f"half of a surrogate pair ({half.group()!a})" if half else "a NUL character ('\\x00')"
        raise DataError(f"the text holds {what}", where=where, hint="save the source as UTF-8 and make the file again")
    return text


def _without_mark(content: bytes) -> Text | None:
    """Read UTF-16 and UTF-32 without a mark: ASCII has a NUL at every second byte there, and text has none in UTF-8."""
    if b"\0" not in content:
        return None
    for encoding in ("utf-32-le", "utf-32-be"):
        try:
            return decode_as(content.decode(encoding).encode(), "utf-8")
        except UnicodeError:
            continue
    even, odd = content[0::2].count(0), content[1::2].count(0)
    for encoding, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high >= max(4, len(content) // 20) and low * 20 <= high:
            return decode_as(content, encoding)
    return None


def _utf8(content: bytes) -> Text | None:
    """Read UTF-8, also where it is cut or a few lines of it are not; None where more speaks against it than for it."""
    text = content.decode("utf-8", "surrogateescape")
    decoded = decode_as(content, "utf-8")
    if not decoded.odd or _is_cut(content, text) or _mostly_utf8(_BREAK.split(text), len(_ESCAPED.findall(text))):
        return decoded
    return None


def _is_cut(content: bytes, text: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(content)
    except UnicodeDecodeError:
        return False
    left = decoder.getstate()[0]
    # A lone byte from 0xE0 on at the very end may as well be the last letter of single-byte text ("café").
    return bool(_TELLING.search(text)) or len(left) > 1 or left < b"\xe0"


def _mostly_utf8(lines: Sequence[str], faults: int) -> bool:
    whole = [line for line in lines if not line.isascii() and not _ESCAPED.search(line)]
    telling = sum(len(_TELLING.findall(line)) for line in lines)
    odd = sum(bool(_ESCAPED.search(line)) for line in lines)
    return telling > 2 * faults or sum(bool(_TELLING.search(line)) for line in whole) >= odd
