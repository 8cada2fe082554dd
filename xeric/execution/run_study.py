"""Carries a study out: tuning, runs, trivial baselines. :mod:`xeric.analysis` makes the results afterwards.

Every run has a folder and an identity of its own, and is finished once its record exists. So a killed study resumes with its
unfinished runs, several processes can work on one folder (:mod:`xeric.run.locks`), and no run is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xeric.errors import ConfigError, RunError
from xeric.execution.eta import EtaEstimator, PendingRun
from xeric.execution.executor import RunExecutor
from xeric.execution.opening import check_settings, open_folder, own_data
from xeric.execution.trials import Trials, tuned_as, tuned_pairs
from xeric.files import expanded
from xeric.metrics import METRICS, PRIMARY
from xeric.progress import Silent, StudyProgress
from xeric.records import MANY_AT_LIMIT, Record, length_share
from xeric.run.locks import sweep
from xeric.studies.baselines import write_baselines
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import Failure, PlannedRun, RunState, StudyFolder, remove_parts
from xeric.studies.paraphrases import no_longer_paraphrased, paraphrases_of
from xeric.studies.plan import Plan, load_study, plan_study

__all__ = ["Shard", "StudyRun", "run_study"]

Shard = tuple[int, int]
"""Number (from 1) and count: the process takes one of every ``count`` runs."""


@dataclass(frozen=True)
class StudyRun:
    """A study after its runs were carried out.

    Attributes:
        folder: where it lies.
        plan: its arms and runs.
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
    """Carry a study out, or resume it.

    Args:
        study: the study, or what :func:`xeric.studies.plan.load_study` takes.
        output: its folder; made where it is missing.
        overrides: of a study that is given by name or file.
        shard: carry out a part of the runs only; the others are left to other processes and not waited for.
        progress: is told what happens.
        poll: seconds between attempts while other processes work on the last runs.

    Raises:
        UserError: settings, tasks or bases cannot be used, or the folder holds another study; nothing is written.
    """
    progress = progress or Silent()
    if not isinstance(study, StudyConfig):
        study, remarks = load_study(study, overrides)
        for remark in remarks:
            progress.note(remark)
    plan = plan_study(study)
    for remark in check_settings(plan):
        progress.note(remark)
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


def _summary(record: Record) -> str:
    """Return what a run's note says after its status: its score, and the share of texts cut off at the limit, if it is large."""
    score, share = record.scores.get(PRIMARY), length_share(record.tasks.values())
    score_text = f", {PRIMARY} {score.score:.1f}" if score else ""
    return score_text + (f"; {share:.0%} of its texts end at the limit of new tokens" if share and share > MANY_AT_LIMIT else "")


class _StudyRuns:
    """The runs of a study that this process carries out."""

    def __init__(self, plan: Plan, folder: StudyFolder, executor: RunExecutor, progress: StudyProgress) -> None:
        self._plan, self._folder, self._executor, self._progress = plan, folder, executor, progress
        self._trials = Trials(plan, executor, self._trial_finished)
        self._eta = EtaEstimator()
        self._done = 0
        self._pending: list[PendingRun] = []

    def write_list(self) -> None:
        """Write the list of runs with the settings that tuning has chosen so far."""
        runs = [run.model_copy(update={"settings": self._trials.chosen_so_far(run.arm.key)}) for run in self._plan.runs]
        self._folder.write_runs(runs)

    def carry_out(self, runs: Sequence[PlannedRun]) -> None:
        """Carry out runs and the trials that they need; wait for those that another process works on."""
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
        return key.base, tuned_as(self._plan.study, key)

    def _carry_out(self, run: PlannedRun) -> bool:
        """Carry out a run; return whether it is finished, by this process or another."""
        state_before = self._executor.state(self._folder.run_folder(run.id))
        state = self._execute(run)
        if state is None:
            return False
        if state_before is None and state.record is not None:
            self._progress.note(f"{run.id}: {state.status}{_summary(state.record)}")
        self._finished(self._pending_run(run), state)
        return True

    def _execute(self, run: PlannedRun) -> RunState | None:
        folder = self._folder.run_folder(run.id)
        try:
            # A finished run needs no settings, so its trials are not read.
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
