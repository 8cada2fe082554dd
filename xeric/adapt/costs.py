"""How long work takes on this machine: the base is timed once, and the seconds that finished work took correct the estimates.

All settings of a method are taken to cost what its default settings cost: a learning rate costs nothing, and a rank little.
"""

from __future__ import annotations

import statistics

from xeric.adapt.planning import CandidateSettings
from xeric.adapt.studies import candidate_run, prompting_run
from xeric.bases.base import Base
from xeric.data.preparing import Prepared
from xeric.errors import UserError
from xeric.execution.base_costs import BaseCosts
from xeric.execution.workload import Counts
from xeric.formatting import data_size
from xeric.progress import StudyProgress
from xeric.run.config import RunConfig, run_config
from xeric.studies.config import StudyConfig

__all__ = ["MeasuredCosts"]

_LONG = 1000
"""Steps and texts that times are estimated for, so that what does not grow with them does not count."""


class MeasuredCosts:
    """Seconds of steps and texts on an open base; see :class:`xeric.adapt.planning.Costs`.

    Args:
        base: without a method.
        study: of the search.
        data: its task, prepared.
        progress: is told what is timed.
    """

    def __init__(self, base: Base, study: StudyConfig, data: Prepared, progress: StudyProgress) -> None:
        self._study, self._data = study, data
        self._counts = {task.name: Counts(len(task.train), len(task.dev), len(task.test)) for task in data.tasks}
        self._costs = BaseCosts(base, base.name, joint=True, progress=progress)
        self._ratios: list[float] = []
        self._steps: dict[str, float] = {}
        self._decoding, _ = run_config(prompting_run(study, "few-shot"))
        self._costs.probe([(self._config("lora"), data, self._counts)])

    def step(self, candidate: CandidateSettings) -> float:
        """Return the seconds of an optimiser step."""
        if candidate.method not in self._steps:
            config = self._config(candidate.method)
            self._steps[candidate.method] = self._costs.fitting_seconds(config, self._data, self._counts) / _LONG
        return self._steps[candidate.method] * self._slowdown

    def text(self) -> float:
        """Return the seconds of decoding a text, behind demonstrations."""
        texts = dict.fromkeys(self._counts, _LONG)
        return self._costs.decoding_seconds(self._decoding, self._data, texts) / _LONG / len(texts) * self._slowdown

    def refusal(self, method: str, memory: int) -> str | None:
        """Return why a method cannot be trained on this base within so many bytes; None where it can."""
        try:
            needed = self._costs.memory(self._config(method), self._data)
        except UserError as error:
            return error.what
        return f"it takes {data_size(needed)} of memory, and {data_size(memory)} may be used" if needed > memory else None

    def passed(self, estimated: float, seconds: float) -> None:
        """Correct later estimates by how long estimated work took."""
        if estimated > 0 and seconds > 0:
            self._ratios.append(seconds / estimated * self._slowdown)

    @property
    def _slowdown(self) -> float:
        """Measured seconds divided by those of the first timing: the median over all finished work."""
        return statistics.median(self._ratios) if self._ratios else 1.0

    def _config(self, method: str) -> RunConfig:
        return run_config(candidate_run(self._study, CandidateSettings(id=method, method=method), _LONG))[0]
