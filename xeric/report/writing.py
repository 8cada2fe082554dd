"""Writes a report into its study's folder, each file atomically."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xeric.analysis.results import StudyResults
from xeric.files import write_atomically
from xeric.report import standard_figures, standard_tables
from xeric.report.figures.drawing import draw
from xeric.report.instances import browser
from xeric.report.latex import to_latex
from xeric.report.markdown import report_markdown
from xeric.report.page import render_page
from xeric.report.reading import read_outputs, read_results
from xeric.report.searching import search_table
from xeric.report.tables import study_table, to_csv, to_markdown

__all__ = ["Written", "write_report"]


_EVERY_STUDY = (
    standard_tables.claims_table,
    standard_tables.part_table,
    standard_tables.baseline_table,
    standard_tables.tuning_table,
    standard_tables.trial_table,
    search_table,
    standard_tables.spread_table,
    standard_tables.failure_table,
)


@dataclass(frozen=True)
class Written:
    """The written report.

    Attributes:
        results: of the study.
        files: all paths; the page is the first.
        shown: test instances that the page holds.
        total: test instances of the study.
    """

    results: StudyResults
    files: tuple[Path, ...]
    shown: int
    total: int


def write_report(folder: Path) -> Written:
    """Write ``report.html``, ``report.md``, ``tables/`` and ``figures/`` of a study.

    The same results and predictions give the same bytes.

    Args:
        folder: of the study; its results are computed first where they are missing or older than its records.

    Raises:
        UserError: the folder holds no study.
        DataError: its results or predictions cannot be read.
    """
    results = read_results(folder)
    texts = browser(results, read_outputs(folder, results))
    tables = [study_table(table, results) for table in results.tables]
    figures = list(results.figures)
    if not any(figure.kind == "pareto" for figure in figures) and (cost := standard_figures.cost_figure(results)):
        figures.append(cost)
    figures += standard_figures.gate_figures(results)
    further = [table for table in (make(results) for make in _EVERY_STUDY) if table is not None]
    content: dict[Path, str] = {}
    names = _file_names(table.name for table in (*tables, *further))
    for name, table in zip(names, (*tables, *further), strict=True):
        for ending, write in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
            content[folder / "tables" / f"{name}.{ending}"] = write(table)
    drawn = [(figure, draw(figure)) for figure in figures]
    figure_paths = [f"figures/{name}.svg" for name in _file_names(figure.name for figure in figures)]
    content |= {folder / path: svg for path, (_, svg) in zip(figure_paths, drawn, strict=True)}
    markdown = report_markdown(results, tables, list(zip(figures, figure_paths, strict=True)))
    first = {folder / "report.html": render_page(results, tables, drawn, texts), folder / "report.md": markdown}
    for path, text in (first | content).items():
        write_atomically(path, text)
    return Written(results, tuple(first | content), texts.shown, texts.total)


def _file_names(names: Iterable[str]) -> list[str]:
    """Return a file name for each name of a study file, which may be any text; they differ even where case is ignored."""
    file_names: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-") or "unnamed"
        number = 1
        while (file_name := plain if number == 1 else f"{plain}-{number}") in file_names:
            number += 1
        file_names.append(file_name)
    return file_names
