"""Tables of a study as Markdown and CSV; :mod:`xeric.report.latex` has LaTeX.

A :class:`Table` is ready to be written: columns, rows, notes. Measured numbers, published numbers and costs are separate column
groups, so that they are not confused. Every format escapes what it would otherwise take for markup: texts come from study files
and models.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from xeric import formatting
from xeric.analysis.results import ArmResult, FigureResult, Interval, StudyResults, TableResult, TableRow
from xeric.report import wording

__all__ = [
    "Cell",
    "Column",
    "Table",
    "ends",
    "escape_markdown",
    "figure_table",
    "markdown_rows",
    "point",
    "shown",
    "study_table",
    "to_csv",
    "to_markdown",
]

Kind = Literal["text", "estimate", "difference", "number", "spread", "p", "published", "count", "duration", "memory"]
Cell = str | float | Interval | None

PUBLISHED = "published in the paper"
COST = "cost"
TEXTS = "texts"

_WITH_INTERVAL = ("estimate", "difference", "spread")
_SHOWN: dict[Kind, Callable[[float | None], str]] = {
    "count": formatting.count,
    "duration": formatting.duration,
    "memory": formatting.data_size,
    "p": lambda value: "" if value is None else formatting.p_value(value),
}


@dataclass(frozen=True)
class Column:
    """A column: ``key`` names it in CSV, ``title`` heads it elsewhere, ``group`` heads it and its neighbours."""

    key: str
    title: str
    kind: Kind = "text"
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to be written in any format; a row has one cell per column."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def spans(self) -> list[tuple[str, int]]:
        """Return the groups of neighbouring columns, each with its number of columns."""
        groups = itertools.groupby(column.group for column in self.columns)
        return [(group, len(list(members))) for group, members in groups]


def study_table(table: TableResult, results: StudyResults) -> Table:
    """Return a study's table with the costs of its arms; columns that would be empty are left out."""
    arms = {arm.id: arm for arm in results.arms}
    grouped = any(row.group for row in table.rows)
    columns = [Column("group", "part")] if grouped else []
    columns.append(Column("arm", "arm"))
    columns += [Column(metric, wording.metric_name(metric), "estimate") for metric in table.metrics]
    published = [m for m in table.metrics if any(m in row.published for row in table.rows)]
    columns += [Column(f"{m}_published", wording.metric_name(m), "published", PUBLISHED) for m in published]
    shown_arms = [] if grouped else [arms[row.arm] for row in table.rows if row.arm in arms]
    texts, costs = _text_columns(shown_arms, table.metrics), _cost_columns(shown_arms)
    rows = [(*_row(row, table.metrics, published, grouped), *_beside(arms.get(row.arm), texts, costs)) for row in table.rows]
    return Table(table.name, table.title, (*columns, *texts, *costs), tuple(rows), table.notes)


def figure_table(figure: FigureResult) -> Table:
    """Return a figure's numbers as a table."""
    published = any(point.published is not None for series in figure.series for point in series.points)
    y_label = wording.with_metrics(figure.y_label)
    columns = [
        Column("arm", "arm"),
        Column("x", figure.x_label),
        Column("y", y_label, "spread" if figure.kind == "layers" else "estimate"),
    ]
    columns += [Column("published", "published in the paper", "published")] if published else []
    write = formatting.duration if figure.kind == "pareto" else wording.plain
    rows: list[tuple[Cell, ...]] = []
    for series in figure.series:
        for point in series.points:
            x = wording.with_metrics(point.x) if isinstance(point.x, str) else write(point.x)
            rows.append((wording.with_metrics(series.label), x, point.y, *((point.published,) if published else ())))
    return Table(figure.name, figure.title, tuple(columns), tuple(rows))


def _text_columns(arms: Sequence[ArmResult], metrics: Sequence[str]) -> list[Column]:
    """Return columns on the length of the texts, which chrF++ and METEOR reward, for tables that do not show it."""
    columns = [Column("length_ratio", "length, %", "number", TEXTS)] if "length_ratio" not in metrics else []
    columns.append(Column("at_limit", "cut off, %", "number", TEXTS))
    return [column for column in columns if any(_of_texts(arm, column.key) is not None for arm in arms)]


def _of_texts(arm: ArmResult | None, key: str) -> float | None:
    """Return the length of an arm's texts in percent of the references', or the share that ends at the limit of new tokens."""
    if arm is None:
        return None
    if key == "at_limit":
        return None if arm.at_limit is None else 100 * arm.at_limit
    score = arm.scores.get(key)
    return None if score is None else score.value


