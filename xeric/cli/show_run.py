"""A run's results on the terminal: scores, trivial baselines, what its data lost, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, JustifyMethod

from xeric.cli.terminal import console, print_table
from xeric.formatting import duration, estimate, interval
from xeric.records import MANY_AT_LIMIT, Record, Score, length_share

__all__ = ["show_run"]


def show_run(record: Record, folder: Path, *, fresh: bool) -> None:
    """Print a run's results and its folder."""
    out = console()
    if not fresh:
        out.print(f"this run was done already; nothing was computed: {folder}", soft_wrap=True)
    if record.status != "ok":
        out.print(f"the run {record.status} at step {record.done_steps} of {record.planned_steps}: {folder}", soft_wrap=True)
        return
    _print_scores(out, record, folder)
    _print_data(out, record)
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


def _print_scores(out: Console, record: Record, folder: Path) -> None:
    """Print the run's scores, what its stages were trained on, and the trivial baselines."""
    from xeric.metrics.scoring import score_notes

    print_table(out, f"{record.method}, test scores with 95% intervals", *_scores_by_task(record))
    for note in score_notes(record.score_notes):
        out.print(note, soft_wrap=True, style="yellow", markup=False)
    for number, stage in enumerate(record.stages, 1):
        for name, data in stage.get("tasks", {}).items():
            out.print(f"stage {number}, {name}: {_data_line(data)}", soft_wrap=True)
        if "texts" in stage:
            out.print(f"stage {number}, text: {_texts_line(stage['texts'])}", soft_wrap=True)
    if record.baselines:
        from xeric.cli.show_texts import before_scores

        print_table(
            out, "beside the trivial baselines, which need no model", *_baseline_rows(record, before_scores(folder, record))
        )
    if below := _below_the_baselines(record):
        out.print(below, soft_wrap=True, style="yellow")


def _print_data(out: Console, record: Record) -> None:
    """Print each task's data, what was cut from its rows, and whether many of its texts were cut off."""
    for name, result in record.tasks.items():
        out.print(f"{name}: {_data_line(result.data)}", soft_wrap=True)
        for note in _cut_notes(record, name):
            out.print(f"{name}: {note}", soft_wrap=True, style="yellow")
        if (share := length_share([result])) is not None and share > MANY_AT_LIMIT:
            limit = record.resolved.get("decode.max_new_tokens")
            out.print(
                f"{name}: {share:.0%} of the texts end at the limit of {limit} new tokens (decode.max_new_tokens)", soft_wrap=True
            )


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
    from xeric.data.duplicates import merged_note

    sizes = ", ".join(f"{data[split]} {split}" for split in ("train", "dev", "test"))
    drops = data.get("drops") or {}
    dropped = f"; {sum(drops.values())} dropped ({', '.join(f'{n} {reason}' for reason, n in drops.items())})" if drops else ""
    merged = f"; {merged_note(data['merged'])}" if data.get("merged") else ""
    return f"{sizes} of {data['instances']} instances{dropped}{merged}"


def _texts_line(data: Mapping[str, Any]) -> str:
    out = {**data["drops"], "giving test outputs away": data["leaks_removed"], "over the cap": data["not_drawn"]}
    dropped = ", ".join(f"{n} {reason}" for reason, n in out.items() if n)
    used = f"{data['train']} train, {data['dev']} dev of {data['documents']} documents"
    return f"{used}; {data['rows']['train']} rows of {data['tokens']['train']:,} tokens" + (
        f"; not used: {dropped}" if dropped else ""
    )
