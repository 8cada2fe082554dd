"""The search: prompting and candidates on dev, by successive halving, until the time for it is spent."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.adapt.clock import Clock, Quiet
from xeric.adapt.costs import MeasuredCosts
from xeric.adapt.planning import KEEP, CandidateSettings, TimePlan
from xeric.adapt.studies import PROMPTING, candidate_run, prompting_run
from xeric.analysis.recommend import Candidate, recommend
from xeric.analysis.results import Recommendation, StudyResults
from xeric.bases.base import Base
from xeric.config import Config
from xeric.data.preparing import Prepared, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.tasks import Task
from xeric.errors import XericError
from xeric.metrics import METRICS, Measured
from xeric.metrics.stored import has_results, measured
from xeric.progress import StudyProgress
from xeric.records import PREDICTION_FILES, Record
from xeric.run.config import run_config
from xeric.run.execute import execute
from xeric.run.folder import ADAPTER
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder

__all__ = ["Search", "SearchResult", "Tried", "chosen_on_dev", "settings_label"]

_NAMES = {
    "lora": "LoRA",
    "full": "full fine-tuning",
    "bottleneck": "bottleneck adapters",
    "prefix": "prefix",
    "combined": "combined",
    "pictures": "LoRA with pictures",
}
_SHORT = {"train.lr": "learning rate"}


class Tried(Config):
    """What was tried.

    Attributes:
        id: of the candidate, or the prompting setting.
        label: for people.
        steps: of its longest training; 0 where nothing is trained.
        score: on dev; None where it failed.
        seconds: it took, all rounds together.
        trainable: parameters.
        note: why it has no score, or went no further.
    """

    id: str
    label: str
    steps: int = 0
    score: float | None = None
    seconds: float = 0.0
    trainable: int = 0
    note: str = ""


class SearchResult(Config):
    """What the search found.

    Attributes:
        tried: in the order of trying.
        untried: how many candidates there was no time for.
        chosen: id of the choice: a candidate's, or a prompting setting; None where nothing was searched.
        best_trained: the best candidate; the most promising one where none was tried.
        recommendation: the choice and its reason; None where nothing was searched.
    """

    tried: tuple[Tried, ...]
    untried: int
    chosen: str | None
    best_trained: CandidateSettings
    recommendation: Recommendation | None


def settings_label(candidate: CandidateSettings) -> str:
    """Return a candidate's name for people: "LoRA (learning rate 0.0002, rank 16)"."""
    parts = [
        f"{_SHORT.get(path, path.removeprefix('method.').removeprefix('train.').replace('_', ' ').replace('.', ' '))} {value:g}"
        if isinstance(value, int | float)
        else f"{path.removeprefix('method.')} {value}"
        for path, value in sorted(candidate.settings.items())
    ]
    name = _NAMES.get(candidate.method, candidate.method)
    return f"{name} ({', '.join(parts)})" if parts else name


def chosen_on_dev(final: Path, results: StudyResults, labels: Mapping[str, str], metric: str) -> Recommendation | None:
    """Return the choice among the arms of a final study that held dev out; None where it did not.

    Args:
        final: folder of the final study.
        results: of the final study.
        labels: of the arms to choose among, by id.
        metric: to compare by.
    """
    dev: dict[str, dict[int, Measured]] = defaultdict(dict)
    arms = {arm.id: arm for arm in results.arms}
    for run in results.runs:
        path = StudyFolder(final).run_folder(run.id) / PREDICTION_FILES["dev"]
        if run.arm in labels and run.status == "ok" and has_results(path):
            dev[run.arm][run.seed] = measured(path, [metric])
    untrained = [name for name in dev if (key := arms[name].key) and key.untrained]
    if len(dev) == len(untrained):
        return None
    candidates = {name: Candidate(labels[name], arms[name].seconds or 0.0, arms[name].trainable or 0) for name in dev}
    margin = float(results.study["margin"])
    return recommend(candidates, dev, metric=metric, margin=margin, fixed=untrained)


@dataclass
class _Entry:
    """What is known of something tried, while the search goes on."""

    label: str
    steps: int = 0
    seconds: float = 0.0
    training: float = 0.0  # seconds of the longest training alone
    trainable: int = 0
    note: str = ""
    dev: Measured | None = None