def _cost_columns(arms: Sequence[ArmResult]) -> list[Column]:
    columns = [
        Column("trainable", "trainable", "count", COST),
        Column("seconds", "training", "duration", COST),
        Column("memory", "peak memory", "memory", COST),
    ]
    return [column for column in columns if any(getattr(arm, column.key) is not None for arm in arms)]


def _row(row: TableRow, metrics: Sequence[str], published: Sequence[str], grouped: bool) -> list[Cell]:
    cells: list[Cell] = [row.group] if grouped else []
    cells.append(row.label)
    cells += [row.cells.get(metric) for metric in metrics]
    return [*cells, *(row.published.get(metric) for metric in published)]


def _beside(arm: ArmResult | None, texts: Sequence[Column], costs: Sequence[Column]) -> list[Cell]:
    return [*(_of_texts(arm, column.key) for column in texts), *(getattr(arm, column.key, None) for column in costs)]


def shown(cell: Cell, column: Column) -> str:
    """Return a cell's text, not yet escaped for any format."""
    if cell is None:
        return ""
    if isinstance(cell, Interval):
        return f"{point(cell, column)} {ends(cell, column)}".rstrip()
    if isinstance(cell, str):
        return cell
    return _SHOWN.get(column.kind, formatting.number)(cell)


def point(cell: Interval, column: Column) -> str:
    """Return an estimate without its interval; a difference has its sign."""
    return formatting.signed(cell.value) if column.kind == "difference" else formatting.number(cell.value, _digits(column))


def ends(cell: Interval, column: Column) -> str:
    """Return an estimate's interval, or nothing."""
    return wording.interval(cell, _digits(column))


def _digits(column: Column) -> int:
    # Standard deviations over seeds are often below 1.
    return 2 if column.kind == "spread" else 1


# --- Markdown -------------------------------------------------------------------------------------------------------------------

_MARKDOWN = re.compile(r"([\\`*_\[\]|~$])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: no markup, no HTML, no end of a table's cell."""
    flat = " ".join(text.split())
    safe = _MARKDOWN.sub(r"\\\1", re.sub("[&<>]", lambda match: _HTML[match[0]], flat))
    # At the start of a line these would open a heading or a list.
    return re.sub(r"^([#+-]|\d+[.)])(?=\s|$)", lambda match: f"{match[0][:-1]}\\{match[0][-1]}", safe)


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """Return a Markdown table of texts that are not yet escaped; ``right`` says which columns are numbers."""
    aligned = ["---:" if flag else "---" for flag in itertools.islice(itertools.chain(right, itertools.repeat(False)), len(head))]
    lines = [[escape_markdown(title) for title in head], aligned, *([escape_markdown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_markdown(table: Table) -> str:
    """Return the table with its title and notes."""
    head = [f"{column.title} ({column.group})" if column.group == PUBLISHED else column.title for column in table.columns]
    body = [[shown(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    text = f"**{escape_markdown(table.title)}**\n\n" + markdown_rows(head, body, [c.kind != "text" for c in table.columns])
    return text + "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)


# --- CSV ------------------------------------------------------------------------------------------------------------------------


def to_csv(table: Table) -> str:
    """Return the table with unrounded numbers, an interval as two columns, and texts that spreadsheets do not run as formulas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in _csv_names(column)])
    for row in table.rows:
        writer.writerow([text for cell, column in zip(row, table.columns, strict=True) for text in _csv_cells(cell, column)])
    return out.getvalue()


def _csv_names(column: Column) -> list[str]:
    return [column.key, f"{column.key}_low", f"{column.key}_high"] if column.kind in _WITH_INTERVAL else [column.key]


def _csv_cells(cell: Cell, column: Column) -> list[str]:
    if column.kind in _WITH_INTERVAL:
        numbers = (cell.value, cell.low, cell.high) if isinstance(cell, Interval) else (None, None, None)
        return ["" if number is None else repr(round(number, 6)) for number in numbers]
    if isinstance(cell, str):
        # The csv module leaves a bare carriage return unquoted, and readers treat it as the end of a row.
        text = cell.replace("\r\n", "\n").replace("\r", "\n")
        # What OWASP names "CSV injection": a cell that begins so is run by spreadsheets; the quote makes it text.
        return [f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text]
    return ["" if cell is None else repr(round(cell, 6)) if isinstance(cell, float) else str(cell)]
