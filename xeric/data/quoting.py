"""What quotation marks mean in delimited text, cells enclosed or text: decided by evidence, never at the cost of rows.

Both readings are made. Marks enclose where they keep the rules of CSV (RFC 4180: they enclose whole cells, those inside are
doubled); where cells are parted by tabs, they also have to be needed (a cell holds a delimiter, a doubled mark or a line end) or
to be around whole columns. Where a mark opens a cell of several lines each of which would be a row of its own, a lone mark of the
text looks exactly the same. Such cells are believed only in a file that shows by as many others that its cells have several
lines; otherwise the file is refused by line or, where cells are parted by tabs, the marks are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import regex

from xeric.errors import DataError

__all__ = ["Quotes", "Row", "enclosed", "read_quoted"]

Quotes = Literal["auto", "enclose", "text"]
"""Whether quotation marks enclose cells, are text, or are looked at."""

_BREAK = regex.compile(r"\r\n?|\n")
_HINT = "check the quotation marks and the delimiter there, or give --quotes text if they belong to the text"


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
    """Why marks cannot enclose cells, or need not.

    Args:
        line: where it shows.
        what: a sentence.
        as_text: whether the marks may be text instead; where they may not, or lines would not be rows, the file is refused.
        hint: what to do about it.
    """

    def __init__(self, line: int, what: str, *, as_text: bool = True, hint: str = _HINT) -> None:
        super().__init__(what)
        self.line, self.as_text, self.hint = line, as_text, hint


@dataclass(frozen=True)
class _Lines:
    """The lines of a file as they are without marks: which of them have as many cells as the header."""

    rows: Sequence[Row]
    width: int
    header: int

    @classmethod
    def of(cls, plain: Sequence[Row], is_header: Callable[[Sequence[str]], bool]) -> _Lines:
        header = next((position for position, row in enumerate(plain[:10]) if is_header(row.cells)), 0)
        return cls(plain, len(_trimmed(plain[header].cells)), header)

    def are_rows(self, *, strictly: bool) -> bool:
        """Return whether all lines have the header's cells; where not ``strictly``, a tenth of them may end early."""
        rows = self.rows[self.header :]
        fitting = sum(self.fits(row.cells) for row in rows)
        if strictly:
            return fitting == len(rows)
        return fitting * 10 >= len(rows) * 9 and not any(cell.strip() for row in rows for cell in row.cells[self.width :])

    def fits(self, cells: Sequence[str]) -> bool:
        return len(cells) >= self.width and not any(cell.strip() for cell in cells[self.width :])

    def mostly_enclosed(self) -> bool:
        marked = [cell.strip() for row in self.rows[self.header :] for cell in row.cells if '"' in cell]
        return sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in marked) * 2 > len(marked)


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
    lines = _Lines.of(plain, is_header)
    try:
        rows = list(_rows(text, delimiter))
        doubt = _weigh(rows, lines, needed_only=delimiter == "\t") if quotes == "auto" else ""
        if doubt:
            say(f"{doubt}: read as one row of {path.name}; if that is wrong, give --quotes text")
        return rows
    except _Fault as fault:
        tabs = delimiter == "\t"
        may_be_text = tabs or (fault.as_text and not lines.mostly_enclosed())
        if quotes == "auto" and may_be_text and lines.are_rows(strictly=not tabs):
            say(f"quotation marks in {path.name} were read as text, because they do not enclose whole cells")
            return plain
        raise DataError(str(fault), where=f"{path}, line {fault.line}", hint=fault.hint) from None


def _weigh(rows: Sequence[Row], lines: _Lines, *, needed_only: bool) -> str:
    """Raise where more speaks against marks that enclose cells than for it; return what is doubtful about them, or nothing."""
    fitting = {row.line: lines.fits(row.cells) for row in lines.rows}
    if torn := next((row for row in rows if row.lines == 1 and fitting[row.line] and len(row.cells) < lines.width), None):
        raise _Fault(torn.line, "is not a table: quotation marks enclose several cells of the row")
    if all(len(row.quoted) == len(row.cells) for row in rows):
        return ""  # a lone mark would leave cells without any
    several = [row for row in rows if row.lines > 1]
    doubtful = [row for row in several if _could_be_rows(row, fitting)]
    what = ""
    if doubtful:
        first, last = doubtful[0].line, doubtful[0].line + doubtful[0].lines - 1
        what = f"a quotation mark opens in line {first} and closes in line {last}, and each of these lines could be a row"
        if len(doubtful) * 2 > len(several):
            hint = "give --quotes enclose if they are one row, --quotes text if the marks belong to the text"
            raise _Fault(first, what, as_text=False, hint=hint)
        what += f" ({len(doubtful) - 1} more such)" if len(doubtful) > 1 else ""
    if needed_only and not _is_convention(rows[lines.header :]) and (not several or lines.are_rows(strictly=True)):
        raise _Fault(rows[0].line, "is not a table: quotation marks enclose cells that need none")
    return what


def _could_be_rows(row: Row, fitting: Mapping[int, bool]) -> bool:
    """Return whether the lines of a row look like rows of their own: the first, the last and most between, empty ones aside."""
    lines = [fitting[n] for n in range(row.line, row.line + row.lines) if n in fitting]
    return len(lines) > 1 and lines[0] and lines[-1] and sum(lines) * 2 >= len(lines)


def _trimmed(cells: Sequence[str]) -> Sequence[str]:
    end = len(cells)
    while end > 1 and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def _is_convention(rows: Sequence[Row]) -> bool:
    """Return whether the marks are there for a reason: every cell that has them needs them, or whole columns have them."""
    marked = [row for row in rows if row.quoted]
    if any('"' in cell for row in rows for column, cell in enumerate(row.cells) if column not in row.quoted):
        return False  # who encloses cells encloses these
    if all(row.needed for row in marked):
        return True
    header, *others = rows
    return all(
        column in header.quoted and all(column in row.quoted or not row.cells[column : column + 1] for row in others)
        for row in marked
        for column in row.quoted
    )


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
        start, cells, enclosed_cells, needed, last = line, list[str](), set[int](), False, False
        while not last:
            if match := quoted.match(text, position):
                value = match.group(1)
                line += len(_BREAK.findall(value))
                needed = needed or any(sign in value for sign in (delimiter, '"', ",", "\n", "\r"))
                enclosed_cells.add(len(cells))
                cells.append(value.replace('""', '"'))
            else:
                match = bare.match(text, position)
                if match.group().lstrip(" ").startswith('"'):
                    closed = '"' in match.group().lstrip(" ")[1:]
                    what = "text follows a closing quotation mark" if closed else "a quotation mark never closes"
                    raise _Fault(start, f"is not a table: {what}")
                cells.append(match.group())
            separator = end.match(text, match.end())
            position, last = separator.end(), separator.group() != delimiter
        line += 1
        if cells != [""] or enclosed_cells:
            yield Row(start, cells, frozenset(enclosed_cells), needed, line - start)