class Search:
    """Tries prompting and candidates.

    Args:
        folder: for the runs.
        base: open, without a method.
        task: that is adapted to.
        study: of the search.
        plan: what there is time for.
        costs: of this machine.
        clock: of the time given.
        metric: to compare by.
        progress: is told what happens.
    """

    def __init__(
        self,
        folder: Path,
        base: Base,
        task: Task,
        study: StudyConfig,
        plan: TimePlan,
        costs: MeasuredCosts,
        clock: Clock,
        metric: str,
        progress: StudyProgress,
    ) -> None:
        self._folder, self._base, self._task, self._study = folder, base, task, study
        self._plan, self._costs, self._clock, self._metric, self._progress = plan, costs, clock, metric, progress
        self._entries: dict[str, _Entry] = {}
        self._data: dict[str, Prepared] = {}
        self._done = 0
        self._total = len(PROMPTING) + sum(rung.candidates for rung in plan.rungs)

    def run(self, candidates: Sequence[CandidateSettings]) -> SearchResult:
        """Try what there is time for, and choose.

        Args:
            candidates: most promising first.
        """
        if not self._plan.rungs:
            return SearchResult(tried=(), untried=len(candidates), chosen=None, best_trained=candidates[0], recommendation=None)
        for setting in PROMPTING:
            self._try(setting, setting, 0, prompting_run(self._study, setting), estimated=None)
        finalists = self._halving(candidates)
        chosen = self._choose([*finalists, *PROMPTING])
        by_id = {candidate.id: candidate for candidate in candidates}
        trained = [name for name in finalists if self._entries[name].dev is not None]
        best = chosen.arm if chosen and chosen.arm in by_id else max(trained, key=self._worth, default=candidates[0].id)
        started = [name for name in self._entries if name in by_id]
        return SearchResult(
            tried=tuple(self._told(name) for name in self._entries),
            untried=len(candidates) - len(started),
            chosen=chosen.arm if chosen and trained else None,
            best_trained=by_id[best],
            recommendation=chosen if trained else None,
        )

    def _halving(self, candidates: Sequence[CandidateSettings]) -> list[str]:
        """Return the ids of the candidates that came furthest; their trainings are equally long."""
        going = list(candidates)
        compared: list[str] = []
        for number, rung in enumerate(self._plan.rungs):
            going = going[: rung.candidates]
            reached = [candidate for candidate in going if self._rung(candidate, rung.steps, first=candidate is going[0])]
            scored = [candidate for candidate in reached if self._entries[candidate.id].dev is not None]
            if not scored:
                return compared
            compared = [candidate.id for candidate in scored]
            going = sorted(scored, key=lambda candidate: self._worth(candidate.id), reverse=True)
            if number + 1 < len(self._plan.rungs):
                kept = math.ceil(len(scored) / KEEP)
                for candidate in going[kept:]:
                    self._entries[candidate.id].note = f"dropped after {rung.steps} steps"
                going = going[:kept]
        return compared

    def _rung(self, candidate: CandidateSettings, steps: int, *, first: bool) -> bool:
        """Train a candidate for so many steps; return False where there is no time for it."""
        name = f"{candidate.id}-{steps}"
        estimated = steps * self._costs.step(candidate)
        done = (self._folder / name / "record.json").is_file()
        if not done and not first and self._clock.left < self._plan.reserve + estimated:
            return False
        self._try(
            candidate.id, settings_label(candidate), steps, candidate_run(self._study, candidate, steps), estimated=estimated
        )
        return True

    def _try(self, name: str, label: str, steps: int, settings: dict[str, Any], *, estimated: float | None) -> None:
        folder = self._folder / (f"{name}-{steps}" if steps else name)
        entry = self._entries.setdefault(name, _Entry(label))
        self._progress.begin(label)
        try:
            config, _ = run_config(settings)
            run = execute(config, folder, base=self._base, data=self._prepared(config.prompt), progress=Quiet(self._progress))
        except XericError as error:
            if error.exit_code == 2:
                raise
            entry.dev, entry.note = None, str(error)
            return
        finally:
            self._done += 1
            self._progress.overall(self._done, self._total, None)
        with contextlib.suppress(OSError):
            shutil.rmtree(folder / ADAPTER)  # the final training begins anew
        self._take(entry, run.record, folder, steps)
        if estimated and run.fresh:
            self._costs.passed(estimated, float(run.record.cost["seconds"].get("train", 0.0)))

    def _take(self, entry: _Entry, record: Record, folder: Path, steps: int) -> None:
        entry.seconds += sum(map(float, record.cost["seconds"].values()))
        entry.training = float(record.cost["seconds"].get("train", 0.0))
        entry.steps, entry.trainable = steps, record.parameters.get("trainable", 0)
        if record.status != "ok":
            entry.dev, entry.note = None, "training diverged"
            return
        entry.dev = measured(folder / PREDICTION_FILES["dev"], [self._metric])
        score = entry.dev.scores()[self._metric]
        self._progress.note(f"{entry.label}: {self._metric} {score:.1f} on dev" + (f" after {steps} steps" if steps else ""))

    def _prepared(self, prompt: PromptOptions) -> Prepared:
        key = json.dumps(prompt.model_dump(mode="json"), sort_keys=True)
        if key not in self._data:
            config, _ = run_config(prompting_run(self._study, "few-shot"))
            self._data[key] = prepare([self._task], config.data, prompt)
        return self._data[key]

    def _worth(self, name: str) -> float:
        dev = self._entries[name].dev
        if dev is None:
            return -math.inf
        score = dev.scores()[self._metric]
        return -score if METRICS.get(self._metric)().better == "lower" else score

    def _choose(self, names: Sequence[str]) -> Recommendation | None:
        entries = {name: self._entries[name] for name in names if self._entries[name].dev is not None}
        seed = self._study.seeds[0]
        return recommend(
            {name: Candidate(entry.label, entry.training, entry.trainable) for name, entry in entries.items()},
            {name: {seed: entry.dev} for name, entry in entries.items() if entry.dev is not None},
            metric=self._metric,
            margin=self._study.margin,
            fixed=[name for name in PROMPTING if name in entries],
        )

    def _told(self, name: str) -> Tried:
        entry = self._entries[name]
        score = entry.dev.scores()[self._metric] if entry.dev is not None else None
        return Tried(
            id=name,
            label=entry.label,
            steps=entry.steps,
            score=score,
            seconds=round(entry.seconds, 1),
            trainable=entry.trainable,
            note=entry.note,
        )
