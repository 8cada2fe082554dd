"""Carries a study out: tuning, runs, trivial baselines. What it found is made afterwards, by :mod:`xeric.analysis`.

Every run has a folder and an identity of its own, and its record says that it is done. So a study that was killed goes on where
it was, several processes can work on one folder (:mod:`xeric.run.locks`), and what is done is never done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.bases.loading import base_identity
from xeric.config import build, digest
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared
from xeric.data.texts import TextOptions, texts_digest
from xeric.errors import ConfigError, DataError, RunError, UserError
from xeric.execution.eta import EtaEstimator, PendingRun
from xeric.execution.executor import RunExecutor
from xeric.execution.trials import Trials, trial_settings, tuned_pairs
from xeric.files import expanded, is_of_other_programs, writing
from xeric.metrics import METRICS, PRIMARY
from xeric.progress import Progress, Silent, StudyProgress
from xeric.records import MANY_AT_LIMIT, Record, length_share
from xeric.run.config import RunConfig, run_config
from xeric.run.locks import sweep
from xeric.studies.baselines import write_baselines
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import Failure, PlannedRun, RunState, StudyFolder, remove_parts
from xeric.studies.paraphrases import no_longer_paraphrased, paraphrases_of
from xeric.studies.plan import Plan, arm_settings, load_study, plan_study, study_identity, user_path

__all__ = ["Shard", "StudyRun", "check_settings", "identify", "open_folder", "own_data", "run_study"]

Shard = tuple[int, int]
"""Number (from 1 on) and count: of every ``count`` runs a process takes one."""


@dataclass(frozen=True)
class StudyRun:
    """What became of a study.

    Attributes:
        folder: where it lies.
        plan: what was asked for.
        states: what each run's folder holds, by run; all runs, also those of other shards.
    """

    folder: StudyFolder
    plan: Plan
    states: dict[str, RunState]

    def with_status(self, *statuses: str) -> list[str]:
        """Return the runs that have one of these statuses."""
        return [name for name, state in self.states.items() if state.status in statuses]


def run_study(
    study: StudyConfig | str | Path,
    output: str | Path,
    *,
    overrides: Iterable[str] = (),
    shard: Shard | None = None,
    progress: StudyProgress | None = None,
    poll: float = 1.0,
) -> StudyRun:
    """Carry a study out, or go on with it where it was.

    Args:
        study: the study, or what :func:`xeric.studies.plan.load_study` takes.
        output: its folder; made where it is missing.
        overrides: of a study that is given by name or file.
        shard: take a part of the runs only; the others are for other processes, and are not waited for.
        progress: is told what happens.
        poll: seconds between looks while other processes have the last runs.

    Raises:
        UserError: settings, tasks or bases are at fault, or the folder holds another study. Nothing was written then.
    """
    progress = progress or Silent()
    if not isinstance(study, StudyConfig):
        study, remarks = load_study(study, overrides)
        for remark in remarks:
            progress.note(remark)
    plan = plan_study(study)
    check_settings(plan)
    folder, identity = open_folder(study, expanded(output), progress)
    executor = RunExecutor(folder, progress, poll=poll)
    progress.note(f"preparing {len(study.tasks)} tasks")
    data = own_data(plan, executor)
    if study.tuning and not any(task.dev for task in data.tasks):
        raise ConfigError(
            "there is no dev set to choose on", where="tuning", hint="it takes data.n_train of 50; or set tuning=null"
        )
    runs = _StudyRuns(plan, folder, executor, progress)
    with executor.alone("study"):
        remove_parts(folder.root)
        remove_parts(folder.baselines_dir, "*/*/.*.part")
        remove_parts(folder.baselines_dir)
        folder.write_study(study, identity)
        if study.baselines:
            write_baselines(folder, data, study.seeds, list(study.run.get("metrics", ())) or METRICS.names())
        runs.write_list()
    runs.carry_out([run for number, run in enumerate(plan.runs) if shard is None or number % shard[1] == shard[0] - 1])
    if remark := no_longer_paraphrased(study, folder, plan.runs):
        progress.note(remark)
    with executor.alone("study"):
        runs.write_list()
        states = {run.id: folder.state(run.id) for run in plan.runs}
    for locks in (folder.locks_dir, folder.stages_dir / "locks"):
        sweep(locks)
    return StudyRun(folder, plan, states)


def check_settings(plan: Plan) -> None:
    """Check that every run of a study has valid settings, and that no two arms are the same under two names.

    Raises:
        UserError: one has not, or two are; ``where`` is the dotted path in the study file.
    """
    study = plan.study
    untrained: dict[str, str] = {}
    for arm in plan.arms:
        try:
            config, _ = run_config(arm_settings(study, arm.key, study.tasks))
        except ConfigError as error:
            raise user_path(study, arm.key, error) from None
        if config.method.name == "none":
            other = untrained.setdefault(_rows_mark(config), arm.label)
            if other != arm.label:
                both = f"the arms {other!r} and {arm.label!r} cannot differ: nothing is trained, and they show the same rows"
                raise ConfigError(both, where="grids", hint="leave one of them out")
    for key in tuned_pairs(plan):
        if study.tuning:
            trial_settings(study, key, study.tuning)
    for label in study.tuning.space if study.tuning else ():
        if label not in study.methods:
            raise ConfigError(
                f"names the unknown method {label!r}", where="tuning.space", hint="known: " + ", ".join(study.methods)
            )


def _rows_mark(config: RunConfig) -> str:
    """Return a mark of everything in a run's settings that decides its rows and what answers them, where nothing is trained."""
    prompt, count = config.prompt, config.prompt.demonstration_count
    layout: list[object] = [prompt.template, prompt.definition, count]
    layout += [prompt.demonstration_seed, prompt.demonstration_outputs] if count else []
    return digest([layout, config.model_dump(mode="json", include={"base", "stages", "data"})])


