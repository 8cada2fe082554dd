"""Carries tuning out: the trials of every method on every base, as runs that decode dev only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xeric.errors import ConfigError, DataError, RunError
from xeric.execution.executor import RunExecutor
from xeric.files import is_file, reading
from xeric.json_io import write_json
from xeric.methods import METHODS
from xeric.metrics import PRIMARY, Measured
from xeric.metrics.stored import has_results, measured
from xeric.records import PREDICTION_FILES
from xeric.run.config import RunConfig, run_config
from xeric.search_space import Range
from xeric.studies.config import ArmKey, StudyConfig, TuningConfig
from xeric.studies.folder import RunState, remove_parts
from xeric.studies.plan import Plan, arm_settings, with_chosen
from xeric.studies.tuning import Trial, TuningResult, choose, draw_trials, space_of

__all__ = ["Trials", "trial_settings", "tuned_as", "tuned_pairs"]


def tuned_pairs(plan: Plan) -> list[ArmKey]:
    """Return what has to be tuned, one key per base and method, in the order of the arms.

    Trials start from the base itself wherever an arm of their method does, whichever grid stands first: grids may be added
    between two calls, and the trials of one method are of one start.
    """
    study, pairs = plan.study, dict[tuple[str, str], ArmKey]()
    for arm in plan.arms if study.tuning else ():
        if not arm.key.untrained:
            method = tuned_as(study, arm.key)
            key = ArmKey(base=arm.key.base, method=method, start=arm.key.start)
            before = pairs.setdefault((key.base, key.method), key)
            if before.start != key.start:
                pairs[key.base, key.method] = ArmKey(base=key.base, method=key.method)
    return list(pairs.values())


def tuned_as(study: StudyConfig, key: ArmKey) -> str:
    """Return the label of the method whose trials choose an arm's settings."""
    return study.own_entry(key.method).like or key.method


class Trials:
    """The trials of a study, each carried out once.

    Args:
        plan: of the study.
        executor: carries single runs out.
        finished: is called when a run of a trial is done, with its key and the state of its folder.
    """

    def __init__(self, plan: Plan, executor: RunExecutor, finished: Callable[[ArmKey, RunState], None]) -> None:
        self._study, self._executor, self._finished = plan.study, executor, finished
        self._keys = {(key.base, key.method): key for key in tuned_pairs(plan)}
        self._results: dict[tuple[str, str], TuningResult | None] = {}
        self._drawn: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._told: set[Path] = set()

    def chosen(self, key: ArmKey) -> dict[str, Any] | None:
        """Return what tuning chose for an arm, by dotted path; empty where nothing is tuned.

        Trials that are not done and that no other process works on are carried out first. None while others work on some.

        Raises:
            RunError: no trial of the arm's method has a score.
        """
        if self._study.tuning is None or key.untrained:
            return {}
        pair = (key.base, tuned_as(self._study, key))
        if pair not in self._results:
            tuned = self._keys[pair]
            result = self._read(tuned)
            if result is None:
                if pair not in self._drawn:
                    self._drawn[pair] = trial_settings(self._study, tuned, self._study.tuning)
                drawn = self._drawn[pair]
                states = self._carry_out(tuned, self._study.tuning, drawn)
                if states is None:
                    return None
                result = self._choose(tuned, [_trial(settings, states[number]) for number, settings in enumerate(drawn)])
            self._results[pair] = result
        result = self._results[pair]
        if result is None:
            raise RunError(f"no trial of tuning {pair[1]!r} on {pair[0]!r} gave a score", hint="look into its failure.json files")
        return result.chosen

    def chosen_so_far(self, key: ArmKey) -> dict[str, Any]:
        """Return what tuning chose for an arm if its result is written already; nothing is computed."""
        if self._study.tuning is None or key.untrained:
            return {}
        result = self._read(self._keys[key.base, tuned_as(self._study, key)])
        return result.chosen if result else {}

    def runs(self, key: ArmKey) -> int:
        """Return the number of runs that tuning a method takes; 0 where its result is written already."""
        if self._study.tuning is None or self._read(key) is not None:
            return 0
        return self._study.tuning.trials * len(self._groups())

    def unfinished(self, key: ArmKey) -> list[Path]:
        """Return the folders of a method's trials that are not finished, in any process; those that are count as finished."""
        if self._study.tuning is None:
            return []
        unfinished = []
        for _, _, folder in self._trial_runs(key, self._study.tuning.trials):
            if folder not in self._told and (state := self._executor.state(folder)) is not None:
                self._tell(key, folder, state)
            elif folder not in self._told:
                unfinished.append(folder)
        return [] if self._read(key) else unfinished

    def _groups(self) -> list[tuple[str, ...]]:
        study = self._study
        return [study.tasks] if study.joint else [(task,) for task in study.tasks]

    def _read(self, key: ArmKey) -> TuningResult | None:
        path = self._executor.folder.tuning(key) / "tuning.json"
        with reading(path):
            content = path.read_bytes() if is_file(path) else None
        try:
            return None if content is None else TuningResult.model_validate_json(content)
        except ValidationError:
            raise DataError("not a tuning's result", where=str(path)) from None

    def _choose(self, key: ArmKey, trials: list[Trial]) -> TuningResult | None:
        """Write the result of a method's trials, and return it; None where no trial has a score."""
        folder = self._executor.folder.tuning(key)
        with self._executor.alone(self._executor.folder.lock_name(folder)):
            # Another process may have finished at the same time: the result that is written first is used by all.
            if (written := self._read(key)) is None and (written := choose(key.method, key.base, trials)) is not None:
                remove_parts(folder)
                write_json(folder / "tuning.json", written)
        return written

    def _carry_out(self, key: ArmKey, tuning: TuningConfig, drawn: list[dict[str, Any]]) -> list[dict[Path, RunState]] | None:
        """Carry out every run of every trial that no other process works on; None where others work on some."""
        study = self._study
        states: list[dict[Path, RunState]] = [{} for _ in drawn]
        busy = False
        for number, tasks, run_folder in self._trial_runs(key, len(drawn)):
            settings = arm_settings(study, key, tasks) | {"seed": tuning.seed, "predict": ["dev"]}
            state = self._executor.run(run_folder, with_chosen(settings, drawn[number]), keep_adapter=study.keep == "all")
            if state is None:
                busy = True
                continue
            states[number][run_folder] = state
            self._tell(key, run_folder, state)
        return None if busy else states

    def _trial_runs(self, key: ArmKey, trials: int) -> Iterator[tuple[int, tuple[str, ...], Path]]:
        """Yield the number, the tasks and the folder of every run of a method's trials."""
        folder = self._executor.folder.tuning(key)
        for number in range(trials):
            for tasks in self._groups():
                yield number, tasks, folder / (f"trial-{number}" + ("" if self._study.joint else f"-{tasks[0]}"))

    def _tell(self, key: ArmKey, folder: Path, state: RunState) -> None:
        if folder not in self._told:
            self._told.add(folder)
            self._finished(key, state)


