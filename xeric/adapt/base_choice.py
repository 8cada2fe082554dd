"""The base of an adaptation: the one that is named, or the largest that language, memory and time allow."""

from __future__ import annotations

import gc
from dataclasses import dataclass

from xeric.adapt.clock import Clock, Quiet, Ticking
from xeric.adapt.costs import MeasuredCosts
from xeric.adapt.folder import AdaptFolder
from xeric.adapt.options import AdaptOptions
from xeric.adapt.planning import BATCH_SIZE, CandidateSettings
from xeric.adapt.studies import candidates, search_study
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.named import NAMED_BASES, NamedBase
from xeric.data.batching import steps_per_epoch
from xeric.data.preparing import Prepared
from xeric.data.tasks import Task
from xeric.errors import ConfigError
from xeric.formatting import data_size, duration
from xeric.languages import language_or_unknown
from xeric.studies.config import StudyConfig
from xeric.training.memory import available_memory, held_memory

__all__ = ["BaseChoice", "OpenedBase"]

_ENOUGH_TIME = 0.3
"""Share of the time that a final training on a base may take, where a smaller base would do."""


@dataclass
class OpenedBase:
    """An open base with what was measured on it, and the study that names what may be tried."""

    base: Base
    study: StudyConfig
    costs: MeasuredCosts
    candidates: list[CandidateSettings]


class BaseChoice:
    """Opens bases, the largest first, times a step on each, and keeps the first that will do.

    Args:
        task: that is adapted to.
        folder: of the adaptation.
        options: what the adaptation may take.
        clock: the time that is left.
        progress: is told what happens.
    """

    def __init__(self, task: Task, folder: AdaptFolder, options: AdaptOptions, clock: Clock, progress: Ticking) -> None:
        self._task, self._folder, self._options, self._clock, self._progress = task, folder, options, clock, progress

    def open(self, whole: Prepared, examples: int, planned: str | None) -> OpenedBase:
        """Return the base, opened and timed.

        Args:
            whole: the task, prepared.
            examples: that a final training has.
            planned: the base that an earlier start chose; it is taken again where none is named.

        Raises:
            ConfigError: no method fits into the memory on the smallest base.
        """
        chosen = self._options.base or planned
        names = [chosen] if chosen else _bases_for(self._task)
        for position, name in enumerate(names):
            opened = self._time(name, whole)
            last = position == len(names) - 1
            steps = steps_per_epoch(examples, BATCH_SIZE)
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
            self._progress.note(f"{name} would take {duration(seconds)} for one epoch: a smaller base is tried")
            del opened
            gc.collect()
        raise AssertionError("there is always a base")

    def _time(self, name: str, whole: Prepared) -> OpenedBase:
        base = load_base(name, device=self._options.device, precision=self._options.precision, progress=self._progress)
        study = search_study(self._task, self._folder, name, self._options, {})
        self._progress.note(f"timing {name} on rows like these")
        costs = MeasuredCosts(base, study, whole, Quiet(self._progress))
        refusals = {method: costs.refusal(method, self._memory(base)) for method in study.methods}
        for method, reason in refusals.items():
            if reason:
                self._progress.note(f"{method} is not tried: {reason}")
        kept = [candidate for candidate in candidates(study) if refusals[candidate.method] is None]
        return OpenedBase(base, study, costs, kept)

    def _memory(self, base: Base) -> int:
        """Return the bytes that a training may take in all, the open base included."""
        return self._options.memory or available_memory(base.device) + held_memory(base)


def _bases_for(task: Task) -> list[str]:
    """Return the known bases that are meant for the task's language, the largest first; for other languages those of many."""
    code = language_or_unknown(task.language).code.split("-")[0]
    bases: list[NamedBase] = [NAMED_BASES.get(name) for name in NAMED_BASES.names()]
    fitting = [base for base in bases if not base.languages or code in base.languages]
    return [base.name for base in sorted(fitting, key=lambda base: -base.size)]
