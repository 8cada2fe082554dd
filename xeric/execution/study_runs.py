"""The runs of a study that one process carries out, the trials that they need included."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xeric.errors import RunError
from xeric.execution.eta import EtaEstimator, PendingRun
from xeric.execution.executor import RunExecutor
from xeric.execution.searches import Searches, all_searches
from xeric.execution.trials import Trials, tuned_as, tuned_pairs
from xeric.metrics import PRIMARY
from xeric.progress import StudyProgress
from xeric.records import MANY_AT_LIMIT, Record, length_share
from xeric.studies.config import ArmKey
from xeric.studies.folder import Failure, PlannedRun, RunState, StudyFolder
from xeric.studies.paraphrases import paraphrases_of
from xeric.studies.plan import Plan
from xeric.studies.searching import PlannedSearch

__all__ = ["StudyRuns", "summary"]


def summary(record: Record) -> str:
    """Return what a run's note says after its status: its score, and the share of texts cut off at the limit, if it is large."""
    score, share = record.scores.get(PRIMARY), length_share(record.tasks.values())
    score_text = f", {PRIMARY} {score.score:.1f}" if score else ""
    return score_text + (f"; {share:.0%} of its texts end at the limit of new tokens" if share and share > MANY_AT_LIMIT else "")


class StudyRuns:
    """The runs of a study, as one process carries them out.

    Args:
        plan: of the study.
        folder: of the study.
        executor: carries single runs out.
        progress: is told what happens.
    """

    def __init__(self, plan: Plan, folder: StudyFolder, executor: RunExecutor, progress: StudyProgress) -> None:
        self._plan, self._folder, self._executor, self._progress = plan, folder, executor, progress
        self._trials = Trials(plan, executor, self._trial_finished)
        self._searches = Searches(plan, executor, self._search_finished)
        self._eta = EtaEstimator()
        self._done = 0
        self._pending: list[PendingRun] = []
        self._tunings: list[ArmKey] = []
        self._searching: list[PlannedSearch] = []
        self._unfinished: list[PlannedRun] = []
        self._processes = 1
        # What other processes work on now that runs need, as seen in this pass over the runs: many runs wait for the same.
        self._waited_for: set[tuple[str, ...] | None] = set()

    def write_list(self) -> None:
        """Write the list of runs with the settings that tuning has chosen and searches have found so far."""
        settings = [self._trials.chosen_so_far(run.arm.key) | self._searches.found_so_far(run) for run in self._plan.runs]
        runs = zip(self._plan.runs, settings, strict=True)
        self._folder.write_runs([run.model_copy(update={"settings": chosen}) for run, chosen in runs])

    def carry_out(self, runs: Sequence[PlannedRun], *, until_taken: bool = False) -> None:
        """Carry out runs, and the trials and searches that they need.

        Args:
            runs: in the order in which they are tried.
            until_taken: return as soon as other processes work on every run that is not finished; if not, wait for them.
        """
        outlast = self._executor.outages.outlast
        outlast(partial(self.expect, runs))
        remaining = list(runs)
        while remaining:
            self._waited_for.clear()
            busy = [run for run in remaining if not outlast(partial(self._carry_out, run))]
            if len(busy) == len(remaining):
                if until_taken and outlast(partial(self._all_taken, busy)):
                    return
                self._executor.wait()
            remaining = busy

    def _all_taken(self, runs: Sequence[PlannedRun]) -> bool:
        return all(self._executor.is_taken(self._folder.run_folder(run.id)) for run in runs)

    def expect(self, runs: Sequence[PlannedRun]) -> None:
        """Begin to count runs, which are to be carried out, and the trials and searches that they need."""
        needed = {self._tuned(run.arm.key) for run in runs} - {None}
        # Nobody carries out a search whose runs are all finished.
        open_runs = [run for run in runs if self._executor.state(self._folder.run_folder(run.id)) is None]
        self._searching = [search for search in all_searches(self._plan, open_runs) if self._searches.is_open(search)]
        self._tunings = [key for key in tuned_pairs(self._plan) if (key.base, key.method) in needed]
        self._pending = [PendingRun(key, kind="trial") for key in self._tunings for _ in range(self._trials.runs(key))]
        self._pending += [PendingRun(self._searches.arm(search), kind="search") for search in self._searching]
        self._pending += [self._pending_run(run) for run in runs]
        self._unfinished = list(runs)
        self._report_overall()

    def unfinished(self, *, processes: int = 1) -> list[Path]:
        """Return the folders of what is expected and not finished, in any process; the others count as finished.

        Args:
            processes: how many work on them now, for the time left.
        """
        self._processes = processes
        folders = [folder for key in self._tunings for folder in self._trials.unfinished(key)]
        folders += self._searches.unfinished(self._searching)
        # All of them are read before anything is counted: an outage in their midst must not lose one.
        states = [(run, folder := self._folder.run_folder(run.id), self._executor.state(folder)) for run in self._unfinished]
        self._unfinished = []
        for run, folder, state in states:
            if state is None:
                self._unfinished.append(run)
                folders.append(folder)
            else:
                self._finished(self._pending_run(run), state)
        return folders

    def complete(self) -> None:
        """See to it that every run has what a finished one has: paraphrases decoded, nothing left over."""
        for run in self._plan.runs:
            while self._executor.outages.outlast(partial(self._execute, run)) is None:
                self._executor.wait()

    def _pending_run(self, run: PlannedRun) -> PendingRun:
        return PendingRun(run.arm.key, len(paraphrases_of(self._plan.study, run)))

    def _tuned(self, key: ArmKey) -> tuple[str, str] | None:
        if self._plan.study.tuning is None or key.untrained:
            return None
        return key.base, tuned_as(self._plan.study, key)

    def _carry_out(self, run: PlannedRun) -> bool:
        """Carry out a run; return whether it is finished, by this process or another."""
        if self._waited_for & {self._tuned(run.arm.key), self._searched(run)}:
            return False
        state_before = self._executor.state(self._folder.run_folder(run.id))
        state = self._execute(run)
        if state is None:
            return False
        if state_before is None and state.record is not None:
            self._progress.note(f"{run.id}: {state.status}{summary(state.record)}")
        self._finished(self._pending_run(run), state)
        return True

    def _execute(self, run: PlannedRun) -> RunState | None:
        folder = self._folder.run_folder(run.id)
        try:
            # A finished run needs no settings, so its trials and searches are not read.
            chosen = self._chosen(run) if self._executor.state(folder) is None else {}
        except RunError as error:
            return self._executor.refuse(folder, Failure(error=str(error), hint=error.hint))
        if chosen is None:
            return None
        settings = self._plan.settings(run.model_copy(update={"settings": chosen}))
        study = self._plan.study
        paraphrases = paraphrases_of(study, run)
        return self._executor.run(folder, settings, keep_adapter=study.keep != "none", paraphrases=paraphrases)

    def _chosen(self, run: PlannedRun) -> dict[str, Any] | None:
        """Return what tuning chose and searches found for a run, carried out first; None while others work on that."""
        key = run.arm.key
        if (found := self._searches.found(run)) is None:
            self._waited_for.add(self._searched(run))
            return None
        if (chosen := self._trials.chosen(key)) is None:
            self._waited_for.add(self._tuned(key))
            return None
        return chosen | found

    def _searched(self, run: PlannedRun) -> tuple[str, ...] | None:
        """Return what a run's searches are waited for by; None where it needs none."""
        key = run.arm.key
        return ("search", key.base, key.prompt, *run.tasks) if self._plan.study.prompt_entry(key.prompt).search else None

    def _search_finished(self, key: ArmKey, seconds: float) -> None:
        if (search := PendingRun(key, kind="search")) in self._pending:
            self._eta.add_search(seconds)
            self._count(search)

    def _trial_finished(self, key: ArmKey, state: RunState) -> None:
        # Trials of a method whose result is written are not expected, and those that other processes finish are told of late.
        if (trial := PendingRun(key, kind="trial")) in self._pending:
            self._finished(trial, state)

    def _finished(self, run: PendingRun, state: RunState) -> None:
        self._eta.add(run.key, state)
        self._count(run)

    def _count(self, run: PendingRun) -> None:
        self._pending.remove(run)
        self._done += 1
        self._report_overall()

    def _report_overall(self) -> None:
        seconds = self._eta.seconds(self._pending)
        left = None if seconds is None else seconds / self._processes
        self._progress.overall(self._done, self._done + len(self._pending), left)
