"""A study's plan and its state as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from xeric.cli.show import console
from xeric.formatting import data_size, duration
from xeric.metrics import PRIMARY, quality_metrics

if TYPE_CHECKING:
    from xeric.execution.cost_estimate import CostEstimate
    from xeric.execution.preview import Preview
    from xeric.studies.folder import PlannedArm, PlannedRun
    from xeric.studies.status import StudyStatus

__all__ = ["show_estimate", "show_plan", "show_status"]


def show_plan(found: Preview) -> None:
    """Print the arms of a plan with their runs, and below what is done and what can be detected."""
    plan, out = found.plan, console()
    table = Table(title=f"{plan.study.title}: {len(plan.arms)} arms, {len(plan.runs)} runs", title_justify="left")
    table.add_column("arm", overflow="fold")
    table.add_column("runs by seed (+ done, ! failed, . to do)", overflow="fold")
    for arm in plan.arms:
        table.add_row(arm.label, _marks(_of_arm(plan.runs, arm), {name: one.status for name, one in found.states.items()}))
    out.print(table)
    sizes = [", ".join(f"{count} {part}" for part, count in task.items()) for task in found.tasks.values()]
    for name, size in zip(found.tasks, sizes, strict=True):
        out.print(f"{name}: {size}", soft_wrap=True)
    done = sum(state.record is not None for state in found.states.values())
    out.print(f"done: {done} of {len(plan.runs)} runs" + (f"; {found.trials} tuning trials to do" if found.trials else ""))
    points = f"about {found.detectable:.1f} points of {PRIMARY}"
    out.print(
        f"smallest difference between two arms that is found in 80% of such studies: {points}, if they show {found.assumes} "
        "(taken on the cautious side; the report goes by what the study shows)",
        soft_wrap=True,
    )


def show_estimate(found: Preview) -> None:
    """Print what each arm's runs take, and below all of them together with how sure that is."""
    assert found.estimate is not None
    labels, out = {arm.key: arm.label for arm in found.plan.arms}, console()
    table = Table(title="what is still to be done, by one process", title_justify="left")
    table.add_column("arm", overflow="fold")
    for heading in ("runs", "a run", "trainable", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in found.estimate.arms:
        row = str(arm.runs), duration(arm.seconds), f"{arm.trainable:,}", data_size(arm.memory)
        table.add_row(labels[arm.key], *row)
    if found.estimate.arms:
        out.print(table)
    out.print(_cost(found.estimate), soft_wrap=True)


def _cost(estimate: CostEstimate) -> str:
    parts = [f"{duration(estimate.tuning)} of it tuning"] if estimate.tuning else []
    parts += [f"{duration(estimate.stages)} of it stage 1"] if estimate.stages else []
    parts += [f"{duration(estimate.paraphrases)} of it decoding under other paraphrases"] if estimate.paraphrases else []
    inside = f" ({', '.join(parts)})" if parts else ""
    low, high = (duration(end) for end in estimate.range)
    return (
        f"all of it: about {duration(estimate.seconds)}{inside}, most likely between {low} and {high}, and up to "
        f"{data_size(estimate.memory)} of memory; derived from a short try of each base, early stopping not foreseen"
    )


def show_status(found: StudyStatus) -> None:
    """Print how far each arm is, with mean scores of what is done, and every failure."""
    out = console()
    counts = found.counts()
    scored = {metric for state in found.states.values() if state.record for metric in state.record.scores}
    shown = [metric for metric in quality_metrics() if metric in scored]
    table = Table(title=f"{counts['ok']} of {len(found.runs)} runs ok", title_justify="left")
    table.add_column("arm", overflow="fold")
    table.add_column("runs by seed", overflow="fold")
    for metric in shown:
        table.add_column(metric, justify="right", no_wrap=True)
    statuses = {run.id: found.status(run) for run in found.runs}
    for arm in dict.fromkeys(run.arm.id for run in found.runs):
        runs = [run for run in found.runs if run.arm.id == arm]
        records = [record for run in runs if (record := found.states[run.id].record) is not None and record.scores]
        means = [_mean(record.scores[metric].score for record in records if metric in record.scores) for metric in shown]
        table.add_row(runs[0].arm.label, _marks(runs, statuses), *means)
    out.print(table)
    out.print(_LEGEND)
    if found.trials:
        ended = sum(status != "missing" for status in found.trials.values())
        out.print(f"tuning: {found.tuned} methods done, {ended} trials in all")
    read, asked = found.paraphrases
    if asked:
        out.print(f"paraphrases of the definitions: test sets decoded {read} of {asked} times")
    for name, state in found.states.items():
        if state.failure is not None:
            out.print(f"failed: {name}: {state.failure.error}", soft_wrap=True)
            if state.failure.hint:
                out.print(f"  hint: {state.failure.hint}", soft_wrap=True)
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    out.print(f"runs: {text}; study folder: {found.folder.root}", soft_wrap=True)


_LEGEND = "by seed: + ok, ! failed, x diverged, > running, . to do"
_MARKS = {"ok": "+", "failed": "!", "diverged": "x", "running": ">", "missing": "."}


def _marks(runs: Iterable[PlannedRun], statuses: dict[str, str]) -> str:
    marks: dict[int, str] = {}
    for run in runs:
        marks[run.seed] = marks.get(run.seed, "") + _MARKS[statuses[run.id]]
    return " ".join(f"{seed}{found}" for seed, found in marks.items())


def _of_arm(runs: Sequence[PlannedRun], arm: PlannedArm) -> list[PlannedRun]:
    return [run for run in runs if run.arm.id == arm.id]


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{sum(found) / len(found):.1f}" if found else ""
