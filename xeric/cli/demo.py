"""``xeric demo``: the paper's study, small, on bundled tasks and named bases, with its report."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.options import path_option, quiet_libraries

if TYPE_CHECKING:
    from xeric.report import Written
    from xeric.report.examples import Example

__all__ = ["demo"]

_STUDY = "demo"
_LONGEST = 400
_MEANING = """\
Read this with care: one run per method, some forty examples per task, {tests} test instances per task. Differences
of a few points are noise at this size, so verdicts are "undecided", or "uninformative" where no method is shown to beat
what needs no model; `xeric study plan paper` shows the cost of a study that can decide."""
_NEXT = """\
Next, with a file of your own (CSV, TSV or JSON lines with an input and an output column):
  xeric adapt my.csv --definition "What to do, in one sentence." --for 30m -o out
  xeric generate out --input "..."
Every number, figure and text of this study:
  {page}"""


def demo(
    output: Annotated[Path, path_option("--output", "-o", help="Folder for the study and its report.")] = Path("demo-report"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting of the study by dotted path.")] = None,
) -> int:
    """The paper's study, small, on pretrained bases and bundled tasks, with its report."""
    from xeric.cli.study_progress import TerminalStudyProgress

    quiet_libraries()
    from xeric.api import run_study
    from xeric.report import write_report
    from xeric.report.examples import examples
    from xeric.report.reading import read_outputs
    from xeric.studies.plan import load_study

    study, remarks = load_study(_STUDY, overrides or [])
    with TerminalStudyProgress() as progress:
        for remark in remarks:
            progress.note(remark)
        done, _ = run_study(study, output, progress=progress)
    written = write_report(output)
    _show(written)
    for example in examples(written.results, read_outputs(output, written.results)):
        _show_example(example)
    typer.echo(_MEANING.format(tests=study.run.get("data", {}).get("max_test", "all")))
    typer.echo("\n" + _NEXT.format(page=written.files[0]))
    return 1 if done.with_status("failed", "diverged") else 0


def _show(written: Written) -> None:
    from xeric.cli.show import show_table
    from xeric.report.tables import study_table

    results = written.results
    for table in results.tables:
        typer.echo("")
        show_table(study_table(table, results))
    for claim in results.claims:
        typer.echo(f"{claim.verdict:13}  {' '.join(claim.sentence.split())}")
    typer.echo("")


def _show_example(example: Example) -> None:
    typer.echo(f"{example.language} ({example.task}, the median text of {example.after_label})")
    texts = {
        "input": example.input,
        "before": f"{example.before or '(nothing)'}  [{example.before_label}]",
        "after": f"{example.after or '(nothing)'}  [{example.after_label}]",
        "reference": example.reference,
    }
    for name, text in texts.items():
        short = text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ..."
        lines = [wrapped for line in short.splitlines() for wrapped in textwrap.wrap(line, 100) or [""]]
        typer.echo(f"  {name:10} " + "\n             ".join(lines))
    typer.echo("")
