"""``adapt``: reads the file, spends the time, writes the folder."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from xeric.adapt.base_choice import BaseChoice, OpenedBase
from xeric.adapt.card import model_card
from xeric.adapt.clock import Clock, Ticking
from xeric.adapt.curve import learning_curve, more_examples
from xeric.adapt.folder import AdaptFolder
from xeric.adapt.options import AdaptOptions
from xeric.adapt.outcome import Compared, Outcome, Use, compared_arms
from xeric.adapt.page import render
from xeric.adapt.planning import FEWEST_STEPS, Sizes, TimePlan, plan_in_words, plan_time, steps_of
from xeric.adapt.search import Search, SearchResult, chosen_on_dev, settings_label
from xeric.adapt.source import SourceOptions, read_source
from xeric.adapt.studies import BEST, final_study, search_study
from xeric.analysis.analyse import write_results
from xeric.analysis.recommend import judged
from xeric.analysis.results import Recommendation, StudyResults
from xeric.config import Config
from xeric.data.preparing import DataOptions, Prepared, prepare
from xeric.data.splits import MAX_TRAIN, TooFewInstancesError
from xeric.data.tasks import Task
from xeric.errors import DataError, RunError, UserError
from xeric.execution.run_study import run_study
from xeric.execution.workers import Workers, reached
from xeric.files import write_atomically
from xeric.formatting import duration
from xeric.json_io import write_json
from xeric.metrics import comparable_metrics, incomparable
from xeric.progress import Silent, StudyProgress
from xeric.record_io import read_record
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder

__all__ = ["adapt"]


def adapt(
    source: str,
    output: Path,
    *,
    source_options: SourceOptions | None = None,
    options: AdaptOptions | None = None,
    workers: Workers | None = None,
    progress: StudyProgress | None = None,
) -> Outcome:
    """Adapt a base to a file of examples within a time, and say what to use; a finished adaptation is returned as it is.

    Args:
        source: see :func:`xeric.adapt.source.read_source`.
        output: folder for what is found; an interrupted call goes on in it.
        source_options: what is known of the file; the rest is guessed.
        options: what the adaptation may take.
        workers: who carries out the runs of the final study; this process alone if not given. The search is this process's own.
        progress: is told what happens.

    Raises:
        UserError: file, base or settings cannot be used, or the folder holds something else.
        RunError: no training came to its end.
    """
    source_options, options, told = source_options or SourceOptions(), options or AdaptOptions(), progress or Silent()
    _check_metric(options.metric)
    guessed: list[str] = []

    def note(text: str) -> None:
        guessed.append(text)
        told.note(text)

    task = read_source(source, source_options, note)
    folder = AdaptFolder(output)
    with folder.occupied(told), reached(workers):
        settings = options.model_dump(mode="json", exclude={"device", "precision", "memory"})
        folder.begin(task, settings)
        if folder.result_file.is_file():
            return _read(Outcome, folder.result_file)
        clock = Clock(folder.clock_file, options.seconds)
        return _Adapting(task, folder, options, clock, Ticking(told, clock), tuple(guessed), workers).run()


def _check_metric(name: str) -> None:
    """Check that ways of answering can be compared on a metric, before any time is spent.

    Raises:
        UserError: there is no such metric, or no better one can be told by it.
    """
    if why := incomparable(name):
        raise UserError(f"names {name!r}, {why}", where="--metric", hint=f"take one of {', '.join(comparable_metrics())}")


class _Adapting:
    """One adaptation; the work of :func:`adapt`."""

    def __init__(
        self,
        task: Task,
        folder: AdaptFolder,
        options: AdaptOptions,
        clock: Clock,
        progress: Ticking,
        guessed: tuple[str, ...],
        workers: Workers | None,
    ) -> None:
        self._task, self._folder, self._options, self._clock, self._progress = task, folder, options, clock, progress
        self._guessed = guessed
        self._workers = (
            None if workers is None else replace(workers, progress=lambda number: Ticking(workers.progress(number), clock))
        )

    def run(self) -> Outcome:
        """Choose a base, plan, search, train the final study, and write the folder."""
        whole = _prepared(self._task)
        for remark in whole.notes:
            self._progress.note(remark)
        sizes = _sizes(whole)
        choice = BaseChoice(self._task, self._folder, self._options, self._clock, self._progress)
        opened = choice.open(whole, sizes.pool, self._planned_base())
        plan = self._plan(opened, sizes)
        data = {"max_test": plan.max_test, "dev_fraction": plan.dev_fraction}
        study = search_study(self._task, self._folder, opened.base.name, self._options, data)
        search = self._search(opened, study, plan)
        base, steps = opened.base.name, self._shortened(plan, sizes, opened.costs.step(search.best_trained))
        del opened
        gc.collect()  # the final study opens the base again
        results = self._final(study, search, plan, steps)
        recommendation = self._recommendation(search, results)
        outcome = self._outcome(base, search, results, recommendation)
        self._hand_over(outcome, results, recommendation.arm)
        return outcome

    # --- plan ---------------------------------------------------------------------------------------------------------------

    def _planned_base(self) -> str | None:
        """Return the base that an earlier start chose: with less time left, another might be chosen now."""
        return _read(TimePlan, self._folder.plan_file).base if self._folder.plan_file.is_file() else None

    def _plan(self, opened: OpenedBase, sizes: Sizes) -> TimePlan:
        """Return the plan, decided at the first start."""
        if self._folder.plan_file.is_file():
            return _read(TimePlan, self._folder.plan_file)
        seeds = self._options.seeds
        plan = plan_time(opened.base.name, self._clock.left, sizes, opened.candidates, opened.costs, seeds=seeds)
        write_json(self._folder.plan_file, plan)
        self._progress.note(f"plan: {plan_in_words(plan, len(opened.candidates))}; {duration(self._clock.left)} are left")
        return plan

    def _search(self, opened: OpenedBase, study: StudyConfig, plan: TimePlan) -> SearchResult:
        """Return what the search found: at an earlier start, where it came to its end, as the final study is of that."""
        if self._folder.search_file.is_file():
            return _read(SearchResult, self._folder.search_file)
        found = Search(
            self._folder.search_dir,
            opened.base,
            self._task,
            study,
            plan,
            opened.costs,
            self._clock,
            self._options.metric,
            self._progress,
        ).run(opened.candidates)
        write_json(self._folder.search_file, found)
        return found

    # --- final study --------------------------------------------------------------------------------------------------------

    def _shortened(self, plan: TimePlan, sizes: Sizes, step: float) -> int | None:
        """Return the steps of the final training, where there is less time left than was planned for it; else None."""
        left, planned = self._clock.left - plan.expected["test"], steps_of(plan, sizes.pool)
        step *= self._options.seeds
        if planned * step + plan.expected["curve"] <= max(left, 0.0):
            return None
        fitting = max(int(max(left, 0.0) / step), FEWEST_STEPS)
        return fitting if fitting < planned else None

    def _final(self, study: StudyConfig, search: SearchResult, plan: TimePlan, steps: int | None) -> StudyResults:
        folder = StudyFolder(self._folder.final_dir)
        if folder.study_file.is_file():
            final = folder.read_study()
        else:
            final = final_study(study, search.best_trained, plan, self._options, steps=steps)
            if steps is not None:
                self._progress.note(f"{duration(max(self._clock.left, 0.0))} are left: the final training has {steps} steps")
        done = run_study(final, folder.root, workers=self._workers, progress=self._progress)
        trained = [run.id for run in done.plan.runs if not run.arm.key.untrained and run.arm.key.n_train is None]
        if not set(trained) & set(done.with_status("ok")):
            raise RunError(
                f"the final training of {settings_label(search.best_trained)} did not come to its end",
                where=str(folder.root),
                hint="give the same command again; if that does not help, try a smaller base",
            )
        return write_results(folder.root)

    # --- outcome ------------------------------------------------------------------------------------------------------------

    def _outcome(self, base: str, search: SearchResult, results: StudyResults, recommendation: Recommendation) -> Outcome:
        metric = self._options.metric
        compared = compared_arms(results, settings_label(search.best_trained), metric)
        prompting = recommendation.arm in {arm.id for arm in results.arms if arm.key and arm.key.untrained}
        use: Use = "baseline" if not recommendation.recommended else "prompting" if prompting else "trained"
        return Outcome(
            task=self._task.name,
            definition=self._task.definition,
            language=self._task.language,
            base=base,
            metric=metric,
            use=use,
            choice=f"{recommendation.label} is {recommendation.reason}",
            **_verdict(use, recommendation, compared, base, metric, f"xeric generate {self._folder.root} {_asked(self._task)}"),
            tried=search.tried,
            untried=search.untried,
            compared=tuple(compared),
            examples=_examples(self._folder.final_dir, self._task.name),
            more=more_examples(learning_curve(self._folder.final_dir, results, metric), metric),
            guessed=self._guessed,
            seconds={"given": self._options.seconds, "total": round(self._clock.spent, 1)},
        )

    def _recommendation(self, search: SearchResult, results: StudyResults) -> Recommendation:
        """Return the choice that was made on dev, after comparing it with the trivial baselines on test."""
        label = settings_label(search.best_trained)
        whole = [arm for arm in results.arms if not (arm.key and arm.key.n_train is not None)]
        arms = {arm.key.setting if arm.key.untrained else BEST: arm for arm in whole if arm.key}
        if search.recommendation is not None:
            arm = arms[search.chosen if search.chosen in arms else BEST]
            return judged(search.recommendation.model_copy(update={"arm": arm.id}), whole)
        labels = {arm.id: label if name == BEST else name for name, arm in arms.items()}
        if (chosen := chosen_on_dev(self._folder.final_dir, results, labels, self._options.metric)) is not None:
            return judged(chosen, whole)
        return judged(
            Recommendation(
                arm=arms[BEST].id,
                label=label,
                best=arms[BEST].id,
                margin=1.0,
                metric=self._options.metric,
                reason="taken as the most promising, because there are too few examples to hold some out for choosing",
            ),
            whole,
        )

    def _hand_over(self, outcome: Outcome, results: StudyResults, recommended: str) -> None:
        """Copy the run that is to be used into the folder, and write card, page and result, the result last.

        Where a trivial baseline is the answer, the trained model is there all the same.
        """
        trained = next(arm.id for arm in results.arms if arm.key and arm.key.n_train is None and not arm.key.untrained)
        used = recommended if outcome.use == "prompting" else trained
        run = next(run for run in results.runs if run.arm == used and run.status == "ok")
        source = StudyFolder(self._folder.final_dir).run_folder(run.id)
        for path in sorted(source.iterdir()):
            target = self._folder.root / path.name
            if path.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(path, target)
            else:
                write_atomically(target, path.read_bytes())
        record = read_record(source)
        assert record is not None
        write_atomically(self._folder.card_file, model_card(outcome, record.fingerprint))
        write_atomically(self._folder.page_file, render(self._folder, outcome, results))
        write_json(self._folder.result_file, outcome)
        self._clock.tick(now=True)


_Read = TypeVar("_Read", bound=Config)


def _read(kind: type[_Read], path: Path) -> _Read:
    """Return what an earlier start wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DataError("was not written by this version", where=str(path), hint="delete it") from None


