"""``xeric report``: tables, figures and a page of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.options import AsJson, path_argument, print_json

if TYPE_CHECKING:
    from xeric.report.writing import Written

__all__ = ["report", "show_written"]


def report(
    folder: Annotated[Path, path_argument(metavar="DIR", help="Folder of a study.")],
    as_json: AsJson = False,
) -> None:
    """Write a study's report: report.html, report.md, tables and figures; no model is needed."""
    from xeric.report import write_report

    written = write_report(folder)
    if as_json:
        print_json({"files": [str(path) for path in written.files], "shown": written.shown, "instances": written.total})
        return
    show_written(written)


def show_written(written: Written) -> None:
    """Print the verdicts of a report and its path."""
    for claim in written.results.claims:
        typer.echo(f"{claim.verdict:13}  {' '.join(claim.sentence.split())}")
    page_limit = f" (the page holds {written.shown} of {written.total} test instances)" if written.shown < written.total else ""
    typer.echo(f"{written.files[0]}{page_limit}")
    typer.echo(f"{written.files[1]}, {len(written.files) - 2} files in tables/ and figures/")
