"""An estimate of a study's time and memory: each base is timed once, everything else is derived from operations.

Times are estimated rather too long: early stopping is not considered, and trained models often end their texts before the limit.
bench/plan_estimate.py measures how far derived times are from those of the runs (docs/concepts/estimates.md).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xeric.data.baselines import baseline_predictions
from xeric.data.preparing import Prepared
from xeric.data.texts import PreparedTexts
from xeric.errors import ConfigError
from xeric.execution.base_costs import BaseCosts
from xeric.execution.computing import LocalComputer
from xeric.execution.search_definition import search_settings
from xeric.execution.searches import Searches
from xeric.execution.workload import Counts, counts_of
from xeric.metrics import METRICS, score_predictions
from xeric.progress import StudyProgress
from xeric.run.config import RunConfig, run_config
from xeric.run.row_price import demonstrations_note
from xeric.run.stages import stage_data
from xeric.studies.config import ArmKey
from xeric.studies.folder import PlannedRun
from xeric.studies.paraphrases import paraphrases_of
from xeric.studies.plan import Plan, arm_settings, stage_settings
from xeric.studies.searching import PlannedSearch

__all__ = ["UNSURE", "ArmCost", "CostEstimate", "estimate"]

UNSURE = 1.5
"""The time is expected between the estimate divided by this factor and the estimate multiplied by it."""


@dataclass(frozen=True)
class ArmCost:
    """What a run of an arm takes.

    Attributes:
        key: the arm.
        seconds: of a run: training at full length, decoding of test and dev, scoring.
        memory: peak bytes of the process.
        trainable: parameters.
        runs: how many such runs are still to be done.
    """

    key: ArmKey
    seconds: float
    memory: int
    trainable: int
    runs: int


@dataclass(frozen=True)
class CostEstimate:
    """What the remaining runs of a study take, in one process.

    Attributes:
        arms: those with runs still to be done.
        tuning: seconds of the trials.
        stages: seconds of the stage-1 models.
        paraphrases: seconds of decoding under other paraphrases of the definitions.
        searches: seconds of the searches for definitions.
    """

    arms: tuple[ArmCost, ...]
    tuning: float
    stages: float
    paraphrases: float
    searches: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of everything."""
        runs = sum(arm.seconds * arm.runs for arm in self.arms)
        return runs + self.tuning + self.stages + self.paraphrases + self.searches

    @property
    def range(self) -> tuple[float, float]:
        """The bounds, in seconds, between which the time is expected."""
        return self.seconds / UNSURE, self.seconds * UNSURE

    @property
    def memory(self) -> int:
        """Peak bytes of the largest run."""
        return max((arm.memory for arm in self.arms), default=0)


def estimate(
    plan: Plan,
    computer: LocalComputer,
    data: Prepared,
    todo: Sequence[PlannedRun],
    trials: Mapping[tuple[str, str], int],
    progress: StudyProgress,
    *,
    searches: Sequence[PlannedSearch] = (),
    paraphrases: float = 0.0,
) -> CostEstimate:
    """Return what the remaining runs take.

    Args:
        plan: of the study.
        computer: opens bases and prepares tasks.
        data: the study's tasks, prepared as for its trained arms.
        todo: the runs.
        trials: runs of tuning still to be done, by labels of base and method.
        progress: is told what is timed.
        searches: still to be done, for definitions that these runs show.
        paraphrases: seconds of decoding finished runs under other paraphrases of the definitions.

    Raises:
        UserError: a run's settings do not fit its tasks or base.
    """
    work = _Estimating(plan, computer, data, todo, progress, searches)
    for label in dict.fromkeys(run.arm.key.base for run in todo):
        work.base(label)
    return CostEstimate(tuple(work.arms), work.tuning(trials), work.stages, paraphrases + work.paraphrases, work.searches)