def _prepared(task: Task) -> Prepared:
    try:
        return prepare([task], DataOptions())
    except TooFewInstancesError as error:  # its hint is on settings of cleaning, of which there are none here
        hint = "add examples; those that are empty, repeated, garbled or in another script do not count"
        raise DataError(error.what, where=error.where, hint=hint) from None


def _sizes(data: Prepared) -> Sizes:
    """Return how many examples there are; what serves as demonstrations is trained on, too."""
    counts = data.tasks[0].counts
    return Sizes(min(counts["pool"], MAX_TRAIN), counts["test"])


def _asked(task: Task) -> str:
    """Return the options of `xeric generate` for an instance like those of a task."""
    pictured, told = any(i.picture for i in task.instances), any(i.input for i in task.instances)
    return " ".join(filter(None, ["--image FILE" if pictured else "", "--input TEXT" if told or not pictured else ""]))


def _verdict(
    use: str, recommendation: Recommendation, compared: list[Compared], base: str, metric: str, command: str
) -> dict[str, str]:
    if use == "baseline":
        best = next(row for row in compared if row.kind == "baseline")
        reason = "because nothing that was tried is shown to be better on test"
        return {"label": f"the trivial baseline {best.label!r}", "reason": reason}
    label = recommendation.label if use == "trained" else f"{recommendation.label} prompting"
    return {
        "label": f"{label} on {base}",
        "reason": recommendation.reason,
        "caution": recommendation.caution or "",
        "command": command,
    }


def _examples(final: Path, task: str) -> dict[str, Any]:
    """Return the counts of the data that the final training used."""
    folder = StudyFolder(final)
    run = next(run for run in folder.read_runs() if not run.arm.key.untrained and run.arm.key.n_train is None)
    record = folder.state(run.id).record
    assert record is not None
    return record.tasks[task].data
