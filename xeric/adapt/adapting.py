"""``adapt``: reads the file, spends the time, writes the folder."""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from xeric.adapt.card import model_card
from xeric.adapt.clock import Clock, Quiet, Ticking
from xeric.adapt.costs import MeasuredCosts
from xeric.adapt.curve import learning_curve, more_examples
from xeric.adapt.folder import AdaptFolder
from xeric.adapt.options import AdaptOptions
from xeric.adapt.outcome import Compared, Outcome, Use, compared_arms
from xeric.adapt.page import render
from xeric.adapt.planning import BATCH_SIZE, FEWEST_STEPS, CandidateSettings, Sizes, TimePlan, plan_time, steps_of
from xeric.adapt.search import Search, SearchResult, chosen_on_dev, settings_label
from xeric.adapt.source import SourceOptions, read_source
from xeric.adapt.studies import BEST, candidates, final_study, search_study
from xeric.analysis.analyse import write_results
from xeric.analysis.recommend import judged
from xeric.analysis.results import Recommendation, StudyResults
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.named import NAMED_BASES, NamedBase
from xeric.config import Config
from xeric.data.batching import steps_per_epoch
from xeric.data.preparing import DataOptions, Prepared, prepare
from xeric.data.splits import MAX_TRAIN
from xeric.data.tasks import Task
from xeric.errors import ConfigError, DataError, RunError
from xeric.execution.run_study import run_study
from xeric.execution.workers import Workers, reached
from xeric.files import write_atomically
from xeric.formatting import data_size, duration
from xeric.json_io import write_json
from xeric.languages import language_or_unknown
from xeric.metrics import METRICS
from xeric.progress import Silent, StudyProgress
from xeric.record_io import read_record
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.training.memory import available_memory, held_memory

__all__ = ["adapt"]

_ENOUGH_TIME = 0.3
"""Share of the time that a final training on a base may take, where a smaller base would do."""


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
    METRICS.check(options.metric)
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


