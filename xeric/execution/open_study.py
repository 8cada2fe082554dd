"""A study that is checked and whose folder is written: from here its runs are carried out, by this process or by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from xeric.bases.precision import resolve_device, resolve_precision
from xeric.data.preparing import Prepared
from xeric.errors import ConfigError
from xeric.execution.computing import LocalComputer
from xeric.execution.executor import RunExecutor
from xeric.execution.opening import check_settings, open_folder, own_data
from xeric.execution.study_runs import StudyRuns
from xeric.files import expanded
from xeric.locks import sweep
from xeric.metrics import METRICS
from xeric.progress import StudyProgress
from xeric.run.stage_store import StageStore
from xeric.studies.baselines import write_baselines
from xeric.studies.config import StudyConfig
from xeric.studies.folder import RunState, StudyFolder, remove_parts
from xeric.studies.paraphrases import no_longer_paraphrased
from xeric.studies.plan import Plan, load_study, plan_study

__all__ = ["OpenStudy", "StudyRun"]


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


@dataclass(frozen=True)
class OpenStudy:
    """A study that was checked and whose folder is written, ready for its runs to be carried out.

    Attributes:
        plan: its arms and runs.
        computer: computes runs in this process.
        executor: carries single runs out.
        runs: carries runs and the trials that they need out, in this process.
        progress: is told what happens.
    """

    plan: Plan
    computer: LocalComputer
    executor: RunExecutor
    runs: StudyRuns
    progress: StudyProgress

    @classmethod
    def of(
        cls,
        study: StudyConfig | str | Path,
        output: str | Path,
        *,
        overrides: Iterable[str] = (),
        check: Callable[[Plan], None] = lambda _: None,
        progress: StudyProgress,
        poll: float = 1.0,
        retry_before: int | None = None,
    ) -> OpenStudy:
        """Check a study, read its tasks, and write its folder; see :func:`run_study` and :class:`RunExecutor`.

        ``check`` refuses plans that cannot be carried out in the way asked for, before anything is written.
        """
        if not isinstance(study, StudyConfig):
            study, remarks = load_study(study, overrides)
            for remark in remarks:
                progress.note(remark)
        plan = plan_study(study)
        check(plan)
        for remark in check_settings(plan):
            progress.note(remark)
        folder, identity = open_folder(study, expanded(output), progress)
        computer = LocalComputer(StageStore(folder.stages_dir), progress)
        executor = RunExecutor(folder, computer, progress, poll=poll, retry_before=retry_before)
        progress.note(f"preparing {len(study.tasks)} tasks")
        data = own_data(plan, computer)
        if study.tuning and not any(task.dev for task in data.tasks):
            raise ConfigError(
                "there is no dev set to choose on", where="tuning", hint="it takes data.n_train of 50; or set tuning=null"
            )
        opened = cls(plan, computer, executor, StudyRuns(plan, folder, executor, progress), progress)
        opened._write(identity, data)
        return opened

    def _write(self, identity: str, data: Prepared) -> None:
        folder, study = self.executor.folder, self.plan.study
        with self.executor.alone("study"):
            remove_parts(folder.root)
            remove_parts(folder.baselines_dir, "*/*/.*.part")
            remove_parts(folder.baselines_dir)
            folder.write_study(study, identity)
            if study.run.get("precision", "auto") == "auto":
                # Settled once: it may differ from machine to machine, and methods must not.
                device = resolve_device(str(study.run.get("device", "auto")))
                self.executor.precision = folder.read_precision() or resolve_precision("auto", device)
                folder.write_precision(self.executor.precision)
            if study.baselines:
                write_baselines(folder, data, study.seeds, list(study.run.get("metrics", ())) or METRICS.names())
            self.runs.write_list()

    def finished(self) -> StudyRun:
        """Write down what tuning chose, delete the locks of dead processes, and return the study as it is now."""
        return self.executor.outages.outlast(self._finished)

    def _finished(self) -> StudyRun:
        folder, plan = self.executor.folder, self.plan
        if remark := no_longer_paraphrased(plan.study, folder, plan.runs):
            self.progress.note(remark)
        with self.executor.alone("study"):
            self.runs.write_list()
            states = {run.id: folder.state(run.id) for run in plan.runs}
        for locks in (folder.locks_dir, folder.stages_dir / "locks"):
            sweep(locks)
        return StudyRun(folder, plan, states)
