"""Standard output: its console, and tables that lose nothing where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

__all__ = ["console", "print_table"]


def console() -> Console:
    """Return the console for standard output: texts are shown unchanged, also with brackets and colons."""
    return Console(highlight=False, markup=False, emoji=False)


def print_table(
    out: Console, title: str, columns: Sequence[tuple[str, JustifyMethod]], rows: Sequence[Sequence[str]], *, keys: int = 1
) -> None:
    """Print a table; where the terminal is too narrow, in several tables that repeat the first ``keys`` columns.

    A row may be shorter than the columns: the rest of it is empty.
    """
    rows = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    texts = [[heading for heading, _ in columns], *rows]
    widths = [max(cell_len(line) for row in texts for line in row[index].split("\n")) + 3 for index in range(len(columns))]
    groups: list[list[int]] = [[]]
    for index in range(keys, len(columns)):
        taken = sum(widths[p] for p in (*range(keys), *groups[-1]))
        if groups[-1] and taken + widths[index] >= out.width:
            groups.append([])
        groups[-1].append(index)
    for number, group in enumerate(groups):
        table = Table(title=title if title and not number else None, title_justify="left")
        for index in (*range(keys), *group):
            heading, justify = columns[index]
            table.add_column(heading, justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(row[index] for index in (*range(keys), *group)))
        out.print(table)
