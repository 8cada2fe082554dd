"""``xeric demo``: the paper's study, small, on bundled tasks and bases; its report is the end of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.options import quiet_libraries, worker_count

if TYPE_CHECKING:
    from xeric.report import Written

__all__ = ["demo"]

_STUDY = "demo"
_MEANING = """\
Read this with care: models of a few million parameters, a few dozen examples, {tests} test instances a task and one seed.
Differences of a few points are noise at this size, so most verdicts are "undecided", or "uninformative" where the beginning
of the input does as well; a study that decides has more of each (`xeric study plan paper` says how much)."""
_NEXT = """\
Next:
  open {page}
  xeric tasks import my.csv --name my_task --definition "..." --language Hindi -o tasks
  xeric train my_task --tasks-dir tasks --base FOLDER_OR_HUB_ID --method lora -o out
  xeric study run paper --set "tasks=[my_task]" --set "sources=[]" --set "bases=[FOLDER_OR_HUB_ID]" --tasks-dir tasks"""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the study and its report.")] = Path("demo-report"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting of the study by dotted path.")] = None,
) -> int:
    """The paper's study, small, on bundled tasks and bases, with its report."""
    from xeric.cli.study_progress import TerminalStudyProgress

    quiet_libraries()
    from xeric.report import write_report
    from xeric.studies.execute import run_study
    from xeric.studies.plan import load_study

    study, remarks = load_study(_STUDY, overrides or [])
    with TerminalStudyProgress() as progress:
        for remark in remarks:
            progress.note(remark)
        done = run_study(study, output, progress=progress, workers=worker_count())
    written = write_report(output)
    _show(written)
    typer.echo(_MEANING.format(tests=study.run.get("data", {}).get("max_test", "all")))
    typer.echo(_NEXT.format(page=written.files[0]))
    return 1 if done.cells("failed", "diverged") else 0


def _show(written: Written) -> None:
    from xeric.cli.show import show_sheet
    from xeric.report.tables import sheet

    results = written.results
    for table in results.tables:
        typer.echo("")
        show_sheet(sheet(table, results))
    for claim in results.claims:
        typer.echo(f"{claim.verdict:13}  {' '.join(claim.sentence.split())}")
    typer.echo("")
