"""Scores, tasks, checks of tasks and tables of a study on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import JustifyMethod

from xeric.cli.terminal import console, print_table
from xeric.formatting import interval, p_value, signed

if TYPE_CHECKING:
    from xeric.data.checking import TaskCheck
    from xeric.data.tasks import Task
    from xeric.report.tables import Table

__all__ = ["show_checks", "show_scores", "show_table", "show_task"]


def show_scores(result: Mapping[str, Mapping[str, Any]], *, signatures: bool = False) -> None:
    """Print scores, and comparisons where there are any.

    Args:
        result: by metric, as ``xeric score --json`` has it.
        signatures: print each metric's in full; otherwise what all have in common, on one line.
    """
    compared = any("against" in row for row in result.values())
    columns: list[tuple[str, JustifyMethod]] = [("metric", "left"), ("score", "right"), ("95% interval", "left")]
    if compared:
        columns += [
            ("against", "right"),
            ("difference", "right"),
            ("95% interval", "left"),
            ("p", "right"),
            ("p corrected", "right"),
            ("better", "left"),
        ]
    rows = []
    for metric, row in result.items():
        cells = [metric, "none" if row["score"] is None else f"{row['score']:.2f}", interval(row["low"], row["high"])]
        if other := row.get("against"):
            cells += [f"{other['b']:.2f}", signed(other["difference"], 2), interval(other["low"], other["high"])]
            cells += ["" if other[p] is None else p_value(other[p]) for p in ("p", "p_corrected")]
            cells.append(other["better"] or "neither")
        rows.append(cells)
    out = console()
    print_table(out, "", columns, rows)
    from xeric.metrics.scoring import score_notes

    for note in score_notes({metric: row["notes"] for metric, row in result.items() if "notes" in row}):
        out.print(note, soft_wrap=True, style="yellow", markup=False)
    signature_of = {metric: row["signature"] for metric, row in result.items() if "signature" in row}
    if signatures:
        for metric, signature in signature_of.items():
            out.print(f"{metric}: {signature}", soft_wrap=True, markup=False)
    elif signature_of:
        out.print(
            f"signatures: {_shared(list(signature_of.values()))} (each in full: --signatures)", soft_wrap=True, markup=False
        )


def _shared(signatures: Sequence[str]) -> str:
    """Return the choices that are the same in all signatures that make them, if several do."""
    by_name: dict[str, list[str]] = {}
    for signature in signatures:
        for choice in signature.split("|")[1:]:
            by_name.setdefault(choice.partition(":")[0], []).append(choice)
    shared = [choices[0] for choices in by_name.values() if len(set(choices)) == 1 and len(choices) >= min(2, len(signatures))]
    return "|".join(shared) or "nothing in common"


def show_task(task: Task, instances: int) -> None:
    """Print a task and its first instances."""
    out = console()
    languages = f"{', '.join(task.input_languages) or '?'} to {', '.join(task.output_languages) or '?'}"
    out.print(f"{task.name}: {len(task.instances)} instances, {languages}", style="bold")
    out.print(f"categories: {', '.join(task.categories) or 'none'}; licence: {', '.join(task.licenses) or 'not stated'}")
    out.print(f"\n{task.definition}")
    texts = [(f"example {n}", e.input, e.output) for n, e in enumerate(task.positive_examples[:2], 1)]
    texts += [(i.id, i.input, "\n  or: ".join(i.outputs)) for i in task.instances[:instances]]
    for name, x, y in texts:
        out.print(f"\n{name}", style="bold")
        out.print(f"input:  {x}\noutput: {y}", soft_wrap=True)


def show_checks(checks: Sequence[TaskCheck]) -> None:
    """Print the checks of tasks; drops, refusals and notes below the table."""
    from xeric.data.duplicates import merged_note

    columns: list[tuple[str, JustifyMethod]] = [("task", "left"), ("language", "left")]
    columns += [(name, "right") for name in ("instances", "kept", "clusters", "words in/out", "test", "n-train")]
    rows = []
    for check in checks:
        if not check.instances:
            rows.append([check.name, "refused"])
            continue
        lengths = f"{check.mean_words['input']:.0f}/{check.mean_words['output']:.0f}" if check.mean_words else ""
        numbers = [str(n) for n in (check.instances, check.kept, check.clusters)]
        rows.append([check.name, ", ".join(check.languages), *numbers, lengths, str(check.test), f"to {check.max_train}"])
    out = console()
    print_table(out, "", columns, rows)
    for check in checks:
        if check.drops:
            dropped = ", ".join(f"{count} {reason}" for reason, count in check.drops.items())
            out.print(f"{check.name}: dropped {dropped}", soft_wrap=True)
        if check.merged:
            out.print(f"{check.name}: {merged_note(check.merged)}", soft_wrap=True)
        for note in check.notes:
            out.print(f"{check.name}: {note}", soft_wrap=True)
        if check.error:
            out.print(f"refused: {check.error}", soft_wrap=True)
    refused = sum(not check.ok for check in checks)
    out.print(f"{len(checks) - refused} of {len(checks)} tasks can be used")


def show_table(table: Table) -> None:
    """Print a study's table, intervals below their values; published figures are in the report only."""
    from xeric.analysis.results import Interval
    from xeric.report.tables import ends, point, shown

    columns = [(index, column) for index, column in enumerate(table.columns) if column.kind != "published"]
    headings: list[tuple[str, JustifyMethod]] = [(c.title, "left" if c.kind == "text" else "right") for _, c in columns]
    rows = []
    for row in table.rows:
        cells = [(row[index], column) for index, column in columns]
        rows.append(
            [f"{point(c, column)}\n{ends(c, column)}" if isinstance(c, Interval) else shown(c, column) for c, column in cells]
        )
    out = console()
    print_table(out, table.title, headings, rows, keys=sum(column.kind == "text" for _, column in columns))
    for note in table.notes:
        out.print(note, soft_wrap=True)
