"""Results as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from xeric.formatting import duration, estimate, interval, p_value, signed
from xeric.records import MANY_AT_LIMIT, Record, Score, length_share

if TYPE_CHECKING:
    from xeric.data.checking import TaskCheck
    from xeric.data.tasks import Task
    from xeric.report.tables import Table as ReportTable

__all__ = ["console", "show_checks", "show_run", "show_scores", "show_table", "show_task"]


def console() -> Console:
    """Return the console for standard output: texts are shown unchanged, also with brackets and colons."""
    return Console(highlight=False, markup=False, emoji=False)


def show_run(record: Record, folder: Path, *, fresh: bool) -> None:
    """Print a run's results and its folder."""
    out = console()
    if not fresh:
        out.print(f"this run was done already; nothing was computed: {folder}", soft_wrap=True)
    if record.status != "ok":
        out.print(f"the run {record.status} at step {record.done_steps} of {record.planned_steps}: {folder}", soft_wrap=True)
        return
    tasks = list(record.tasks)
    _print_parted(out, f"{record.method}, test scores with 95% intervals", *_scores_by_task(record))
    from xeric.metrics.scoring import score_notes

    for note in score_notes(record.score_notes):
        out.print(note, soft_wrap=True, style="yellow", markup=False)
    for number, stage in enumerate(record.stages, 1):
        for name, data in stage.get("tasks", {}).items():
            out.print(f"stage {number}, {name}: {_data_line(data)}", soft_wrap=True)
        if "texts" in stage:
            out.print(f"stage {number}, text: {_texts_line(stage['texts'])}", soft_wrap=True)
    if record.baselines:
        from xeric.cli.show_texts import before_scores

        _print_parted(
            out, "beside the trivial baselines, which need no model", *_baseline_rows(record, before_scores(folder, record))
        )
    if below := _below_the_baselines(record):
        out.print(below, soft_wrap=True, style="yellow")
    for name in tasks:
        out.print(f"{name}: {_data_line(record.tasks[name].data)}", soft_wrap=True)
        for note in _cut_notes(record, name):
            out.print(f"{name}: {note}", soft_wrap=True, style="yellow")
        if (share := length_share([record.tasks[name]])) is not None and share > MANY_AT_LIMIT:
            limit = record.resolved.get("decode.max_new_tokens")
            out.print(
                f"{name}: {share:.0%} of the texts end at the limit of {limit} new tokens (decode.max_new_tokens)", soft_wrap=True
            )
    if len(record.task_weights) > 1:
        weights = ", ".join(f"{name} {value:.3f}" for name, value in record.task_weights.items())
        out.print(f"task weights: {weights}", soft_wrap=True)
    for part, line in _gate_lines(record).items():
        out.print(f"gates of {part}, by layer: {line}", soft_wrap=True)
    seconds = record.cost.get("seconds", {})
    out.print(
        f"steps {record.done_steps} of {record.planned_steps}"
        + (f", weights of step {record.best_step}" if record.best_step is not None else "")
        + f"; trained {record.parameters['trainable']:,} of {record.parameters['total']:,} parameters; "
        + ", ".join(f"{phase} {duration(value)}" for phase, value in seconds.items()),
        soft_wrap=True,
    )
    out.print(f"run folder: {folder}", soft_wrap=True)


def _gate_lines(record: Record) -> dict[str, str]:
    """Return the values of each part's gates, layer after layer; what most tokens have, where gates depend on them."""
    return {
        part: ", ".join(
            f"{gate.mean:.2f}" + (f" [{gate.low:.2f}, {gate.high:.2f}]" if gate.low != gate.high else "") for gate in gates
        )
        for part, gates in record.gates.items()
    }


def _cut_notes(record: Record, task: str) -> list[str]:
    """Return what truncation cut from a task's rows."""
    from xeric.data.rows import cut_note

    data, inputs = record.tasks[task].data, {"train": "training inputs", "dev": "dev inputs", "test": "test inputs"}
    cuts = {split: counts for split, counts in data.get("cuts", {}).items() if split in inputs}
    notes = [cut_note(counts, data[split], inputs[split], record.base["context"]) for split, counts in cuts.items()]
    return [note for note in notes if note]