@dataclass
class _Opened:
    """An open base with what was measured on it, and the study that names what may be tried."""

    base: Base
    study: StudyConfig
    costs: MeasuredCosts
    candidates: list[CandidateSettings]


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
        """Do all of it."""
        whole = prepare([self._task], DataOptions())
        for remark in whole.notes:
            self._progress.note(remark)
        sizes = _sizes(whole)
        opened = self._open(whole, sizes)
        plan = self._plan(opened, sizes)
        data = {"max_test": plan.max_test, "dev_fraction": plan.dev_fraction}
        study = search_study(self._task, self._folder, opened.base.name, self._options, data)
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
        base, steps = opened.base.name, self._shortened(plan, sizes, opened.costs.step(found.best_trained))
        del opened
        gc.collect()  # the final study opens the base again
        results = self._final(study, found, plan, steps)
        recommendation = self._recommendation(found, results)
        outcome = self._outcome(base, found, results, recommendation)
        self._hand_over(outcome, results, recommendation.arm)
        return outcome

    # --- base and plan ------------------------------------------------------------------------------------------------------

    def _open(self, whole: Prepared, sizes: Sizes) -> _Opened:
        """Return the base, opened and timed: the one that is named, or the largest known one that memory and time allow."""
        chosen = self._options.base or self._planned_base()
        names = [chosen] if chosen else _bases_for(self._task)
        for position, name in enumerate(names):
            opened = self._time(name, whole)
            last = position == len(names) - 1
            steps = steps_per_epoch(sizes.pool, BATCH_SIZE)
            seconds = steps * opened.costs.step(opened.candidates[0]) if opened.candidates else 0.0
            if opened.candidates and (last or seconds <= _ENOUGH_TIME * self._clock.left):
                if not chosen:
                    self._progress.note(f"base: {name}, chosen by language, memory and time (--base names another)")
                return opened
            if last:
                raise ConfigError(
                    f"no method fits into {data_size(self._memory(opened.base))} of memory on {name}",
                    where="--memory",
                    hint="allow more, or name a smaller base with --base",
                )
            self._progress.note(f"{name} would take {duration(seconds)} for an epoch: a smaller base is tried")
            del opened
            gc.collect()
        raise AssertionError("there is always a base")

    def _time(self, name: str, whole: Prepared) -> _Opened:
        base = load_base(name, device=self._options.device, precision=self._options.precision, progress=self._progress)
        study = search_study(self._task, self._folder, name, self._options, {})
        self._progress.note(f"timing {name} on rows like these")
        costs = MeasuredCosts(base, study, whole, Quiet(self._progress))
        refusals = {method: costs.refusal(method, self._memory(base)) for method in study.methods}
        for method, reason in refusals.items():
            if reason:
                self._progress.note(f"{method} is not tried: {reason}")
        kept = [candidate for candidate in candidates(study) if refusals[candidate.method] is None]
        return _Opened(base, study, costs, kept)

    def _memory(self, base: Base) -> int:
        """Return the bytes that a training may take in all, the open base included."""
        return self._options.memory or available_memory(base.device) + held_memory(base)

    def _planned_base(self) -> str | None:
        """Return the base that an earlier start chose: with less time left, another might be chosen now."""
        return _read(TimePlan, self._folder.plan_file).base if self._folder.plan_file.is_file() else None

    def _plan(self, opened: _Opened, sizes: Sizes) -> TimePlan:
        """Return the plan, decided at the first start."""
        if self._folder.plan_file.is_file():
            return _read(TimePlan, self._folder.plan_file)
        plan = plan_time(opened.base.name, self._clock.left, sizes, opened.candidates, opened.costs)
        write_json(self._folder.plan_file, plan)
        self._progress.note(f"plan: {_in_words(plan, len(opened.candidates))}; {duration(self._clock.left)} are left")
        return plan

    # --- final study --------------------------------------------------------------------------------------------------------

    def _shortened(self, plan: TimePlan, sizes: Sizes, step: float) -> int | None:
        """Return the steps of the final training, where there is less time left than was planned for it; else None."""
        left, planned = self._clock.left - plan.expected["test"], steps_of(plan, sizes.pool)
        if planned * step + plan.expected["curve"] <= max(left, 0.0):
            return None
        fitting = max(int(max(left, 0.0) / step), FEWEST_STEPS)
        return fitting if fitting < planned else None

    def _final(self, study: StudyConfig, found: SearchResult, plan: TimePlan, steps: int | None) -> StudyResults:
        folder = StudyFolder(self._folder.final_dir)
        if folder.study_file.is_file():
            final = folder.read_study()
        else:
            final = final_study(study, found.best_trained, plan, self._options, steps=steps)
            if steps is not None:
                self._progress.note(f"{duration(max(self._clock.left, 0.0))} are left: the final training has {steps} steps")
        done = run_study(final, folder.root, workers=self._workers, progress=self._progress)
        trained = [run.id for run in done.plan.runs if not run.arm.key.untrained and run.arm.key.n_train is None]
        if not set(trained) & set(done.with_status("ok")):
            raise RunError(
                f"the final training of {settings_label(found.best_trained)} did not come to its end",
                where=str(folder.root),
                hint="give the same command again; if that does not help, try a smaller base",
            )
        return write_results(folder.root)

    # --- outcome ------------------------------------------------------------------------------------------------------------

    def _outcome(self, base: str, found: SearchResult, results: StudyResults, recommendation: Recommendation) -> Outcome:
        metric = self._options.metric
        compared = compared_arms(results, settings_label(found.best_trained), metric)
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
            tried=found.tried,
            untried=found.untried,
            compared=tuple(compared),
            examples=_examples(self._folder.final_dir, self._task.name),
            more=more_examples(learning_curve(self._folder.final_dir, results, metric), metric),
            guessed=self._guessed,
            seconds={"given": self._options.seconds, "total": round(self._clock.spent, 1)},
        )

    def _recommendation(self, found: SearchResult, results: StudyResults) -> Recommendation:
        """Return the choice that was made on dev, after comparing it with the trivial baselines on test."""
        label = settings_label(found.best_trained)
        whole = [arm for arm in results.arms if not (arm.key and arm.key.n_train is not None)]
        arms = {arm.key.setting if arm.key.untrained else BEST: arm for arm in whole if arm.key}
        if found.recommendation is not None:
            arm = arms[found.chosen if found.chosen in arms else BEST]
            return judged(found.recommendation.model_copy(update={"arm": arm.id}), whole)
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
        write_atomically(self._folder.root / "README.md", model_card(outcome, record.fingerprint))
        write_atomically(self._folder.root / "report.html", render(self._folder, outcome, results))
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


def _in_words(plan: TimePlan, candidates: int) -> str:
    """Return a plan for people."""
    if plan.rungs:
        steps = ", then ".join(f"{rung.candidates} for {rung.steps} steps" for rung in plan.rungs)
        search = f"of {candidates} candidates, {steps}"
    elif plan.dev_fraction:
        search = "no time to try several settings, so the most promising ones are taken"
    else:
        search = "too few examples to hold some out for choosing, so the most promising settings are taken"
    final = f"{plan.max_steps} steps" if plan.epochs is None else "1 epoch" if plan.epochs == 1 else f"{plan.epochs} epochs"
    curve = f", a learning curve through {' and '.join(map(str, plan.curve))} examples" if plan.curve else ""
    return f"{search}; then a final training of {final}{curve}"


def _bases_for(task: Task) -> list[str]:
    """Return the known bases that are meant for the task's language, the largest first; for other languages those of many."""
    code = language_or_unknown(task.language).code.split("-")[0]
    known: list[NamedBase] = [NAMED_BASES.get(name) for name in NAMED_BASES.names()]
    fitting = [base for base in known if not base.languages or code in base.languages]
    return [base.name for base in sorted(fitting, key=lambda base: -base.size)]


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
        best = max((one for one in compared if one.kind == "baseline"), key=lambda one: one.scores[metric].value)
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
