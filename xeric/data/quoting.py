"""What quotation marks mean in delimited text, cells enclosed or text: decided by evidence, never at the cost of rows.

Both readings are made. Marks enclose where they keep the rules of CSV (RFC 4180: they enclose whole cells, those inside are
doubled); where cells are parted by tabs, they also have to be needed (a cell holds a delimiter, a doubled mark or a line end) or
to be around whole columns. Where a mark opens a cell of several lines each of which would be a row of its own, a lone mark of the
text looks exactly the same. Such cells are believed only in a file that shows by as many others that its cells have several
lines; otherwise the file is refused by line or, where cells are parted by tabs, the marks are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import regex

from xeric.errors import DataError

__all__ = ["Quotes", "Row", "enclosed", "read_quoted"]

Quotes = Literal["auto", "enclose", "text"]
"""Whether quotation marks enclose cells, are text, or are looked at."""

_BREAK = regex.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class Row:
    """A row of delimited text.

    Attributes:
        line: number of its first line, from 1.
        cells: without the marks that enclose them.
        quoted: places of the cells that marks enclose.
        needed: whether one of these holds something for which it had to be enclosed.
        lines: how many lines it takes.
    """

    line: int
    cells: list[str]
    quoted: frozenset[int] = frozenset()
    needed: bool = False
    lines: int = 1


class _Fault(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def read_quoted(
    text: str,
    delimiter: str,
    quotes: Quotes,
    path: Path,
    is_header: Callable[[Sequence[str]], bool],
    say: Callable[[str], None],
) -> list[Row]:
    """Return the rows of delimited text, empty lines left out.

    Args:
        text: the content.
        delimiter: one character.
        quotes: what quotation marks mean.
        path: the file, for messages.
        is_header: tells the header's cells.
        say: called with a sentence where the marks were taken as text, or where it is doubtful that they enclose cells.

    Raises:
        DataError: the marks fit neither reading, or both; ``where`` names the line.
    """
    plain = [Row(number, line.split(delimiter)) for number, line in enumerate(_BREAK.split(text), 1) if line]
    if quotes == "text" or '"' not in text:
        return plain
    header = next((place for place, row in enumerate(plain[:10]) if is_header(row.cells)), 0)
    width = len(_trimmed(plain[header].cells))
    even = all(_has_width(row.cells, width) for row in plain[header:])
    as_text = f"quotation marks in {path.name} were read as text, because they do not enclose whole cells"
    try:
        rows = list(_rows(text, delimiter))
    except _Fault as fault:
        if quotes == "auto" and even and (delimiter == "\t" or not _mostly_enclosed(plain[header:])):
            say(as_text)
            return plain
        hint = "check the quotation marks and the delimiter there, or give --quotes text if they belong to the text"
        raise DataError(f"is not a table: {fault}", where=f"{path}, line {fault.line}", hint=hint) from None
    if quotes == "enclose":
        return rows
    widths = {row.line: _has_width(row.cells, width) for row in plain}
    doubtful = [row for row in rows if row.lines > 1 and all(widths.get(n, False) for n in range(row.line, row.line + row.lines))]
    clear = sum(row.lines > 1 for row in rows) - len(doubtful)
    if delimiter == "\t" and even and (len(doubtful) > clear or not _is_convention(rows[header:])):
        say(as_text)
        return plain
    if doubtful:
        _doubt(doubtful, clear, path, say)
    return rows


def _doubt(doubtful: Sequence[Row], clear: int, path: Path, say: Callable[[str], None]) -> None:
    first = doubtful[0]
    last = first.line + first.lines - 1
    what = f"a quotation mark opens in line {first.line} and closes in line {last}, and each of these lines could be a row"
    if len(doubtful) > clear:
        hint = "give --quotes enclose if they are one row, --quotes text if the marks belong to the text"
        raise DataError(what, where=f"{path}, line {first.line}", hint=hint)
    more = f" ({len(doubtful) - 1} more such)" if len(doubtful) > 1 else ""
    say(f"{what}{more}: read as one row of {path.name}; if that is wrong, give --quotes text")


def _trimmed(cells: Sequence[str]) -> Sequence[str]:
    end = len(cells)
    while end > 1 and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def _has_width(cells: Sequence[str], width: int) -> bool:
    return len(cells) >= width and not any(cell.strip() for cell in cells[width:])


def _is_convention(rows: Sequence[Row]) -> bool:
    """Say whether the marks are there for a reason: every cell that has them needs them, or whole columns have them."""
    marked = [row for row in rows if row.quoted]
    if all(row.needed for row in marked):
        return True
    header, *others = rows
    return all(
        place in header.quoted and all(place in row.quoted or not row.cells[place : place + 1] for row in others)
        for row in marked
        for place in row.quoted
    )


def _mostly_enclosed(rows: Sequence[Row]) -> bool:
    marked = [cell.strip() for row in rows for cell in row.cells if '"' in cell]
    return sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in marked) * 2 > len(marked)


def enclosed(line: str, delimiter: str) -> list[str] | None:
    """Return the cells of one line whose marks enclose cells, or None where they do not."""
    try:
        return next((row.cells for row in _rows(line, delimiter)), [])
    except _Fault:
        return None


def _rows(text: str, delimiter: str) -> Iterator[Row]:
    """Yield rows by the rules of CSV; blanks around an enclosed cell are passed over, empty lines too."""
    mark = regex.escape(delimiter)
    blanks = "" if delimiter in " \t" else " *+"
    quoted = regex.compile(rf'{blanks}"([^"]*+(?:""[^"]*+)*+)"{blanks}(?={mark}|[\r\n]|\Z)')
    bare = regex.compile(rf"[^{mark}\r\n]*+")
    end = regex.compile(rf"{mark}|\r\n?|\n|\Z")
    position, line = 0, 1
    while position < len(text):
        start, cells, places, needed, last = line, list[str](), set[int](), False, False
        while not last:
            if found := quoted.match(text, position):
                value = found.group(1)
                line += len(_BREAK.findall(value))
                needed = needed or any(sign in value for sign in (delimiter, '"', ",", "\n", "\r"))
                places.add(len(cells))
                cells.append(value.replace('""', '"'))
            else:
                found = bare.match(text, position)
                if found.group().lstrip(" ").startswith('"'):
                    closed = '"' in found.group().lstrip(" ")[1:]
                    raise _Fault(start, "text follows a closing quotation mark" if closed else "a quotation mark never closes")
                cells.append(found.group())
            separator = end.match(text, found.end())
            position, last = separator.end(), separator.group() != delimiter
        line += 1
        if cells != [""] or places:
            yield Row(start, cells, frozenset(places), needed, line - start)