def identify(study: StudyConfig, progress: Progress | None = None) -> str:
    """Return the hash of what a study computes, contents of bases, tasks and texts included.

    Args:
        study: the study.
        progress: is told where a base is fetched first.

    Raises:
        UserError: a base, a task or a text is missing.
    """
    catalog = Catalog.of(study.tasks_dirs)
    contents: dict[str, Any] = {
        "bases": {label: base_identity(study.base_name(label), progress) for label in study.bases},
        "tasks": {name: _sha256(catalog.find(name)) for name in (*study.tasks, *study.sources)},
    }
    if study.texts:
        options = build(TextOptions, study.stage.get("corpus", {}), where="stage.corpus")
        contents["texts"] = texts_digest(study.texts, options)
    return study_identity(study, contents)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from None


def open_folder(study: StudyConfig, output: Path, progress: Progress | None = None) -> tuple[StudyFolder, str]:
    """Return a study's folder and identity; nothing is written into it.

    Args:
        study: the study.
        output: where the folder is.
        progress: is told where a base is fetched first.

    Raises:
        UserError: the folder holds another study, or something that is no study.
    """
    folder, identity = StudyFolder(output), identify(study, progress)
    elsewhere = "name another folder with -o"
    with writing(output):
        if output.exists() and not output.is_dir():
            raise UserError("is a file, not a folder", where=str(output), hint=elsewhere)
    there = folder.read_identity()
    if there is not None and there != identity:
        what = f"holds another study ({there}, this one is {identity}): its tasks, bases, methods or run settings differ"
        raise UserError(what, where=str(output), hint=elsewhere)
    if there is None and output.is_dir() and any(_counts(path.name) for path in output.iterdir()):
        raise UserError("is not empty and holds no study", where=str(output), hint=elsewhere)
    return folder, identity


def _counts(name: str) -> bool:
    """Say whether a file makes a folder one that is not empty."""
    return not name.endswith(".part") and not is_of_other_programs(name)


