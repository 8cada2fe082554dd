"""What ``xeric study plan`` shows before a study starts: its runs, which are done, cost, and the detectable difference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xeric.data.preparing import Prepared
from xeric.execution.computing import LocalComputer
from xeric.execution.cost_estimate import CostEstimate, estimate
from xeric.execution.executor import RunExecutor
from xeric.execution.opening import check_settings, open_folder, own_data
from xeric.execution.searches import Searches, all_searches
from xeric.execution.trials import Trials, tuned_pairs
from xeric.progress import StudyProgress
from xeric.run.stage_store import StageStore
from xeric.statistics.decisions import (
    ASSUMED_INSTANCE_SD,
    ASSUMED_SEED_SD,
    TASK_SEED_SD,
    assumed_instances,
    detectable_difference,
)
from xeric.studies.config import StudyConfig
from xeric.studies.folder import PlannedRun, RunState, StudyFolder
from xeric.studies.paraphrases import not_decoded, paraphrases_of
from xeric.studies.plan import Plan, plan_study
from xeric.studies.searching import PlannedSearch

__all__ = ["Preview", "estimated", "preview"]


@dataclass(frozen=True)
class Preview:
    """A study before it starts.

    Attributes:
        plan: its arms and runs.
        folder: its folder, which need not exist.
        states: what each run's folder holds, by run.
        tasks: instances for training, dev and test, by task.
        detectable: smallest difference of two arms, in points of the primary metric, that the study would find.
        searches: for definitions, still to be done.
        tunings: runs of tuning still to be done, by labels of base and method.
        data: the study's tasks, prepared.
        computer: that prepared them.
        estimate: what the remaining runs take; None until :func:`estimated` adds it.
    """

    plan: Plan
    folder: StudyFolder
    states: dict[str, RunState]
    tasks: dict[str, dict[str, int]]
    detectable: float
    tunings: dict[tuple[str, str], int]
    searches: tuple[PlannedSearch, ...]
    data: Prepared = field(repr=False)
    computer: LocalComputer = field(repr=False)
    estimate: CostEstimate | None = None

    @property
    def assumes(self) -> str:
        """The standard deviations that :attr:`detectable` assumes; a finished study estimates them from its scores."""
        one_seed = len(self.plan.study.seeds) == 1
        seeds = f"{ASSUMED_SEED_SD:g} between seeds" if one_seed else f"{TASK_SEED_SD:g} between seeds on a task"
        return f"standard deviations of {ASSUMED_INSTANCE_SD:g} points between test instances and {seeds}"

    @property
    def trials(self) -> int:
        """Runs of tuning still to be done."""
        return sum(self.tunings.values())

    def as_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        runs = [
            {"id": run.id, "arm": run.arm.id, "label": run.arm.label, "seed": run.seed, "tasks": list(run.tasks)}
            | {"key": run.arm.key.model_dump(mode="json"), "status": self.states[run.id].status}
            for run in self.plan.runs
        ]
        summary: dict[str, Any] = {"folder": str(self.folder.root), "runs": runs, "tasks": self.tasks, "trials": self.trials}
        summary["searches"] = [search.model_dump(mode="json", include={"base", "prompt", "task"}) for search in self.searches]
        if self.estimate is not None:
            arms = [
                {"key": arm.key.model_dump(mode="json"), "seconds": arm.seconds, "memory_bytes": arm.memory}
                | {"trainable": arm.trainable, "runs": arm.runs}
                for arm in self.estimate.arms
            ]
            phases = {"tuning_seconds": self.estimate.tuning, "stage_seconds": self.estimate.stages}
            phases |= {"paraphrase_seconds": self.estimate.paraphrases, "search_seconds": self.estimate.searches}
            total = {"seconds": self.estimate.seconds, "range_seconds": list(self.estimate.range)}
            summary["estimate"] = {**total, "memory_bytes": self.estimate.memory, **phases, "arms": arms}
        return summary | {"detectable_difference": self.detectable, "detectable_assumes": self.assumes}


def preview(study: StudyConfig, output: Path, *, progress: StudyProgress) -> Preview:
    """Return what a study would compute; nothing is written into its folder, and nothing is timed.

    Args:
        study: the study.
        output: its folder; it need not exist.
        progress: is told what happens.

    Raises:
        UserError: settings, tasks or bases cannot be used, or the folder holds another study.
    """
    plan = plan_study(study)
    for remark in check_settings(plan):
        progress.note(remark)
    folder, _ = open_folder(study, output)
    computer = LocalComputer(StageStore(folder.stages_dir), progress)
    progress.note(f"preparing {len(study.tasks)} tasks")
    data = own_data(plan, computer)
    states = {run.id: folder.state(run.id) for run in plan.runs}
    executor = RunExecutor(folder, computer, progress)
    trials, searches = Trials(plan, executor, lambda key, state: None), Searches(plan, executor, lambda key, seconds: None)
    return Preview(
        plan=plan,
        folder=folder,
        states=states,
        tasks={task.name: {split: len(getattr(task, split)) for split in ("train", "dev", "test")} for task in data.tasks},
        detectable=_detectable(study, data),
        tunings={(key.base, key.method): trials.runs(key) for key in tuned_pairs(plan)} if _todo(plan, states) else {},
        searches=tuple(search for search in all_searches(plan, _todo(plan, states)) if searches.is_open(search)),
        data=data,
        computer=computer,
    )


def estimated(preview: Preview, *, progress: StudyProgress) -> Preview:
    """Return a preview with the cost of the remaining runs: each base is opened and timed briefly.

    Raises:
        UserError: a run's settings do not fit its tasks or base.
    """
    plan, todo = preview.plan, _todo(preview.plan, preview.states)
    paraphrase_seconds = sum(_paraphrase_seconds(plan.study, preview.folder, run, preview.states[run.id]) for run in plan.runs)
    cost = estimate(
        plan,
        preview.computer,
        preview.data,
        todo,
        preview.tunings,
        progress,
        searches=preview.searches,
        paraphrases=paraphrase_seconds,
    )
    return replace(preview, estimate=cost)


def _todo(plan: Plan, states: dict[str, RunState]) -> list[PlannedRun]:
    return [run for run in plan.runs if states[run.id].record is None]


def _paraphrase_seconds(study: StudyConfig, folder: StudyFolder, run: PlannedRun, state: RunState) -> float:
    """Return the seconds that decoding a finished run under its missing paraphrases takes."""
    run_folder = folder.run_folder(run.id)
    if state.record is None or state.status != "ok" or not (run_folder / "adapter").is_dir():
        return 0.0
    return len(not_decoded(run_folder, paraphrases_of(study, run))) * float(state.record.cost.get("seconds", {}).get("test", 0.0))


def _detectable(study: StudyConfig, data: Prepared) -> float:
    seeds = len(study.seeds)
    # With one seed, verdicts cannot estimate the spread between seeds; they assume the same value for any number of tasks.
    seed_sd = ASSUMED_SEED_SD if seeds == 1 else TASK_SEED_SD / math.sqrt(len(data.tasks))
    instances = assumed_instances([max(len(task.test), 1) for task in data.tasks])
    return detectable_difference(seeds=seeds, instances=instances, seed_sd=seed_sd)
