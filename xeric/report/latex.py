r"""Tables of a study as LaTeX, to be taken into a paper with ``\input``.

They need the packages ``array``, ``booktabs`` and ``graphicx``; for labels in scripts that pdfLaTeX does not know, XeLaTeX or
LuaLaTeX and a font that has them. A table wider than its line has intervals below their estimates, and long texts and headings on
several lines; a table that is still too wide is scaled down to the line.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence

from xeric.analysis.results import Interval
from xeric.report.tables import Cell, Column, Table, ends, point, shown

__all__ = ["escape_latex", "to_latex"]

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A shorthand for umlauts, where babel is loaded.
    '"': r"\symbol{34}",
    # After \\ at the end of a row, LaTeX takes [ for a length and * for a star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u2212": "$-$",
}

# TeX's ligatures join these to one sign: a dash, a quotation mark, an inverted mark.
_JOINED = re.compile(r"([-,'`])(?=\1)|([?!])(?=`)")

_LINE = 92
"""Characters on a line of ten-point type with ordinary margins, beyond which a table counts as wide."""
_LONG = 24
"""Characters that a text of a wide table may have on one line."""
_NARROW = 8
"""Characters that every line of a heading has room for."""
_SMALL = 0.8
"""Type size of an interval, relative to the table's."""
_EM = 0.5
"""Mean width of a character in em."""


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    printable = "".join(mark for mark in " ".join(text.split()) if mark.isprintable())
    return "".join(_LATEX.get(mark, mark) for mark in _JOINED.sub("\\g<0>\0", printable)).replace("\0", "{}")


def to_latex(table: Table) -> str:
    """Return a ``table`` environment with booktabs rules; the published figures are set in italics."""
    spans = table.spans()
    wide = sum(_widths(table, wide=False)) > _LINE
    between = "    \\addlinespace[3pt]\n" if wide else ""
    rows = [" & ".join(_cell(cell, column, wide) for cell, column in zip(row, table.columns, strict=True)) for row in table.rows]
    lines = [
        r"% needs \usepackage{array,booktabs,graphicx}",
        r"\begin{table}",
        r"  \centering",
        *([r"  \setlength{\tabcolsep}{4pt}"] if wide else []),
        rf"  \caption{{{escape_latex(table.title)}}}",
        r"  \smallskip",
        r"  \sbox0{%",
        rf"  \begin{{tabular}}{{{''.join(_alignments(table, wide))}}}",
        r"    \toprule",
    ]
    if any(group for group, _ in spans):
        lines.append("    " + " & ".join(_span(group, width) for group, width in spans) + r" \\")
        lines.append("    " + _rules(spans))
    lines.append("    " + " & ".join(map(_heading, _headings(table, wide))) + r" \\")
    lines.append(r"    \midrule")
    lines += [f"{between if number else ''}    {row} \\\\" for number, row in enumerate(rows)]
    lines += [
        r"    \bottomrule",
        r"  \end{tabular}}%",
        r"  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
    ]
    if table.notes:
        lines += [r"  \par\smallskip", r"  \begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [rf"  {escape_latex(note)}\par" for note in table.notes]
        lines.append(r"  \end{minipage}")
    return "\n".join([*lines, r"\end{table}", ""])


def _widths(table: Table, *, wide: bool) -> list[float]:
    """Return the approximate width of every column with the space beside it, in characters."""
    headings = [max(map(len, lines)) for lines in _headings(table, wide)]
    return [2 + max(pair) for pair in zip(headings, _cell_widths(table, wide), strict=True)]


def _cell_widths(table: Table, wide: bool) -> list[float]:
    return [
        max((_width(row[index], column, wide) for row in table.rows), default=0.0) for index, column in enumerate(table.columns)
    ]


def _width(cell: Cell, column: Column, wide: bool) -> float:
    if not isinstance(cell, Interval):
        return len(shown(cell, column))
    parts = len(point(cell, column)), _SMALL * len(ends(cell, column))
    return max(parts) if wide else sum(parts)


def _headings(table: Table, wide: bool) -> list[list[str]]:
    """Return each heading's lines: in a wide table those of number columns are wrapped to about the width of the numbers."""
    room = [max(_NARROW, int(width)) for width in _cell_widths(table, wide)]
    return [
        _wrapped(column.title, width) if wide and column.kind != "text" else [column.title]
        for column, width in zip(table.columns, room, strict=True)
    ]


def _wrapped(title: str, width: int) -> list[str]:
    return textwrap.wrap(title, width, break_long_words=False, break_on_hyphens=False) or [""]


def _alignments(table: Table, wide: bool) -> list[str]:
    """Return each column's specifier; in a wide table columns of long texts share the width that is left of the line."""
    plain = ["l" if column.kind == "text" else "r" for column in table.columns]
    widths = _widths(table, wide=True)
    if not wide or sum(widths) <= _LINE:
        return plain
    long = [index for index, letter in enumerate(plain) if letter == "l" and widths[index] - 2 > _LONG]
    left = _LINE - sum(width for index, width in enumerate(widths) if index not in long)
    share = max(_LONG, left / len(long) - 2) if long else 0
    return [
        rf">{{\raggedright\arraybackslash}}p{{{_EM * min(share, widths[index]):.3g}em}}" if index in long else letter
        for index, letter in enumerate(plain)
    ]


def _span(group: str, width: int) -> str:
    return rf"\multicolumn{{{width}}}{{{'c' if group else 'l'}}}{{{escape_latex(group)}}}"


def _rules(spans: Sequence[tuple[str, int]]) -> str:
    ends = list(itertools.accumulate(width for _, width in spans))
    return " ".join(
        rf"\cmidrule(lr){{{end - width + 1}-{end}}}" for (group, width), end in zip(spans, ends, strict=True) if group
    )


def _heading(lines: Sequence[str]) -> str:
    text = r"\\".join(map(escape_latex, lines))
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


def _cell(cell: Cell, column: Column, wide: bool) -> str:
    if isinstance(cell, Interval):
        value, interval = escape_latex(point(cell, column)), escape_latex(ends(cell, column))
        small = rf"{{\footnotesize {interval}}}"
        if interval and wide:
            return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\{small}\end{{tabular}}"
        return f"{value} {small}" if interval else value
    text = escape_latex(shown(cell, column))
    return rf"\textit{{{text}}}" if text and column.kind == "published" else text