class _Estimating:
    """The sums of :func:`estimate` while it goes through the bases."""

    def __init__(
        self,
        plan: Plan,
        computer: LocalComputer,
        data: Prepared,
        todo: Sequence[PlannedRun],
        progress: StudyProgress,
        searches: Sequence[PlannedSearch],
    ) -> None:
        self._study, self._computer, self._data, self._progress = plan.study, computer, data, progress
        self._runs: dict[str, list[PlannedRun]] = defaultdict(list)
        for run in todo:
            self._runs[run.arm.id].append(run)
        self._arms = [arm for arm in plan.arms if arm.id in self._runs]
        from_stage = any(arm.key.start == "stage-1" for arm in self._arms)
        self._stage = self._prepared_stage() if from_stage and not self._study.texts else None
        self.arms: list[ArmCost] = []
        self.stages = 0.0
        self.paraphrases = 0.0
        self.searches = 0.0
        self._to_search = searches
        self._trial: dict[tuple[str, str], float] = {}
        self._scoring: float | None = None

    def base(self, label: str) -> None:
        """Add the cost of all arms of one base."""
        arms = [arm for arm in self._arms if arm.key.base == label]
        configs = [run_config(arm_settings(self._study, arm.key, self._study.tasks))[0] for arm in arms]
        self._progress.note(f"opening {label}")
        costs = BaseCosts(self._computer.open_base(configs[0]), label, joint=self._study.joint, progress=self._progress)
        counts = [self._counts(arm.key, self._study.tasks) for arm in arms]
        costs.probe([(config, self._data, count) for config, count in zip(configs, counts, strict=True)])
        for arm, config in zip(arms, configs, strict=True):
            self._arm(costs, arm.key, config, self._runs[arm.id])
        for search in self._to_search:
            if search.base == label:
                config, _ = run_config(search_settings(self._study, search))
                counts_by_task = self._counts(Searches.arm(search), (search.task,))
                arguments = config, self._data, search.task, counts_by_task[search.task], search.options
                self.searches += costs.searching_seconds(*arguments)
        staged = [config for arm, config in zip(arms, configs, strict=True) if arm.key.start == "stage-1"]
        if staged and self._study.texts:
            texts = stage_data(staged[0].stages[0], staged[0], self._data)
            assert isinstance(texts, PreparedTexts)
            self.stages += costs.text_stage_seconds(staged[0], self._data, texts)
        elif self._stage is not None and staged:
            config, data = self._stage
            config = config.model_copy(update={"base": configs[0].base})
            every = {task.name: counts_of(task, None) for task in data.tasks}
            self.stages += costs.fitting_seconds(config, data, every)

    def _counts(self, key: ArmKey, tasks: Sequence[str]) -> dict[str, Counts]:
        return {task.name: counts_of(task, key.n_train) for task in self._data.tasks if task.name in tasks}

    def _arm(self, costs: BaseCosts, key: ArmKey, config: RunConfig, runs: Sequence[PlannedRun]) -> None:
        seconds = []
        for run in runs:
            counts = self._counts(key, run.tasks)
            dev, test = ({task: getattr(count, split) for task, count in counts.items()} for split in ("dev", "test"))
            trial = costs.fitting_seconds(config, self._data, counts) + costs.decoding_seconds(config, self._data, dev)
            decoding = costs.decoding_seconds(config, self._data, test)
            self.paraphrases += len(paraphrases_of(self._study, run)) * decoding
            seconds.append(trial + decoding + sum(test.values()) * self._scoring_seconds(config))
            if not key.untrained:
                self._trial.setdefault((key.base, key.method), trial)
        if config.prompt.retrieves and (note := demonstrations_note(list(costs.encoded(config, self._data).values()))):
            self._progress.note(f"{key.method} ({key.setting}): {note}")
        trainable, memory = costs.attached(config, self._data).trainable, costs.memory(config, self._data)
        self.arms.append(ArmCost(key, statistics.fmean(seconds), memory, trainable, len(runs)))

    def tuning(self, trials: Mapping[tuple[str, str], int]) -> float:
        """Return the seconds of the trials: training and decoding dev by the method, or their mean over methods."""
        if not self._trial:
            return 0.0
        mean = statistics.fmean(self._trial.values())
        return sum(runs * self._trial.get(pair, mean) for pair, runs in trials.items())

    def _prepared_stage(self) -> tuple[RunConfig, Prepared]:
        """Return the stage as a run of its own, and its tasks.

        Raises:
            ConfigError: a setting of the stage does not fit its tasks; ``where`` is its path in the study file.
        """
        study, label = self._study, self._arms[0].key.base
        stage = stage_settings(study, label)
        settings: dict[str, Any] = {key: stage[key] for key in ("method", "data", "prompt", "train") if key in stage}
        settings |= {key: study.run[key] for key in ("device", "precision") if key in study.run}
        settings |= {"tasks_dirs": list(study.tasks_dirs), "base": study.base_name(label)}
        self._progress.note(f"preparing {len(study.sources)} source tasks")
        try:
            config, _ = run_config({**settings, "tasks": stage["tasks"]})
            # What leaks out of so many texts changes the counts little, and is looked for at length.
            unchecked = config.model_copy(update={"data": config.data.model_copy(update={"leak_check": False})})
            return config, self._computer.prepared(unchecked)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"stage.{error.where}", hint=error.hint) from None

    def _scoring_seconds(self, config: RunConfig) -> float:
        """Return the seconds that scoring one text takes, measured on the first sentences of one task's test inputs."""
        if self._scoring is None:
            rows = baseline_predictions("first_sentences", replace(self._data, tasks=self._data.tasks[:1]), "test", 0)
            start = time.perf_counter()
            if rows:
                score_predictions(rows, config.metrics or METRICS.names())
            self._scoring = (time.perf_counter() - start) / max(len(rows), 1)
        return self._scoring