def _scores_by_task(record: Record) -> tuple[list[tuple[str, JustifyMethod]], list[list[str]]]:
    """Return the columns and rows of a run's scores: one row per metric for a single task, one row per task for several."""
    if len(record.tasks) == 1:
        columns: list[tuple[str, JustifyMethod]] = [("metric", "left"), ("score", "right"), ("95% interval", "left")]
        return columns, [[metric, f"{s.score:.1f}", interval(s.low, s.high)] for metric, s in record.scores.items()]
    rows = {"mean over tasks": record.scores} | {name: result.scores for name, result in record.tasks.items()}
    columns = [("task", "left"), *((metric, "right") for metric in record.scores)]
    return columns, [
        [name, *(_with_interval(scores[metric]) if metric in scores else "none" for metric in record.scores)]
        for name, scores in rows.items()
    ]


def _baseline_rows(record: Record, before: Mapping[str, float]) -> tuple[list[tuple[str, JustifyMethod]], list[list[str]]]:
    """Return the columns and rows of the run's mean over tasks, of the base's before it and those of the trivial baselines."""
    from xeric.data.baselines import baseline_label

    metrics = list(dict.fromkeys(metric for baseline in record.baselines.values() for metric in baseline.scores))
    rows = {"this run": record.scores} | {baseline_label(name): baseline.scores for name, baseline in record.baselines.items()}
    columns: list[tuple[str, JustifyMethod]] = [("mean over tasks" if len(record.tasks) > 1 else "", "left")]
    columns += [(metric, "right") for metric in metrics]
    table = [
        [label, *(f"{scores[metric].score:.1f}" if metric in scores else "" for metric in metrics)]
        for label, scores in rows.items()
    ]
    if before:
        base = ["the base before, zero-shot", *(f"{before[metric]:.1f}" if metric in before else "" for metric in metrics)]
        table.insert(1, base)
    return columns, table


def _below_the_baselines(record: Record) -> str:
    """Return a remark where the run's score is below that of the best trivial baseline, else nothing."""
    from xeric.data.baselines import baseline_label
    from xeric.metrics import PRIMARY

    trivial = {
        name: scores[PRIMARY].score for name, baseline in record.baselines.items() if PRIMARY in (scores := baseline.scores)
    }
    if PRIMARY not in record.scores or not trivial:
        return ""
    run_score, best = record.scores[PRIMARY].score, max(trivial, key=lambda name: trivial[name])
    if run_score >= trivial[best]:
        return ""
    comparison = f"the {trivial[best]:.1f} of the best trivial baseline, {baseline_label(best)}, which needs no model"
    return f"{PRIMARY} {run_score:.1f}{' (mean over tasks)' if len(record.tasks) > 1 else ''} is below {comparison}"


def _with_interval(score: Score) -> str:
    return estimate(score.score, score.low, score.high)


def _data_line(data: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{data[split]} {split}" for split in ("train", "dev", "test"))
    drops = data.get("drops") or {}
    dropped = f"; {sum(drops.values())} dropped ({', '.join(f'{n} {reason}' for reason, n in drops.items())})" if drops else ""
    merged = f"; {_merged(data['merged'])}" if data.get("merged") else ""
    return f"{sizes} of {data['instances']} instances{dropped}{merged}"


def _merged(count: int) -> str:
    """Return what was done with instances that share their input with another."""
    return f"{count} with the input of another {'is' if count == 1 else 'are'} merged into it as references"


def _texts_line(data: Mapping[str, Any]) -> str:
    out = {**data["drops"], "giving test outputs away": data["leaks_removed"], "over the cap": data["not_drawn"]}
    dropped = ", ".join(f"{n} {reason}" for reason, n in out.items() if n)
    used = f"{data['train']} train, {data['dev']} dev of {data['documents']} documents"
    return f"{used}; {data['rows']['train']} rows of {data['tokens']['train']:,} tokens" + (
        f"; not used: {dropped}" if dropped else ""
    )


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
    _print_parted(out, "", columns, rows)
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
    _print_parted(out, "", columns, rows)
    for check in checks:
        if check.drops:
            dropped = ", ".join(f"{count} {reason}" for reason, count in check.drops.items())
            out.print(f"{check.name}: dropped {dropped}", soft_wrap=True)
        if check.merged:
            out.print(f"{check.name}: {_merged(check.merged)}", soft_wrap=True)
        for note in check.notes:
            out.print(f"{check.name}: {note}", soft_wrap=True)
        if check.error:
            out.print(f"refused: {check.error}", soft_wrap=True)
    refused = sum(not check.ok for check in checks)
    out.print(f"{len(checks) - refused} of {len(checks)} tasks can be used")


def show_table(table: ReportTable) -> None:
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
    _print_parted(out, table.title, headings, rows, keys=sum(column.kind == "text" for _, column in columns))
    for note in table.notes:
        out.print(note, soft_wrap=True)


def _print_parted(
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