def trial_settings(study: StudyConfig, key: ArmKey, tuning: TuningConfig) -> list[dict[str, Any]]:
    """Return the checked settings of each trial of a method, by dotted path.

    Raises:
        ConfigError: the space names a setting that the method does not have, or a value it cannot take.
    """
    config, _ = run_config(arm_settings(study, key, study.tasks))
    published = METHODS.get(config.method.name).space(config.method)
    space = space_of(key.method, study.entry(key.method), tuning, published)
    default = {path: _value(config, path, key.method) for path in space}
    # Every value that could be drawn is checked, not only those that are.
    for path, values in space.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            try:
                run_config(with_chosen(arm_settings(study, key, study.tasks), {path: value}))
            except ConfigError as error:
                raise ConfigError(error.what, where=f"tuning.space.{key.method}.{error.where}", hint=error.hint) from None
    return draw_trials(space, default, trials=tuning.trials, seed=tuning.seed)


def _value(config: RunConfig, path: str, label: str) -> Any:
    """Return the value that a setting has without tuning."""
    if path == "train.lr":
        return config.learning_rate
    node: Any = config.model_dump(mode="json")
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            raise ConfigError("there is no such setting", where=f"tuning.space.{label}.{path}", hint="write it as train.lr")
        node = node[key]
    return node


def _trial(settings: dict[str, Any], states: Mapping[Path, RunState]) -> Trial:
    seconds = sum(float(s) for state in states.values() if state.record for s in state.record.cost.get("seconds", {}).values())
    failures = [state.failure for state in states.values() if state.failure]
    diverged = any(state.status == "diverged" for state in states.values())
    status = "failed" if failures else "diverged" if diverged else "ok"
    score = _dev_score(list(states)) if status == "ok" else None
    error = failures[0].error if failures else None
    return Trial(settings=settings, status=status, score=score, error=error, cost={"seconds": seconds})


def _dev_score(folders: list[Path]) -> float:
    """Return the score of a trial's runs together; a task that is too small for a dev set has no part in it."""
    predictions = [folder / PREDICTION_FILES["dev"] for folder in folders]
    counted = [measured(path, [PRIMARY]) for path in predictions if has_results(path)]
    return Measured.joined(counted).scores()[PRIMARY]