def own_data(plan: Plan, executor: RunExecutor) -> Prepared:
    """Return the study's tasks as its trained arms have them."""
    study = plan.study
    key = ArmKey(base=next(iter(study.bases)), method=next(iter(study.methods)))
    config, _ = run_config(arm_settings(study, key, study.tasks))
    return executor.prepared(config)


def _in_short(record: Record) -> str:
    """Return what a run's note adds to its status: its score, and how many of its texts were cut off, where that is many."""
    score, share = record.scores.get(PRIMARY), length_share(record.tasks.values())
    said = f", {PRIMARY} {score.score:.1f}" if score else ""
    return said + (f"; {share:.0%} of its texts end at the limit of new tokens" if share and share > MANY_AT_LIMIT else "")


class _StudyRuns:
    """The runs of a study that this process carries out."""

    def __init__(self, plan: Plan, folder: StudyFolder, executor: RunExecutor, progress: StudyProgress) -> None:
        self._plan, self._folder, self._executor, self._progress = plan, folder, executor, progress
        self._trials = Trials(plan, executor, self._trial_finished)
        self._eta = EtaEstimator()
        self._done = 0
        self._pending: list[PendingRun] = []

    def write_list(self) -> None:
        """Write the list of runs with what tuning has chosen so far."""
        runs = [run.model_copy(update={"settings": self._trials.known(run.arm.key)}) for run in self._plan.runs]
        self._folder.write_runs(runs)

    def carry_out(self, runs: Sequence[PlannedRun]) -> None:
        """Carry out runs and the trials that they need; wait for what another process is working on."""
        needed = {self._tuned(run.arm.key) for run in runs} - {None}
        pairs = [key for key in tuned_pairs(self._plan) if (key.base, key.method) in needed]
        self._pending = [PendingRun(key) for key in pairs for _ in range(self._trials.runs(key))]
        self._pending += [self._pending_run(run) for run in runs]
        self._report_overall()
        remaining = list(runs)
        while remaining:
            busy = [run for run in remaining if not self._carry_out(run)]
            if len(busy) == len(remaining):
                self._executor.wait()
            remaining = busy

    def _pending_run(self, run: PlannedRun) -> PendingRun:
        return PendingRun(run.arm.key, len(paraphrases_of(self._plan.study, run)))

    def _tuned(self, key: ArmKey) -> tuple[str, str] | None:
        if self._plan.study.tuning is None or key.untrained:
            return None
        return key.base, self._plan.study.own_entry(key.method).like or key.method

    def _carry_out(self, run: PlannedRun) -> bool:
        """Carry out a run; return whether it is done, by this process or another."""
        done_before = self._executor.state(self._folder.run_folder(run.id))
        state = self._execute(run)
        if state is None:
            return False
        if done_before is None and state.record is not None:
            self._progress.note(f"{run.id}: {state.status}{_in_short(state.record)}")
        self._finished(self._pending_run(run), state)
        return True

    def _execute(self, run: PlannedRun) -> RunState | None:
        folder = self._folder.run_folder(run.id)
        try:
            # A run that is done needs no settings any more, whatever has become of the trials.
            chosen = self._trials.chosen(run.arm.key) if self._executor.state(folder) is None else {}
        except RunError as error:
            return self._executor.refuse(folder, Failure(error=str(error), hint=error.hint))
        settings = self._plan.settings(run.model_copy(update={"settings": chosen}))
        study = self._plan.study
        paraphrases = paraphrases_of(study, run)
        return self._executor.run(folder, settings, keep_adapter=study.keep != "none", paraphrases=paraphrases)

    def _trial_finished(self, key: ArmKey, state: RunState) -> None:
        if PendingRun(key) in self._pending:
            self._finished(PendingRun(key), state)

    def _finished(self, run: PendingRun, state: RunState) -> None:
        self._eta.add(run.key, state)
        self._pending.remove(run)
        self._done += 1
        self._report_overall()

    def _report_overall(self) -> None:
        self._progress.overall(self._done, self._done + len(self._pending), self._eta.seconds(self._pending))
