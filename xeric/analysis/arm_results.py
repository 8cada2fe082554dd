"""The results of one arm: means with intervals over tasks, by language and by task, and what its runs cost."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xeric.analysis.claims import bounded
from xeric.analysis.comparison import Arms
from xeric.analysis.results import ArmResult, Interval
from xeric.data.baselines import baseline_label
from xeric.metrics.measuring import Measured
from xeric.records import MANY_AT_LIMIT, Record, TaskResult, length_share
from xeric.statistics.arrays import FloatArray
from xeric.studies.folder import PlannedArm

__all__ = ["Others", "adaptation_result", "baseline_result", "others_of_baseline", "others_of_records"]

Others = Mapping[str, Mapping[str, float]]
"""Scores without intervals by task and metric: of metrics that cannot be resampled, or that nothing in the study shows."""


def others_of_records(runs: Sequence[Sequence[Record]], metrics: Sequence[str]) -> Others:
    """Return further metrics of an arm, mean over runs; each run is one record or one per task."""
    if not runs:
        return {}
    by_run = [{task: result.scores for record in records for task, result in record.tasks.items()} for records in runs]
    return {
        task: {name: float(np.mean([run[task][name].score for run in by_run])) for name in metrics if _in_all(by_run, task, name)}
        for task in by_run[0]
    }


def _in_all(runs: Sequence[Mapping[str, Mapping[str, object]]], task: str, metric: str) -> bool:
    return all(metric in run.get(task, {}) for run in runs)


def others_of_baseline(by_seed: Mapping[int, Measured], metrics: Sequence[str]) -> Others:
    """Return further metrics of a trivial baseline, mean over its draws."""
    by_run = [{task: part.only(metrics).scores() for task, part in measured.by_task().items()} for measured in by_seed.values()]
    return {
        task: {name: float(np.mean([run[task][name] for run in by_run])) for name in metrics if name in by_run[0][task]}
        for task in by_run[0]
    }


def adaptation_result(
    arm: PlannedArm, arms: Arms | None, records: Mapping[int, Sequence[Record]], others: Others, beats: bool | None
) -> ArmResult:
    """Return the results of a planned arm; without scores where none of its runs is finished.

    Args:
        arm: as planned.
        arms: all arms, resampled together.
        records: of its finished runs by seed; one record, or one per task.
        others: further scores.
        beats: whether it is shown to beat every trivial baseline that gates.
    """
    scored = arms if arms is not None and arm.id in arms.arms else None
    runs = list(records.values())
    return ArmResult(
        id=arm.id,
        label=arm.label,
        key=arm.key,
        **(_scores(scored, arm.id, others) if scored else {}),
        seeds=len(scored.arms[arm.id].seeds) if scored else 0,
        trainable=max((record.parameters.get("trainable", 0) for run in runs for record in run), default=None),
        seconds=statistics.median(map(_training_seconds, runs)) if runs else None,
        memory=_mean([max(float(record.cost.get("peak_memory_bytes", 0)) for record in run) for run in runs]),
        template=next((record.resolved.get("prompt.template") for run in runs for record in run), None),
        at_limit=length_share(task for run in runs for record in run for task in record.tasks.values()),
        cut_tasks=_cut_tasks([record for run in runs for record in run]),
        beats_baselines=beats,
        learned_gates=_learned_gates([record for run in runs for record in run]),
    )


def _cut_tasks(records: Sequence[Record]) -> dict[str, float]:
    """Return the share of texts that end at the limit of new tokens, by task, where it is more than a tenth."""
    by_task: dict[str, list[TaskResult]] = defaultdict(list)
    for record in records:
        for task, result in record.tasks.items():
            by_task[task].append(result)
    shares = {task: length_share(results) for task, results in by_task.items()}
    return {task: share for task, share in shares.items() if share is not None and share > MANY_AT_LIMIT}


def _learned_gates(records: Sequence[Record]) -> dict[str, tuple[Interval, ...]]:
    """Return the gates of all runs of an arm, together."""
    gated = [record.gates for record in records if record.gates]
    return {
        part: tuple(
            Interval(
                value=float(np.mean([gate.mean for gate in gates])),
                low=min(gate.low for gate in gates),
                high=max(gate.high for gate in gates),
            )
            for gates in zip(*(by_part[part] for by_part in gated), strict=True)
        )
        for part in (gated[0] if gated else ())
    }


def baseline_result(name: str, arms: Arms, others: Others, *, gates: bool) -> ArmResult:
    """Return the results of a trivial baseline; ``gates`` says whether arms are compared with it."""
    label, seeds = baseline_label(name), len(arms.arms[name].seeds)
    return ArmResult(id=name, label=label, baseline=name, seeds=seeds, gates=gates, **_scores(arms, name, others))


def _scores(arms: Arms, name: str, others: Others) -> dict[str, Any]:
    languages = list(dict.fromkeys(stratum.language for stratum in arms.strata))
    tasks = {stratum.task: stratum.language for stratum in arms.strata}
    by_task = {task: values for task, values in others.items() if task in tasks}
    results: dict[str, Any] = {
        "scores": _means(arms, name, arms.weights(), list(by_task.values())),
        "languages": {
            language: _means(
                arms, name, arms.weights(language=language), [by_task[task] for task in by_task if tasks[task] == language]
            )
            for language in languages
        },
        "tasks": {
            task: _means(arms, name, arms.weights(task=task), [by_task[task]] if task in by_task else []) for task in tasks
        },
    }
    arm = arms.arms[name]
    if arm.random and len(arm.seeds) > 1:
        results["spread"] = {metric: float(arms.run_means(name, [metric]).std(ddof=1)) for metric in arms.metrics}
    return results


def _means(arms: Arms, name: str, weights: FloatArray, others: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    means: dict[str, Interval] = {
        metric: bounded(metric, arms.mean(name, [metric], weights)) for metric in arms.metrics if arms.says(metric, weights)
    }
    for metric in dict.fromkeys(metric for values in others for metric in values):
        if all(metric in values for values in others):
            means[metric] = Interval(value=float(np.mean([values[metric] for values in others])))
    return means


def _training_seconds(run: Sequence[Record]) -> float:
    """Return the seconds of a run's training and evaluations on dev, over all tasks; a stage that tasks share counts once."""
    stages = {stage: cost for record in run for stage, cost in record.cost.get("stages", {}).items()}
    parts = [*(record.cost for record in run), *stages.values()]
    return sum(float(part.get("seconds", {}).get(phase, 0.0)) for part in parts for phase in ("train", "dev"))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
