"""A study's plan and its state as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from xeric.cli.terminal import console
from xeric.formatting import data_size, duration
from xeric.metrics import PRIMARY, quality_metrics

if TYPE_CHECKING:
    from xeric.execution.cost_estimate import CostEstimate
    from xeric.execution.preview import Preview
    from xeric.studies.folder import PlannedArm, PlannedRun
    from xeric.studies.status import StudyStatus

__all__ = ["show_estimate", "show_plan", "show_status"]


def show_plan(preview: Preview) -> None:
    """Print the arms of a plan with their runs; below, the finished runs and the detectable difference."""
    plan, out = preview.plan, console()
    table = Table(title=f"{plan.study.title}: {len(plan.arms)} arms, {len(plan.runs)} runs", title_justify="left")
    table.add_column("arm", overflow="fold")
    table.add_column("runs by seed (+ done, ! failed, . to do)", overflow="fold")
    for arm in plan.arms:
        table.add_row(arm.label, _marks(_of_arm(plan.runs, arm), {name: state.status for name, state in preview.states.items()}))
    out.print(table)
    sizes = [", ".join(f"{count} {split}" for split, count in task.items()) for task in preview.tasks.values()]
    for name, size in zip(preview.tasks, sizes, strict=True):
        out.print(f"{name}: {size}", soft_wrap=True)
    done = sum(state.record is not None for state in preview.states.values())
    todo = f"; {preview.trials} tuning trials to do" if preview.trials else ""
    todo += f"; {len(preview.searches)} searches for definitions to do" if preview.searches else ""
    out.print(f"done: {done} of {len(plan.runs)} runs{todo}")
    points = f"about {preview.detectable:.1f} points of {PRIMARY}"
    out.print(
        f"smallest difference between two arms that is found in 80% of such studies: {points}, if they show {preview.assumes} "
        "(taken on the cautious side; the report goes by what the study shows)",
        soft_wrap=True,
    )


def show_estimate(preview: Preview) -> None:
    """Print the cost of each arm's runs; below, the total with its range."""
    assert preview.estimate is not None
    labels, out = {arm.key: arm.label for arm in preview.plan.arms}, console()
    table = Table(title="what is still to be done, by one process", title_justify="left")
    table.add_column("arm", overflow="fold")
    for heading in ("runs", "per run", "trainable", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in preview.estimate.arms:
        row = str(arm.runs), duration(arm.seconds), f"{arm.trainable:,}", data_size(arm.memory)
        table.add_row(labels[arm.key], *row)
    if preview.estimate.arms:
        out.print(table)
    out.print(_cost(preview.estimate), soft_wrap=True)


def _cost(estimate: CostEstimate) -> str:
    shares = [f"{duration(estimate.tuning)} of it tuning"] if estimate.tuning else []
    shares += [f"{duration(estimate.searches)} of it searching definitions"] if estimate.searches else []
    shares += [f"{duration(estimate.stages)} of it stage 1"] if estimate.stages else []
    shares += [f"{duration(estimate.paraphrases)} of it decoding under other paraphrases"] if estimate.paraphrases else []
    breakdown = f" ({', '.join(shares)})" if shares else ""
    low, high = (duration(end) for end in estimate.range)
    return (
        f"all of it: about {duration(estimate.seconds)}{breakdown}, most likely between {low} and {high}, and up to "
        f"{data_size(estimate.memory)} of memory; derived from a short try of each base, early stopping not foreseen"
    )


def show_status(study: StudyStatus) -> None:
    """Print each arm's progress, the mean scores of its finished runs, and every failure."""
    out = console()
    counts = study.counts()
    metrics = [
        metric for metric in quality_metrics() if any(s.record and metric in s.record.scores for s in study.states.values())
    ]
    table = Table(title=f"{counts['ok']} of {len(study.runs)} runs ok", title_justify="left")
    table.add_column("arm", overflow="fold")
    table.add_column("runs by seed", overflow="fold")
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    statuses = {run.id: study.status(run) for run in study.runs}
    for arm in dict.fromkeys(run.arm.id for run in study.runs):
        runs = [run for run in study.runs if run.arm.id == arm]
        records = [record for run in runs if (record := study.states[run.id].record) is not None and record.scores]
        means = [_mean(record.scores[metric].score for record in records if metric in record.scores) for metric in metrics]
        table.add_row(runs[0].arm.label, _marks(runs, statuses), *means)
    out.print(table)
    out.print(_LEGEND)
    if study.trials:
        ended = sum(status != "missing" for status in study.trials.values())
        out.print(f"tuning: {study.tuned} methods done, {ended} trials in all")
    searched, planned = study.searches
    if planned:
        out.print(f"definitions searched for: {searched} of {planned}")
    decoded, planned = study.paraphrases
    if planned:
        out.print(f"paraphrases of the definitions: test sets decoded {decoded} of {planned} times")
    for name, state in study.states.items():
        if state.failure is not None:
            out.print(f"failed: {name}: {state.failure.error}", soft_wrap=True)
            if state.failure.hint:
                out.print(f"  hint: {state.failure.hint}", soft_wrap=True)
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    out.print(f"runs: {text}; study folder: {study.folder.root}", soft_wrap=True)


_LEGEND = "by seed: + ok, ! failed, x diverged, > running, . to do"
_MARKS = {"ok": "+", "failed": "!", "diverged": "x", "running": ">", "missing": "."}


def _marks(runs: Iterable[PlannedRun], statuses: dict[str, str]) -> str:
    marks: dict[int, str] = {}
    for run in runs:
        marks[run.seed] = marks.get(run.seed, "") + _MARKS[statuses[run.id]]
    return " ".join(f"{seed}{signs}" for seed, signs in marks.items())


def _of_arm(runs: Sequence[PlannedRun], arm: PlannedArm) -> list[PlannedRun]:
    return [run for run in runs if run.arm.id == arm.id]


def _mean(values: Iterable[float]) -> str:
    numbers = list(values)
    return f"{sum(numbers) / len(numbers):.1f}" if numbers else ""
