"""How long the remaining runs of a study will take, estimated from the finished ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from xeric.studies.config import ArmKey
from xeric.studies.folder import RunState

__all__ = ["EtaEstimator", "PendingRun"]


class PendingRun(NamedTuple):
    """A run still to be done.

    Attributes:
        key: of its arm; of a trial, of the arm that is tuned.
        paraphrases: the number of paraphrases under which its test set is decoded, too.
        kind: a run of the arm itself, a trial of its tuning, or a search for a definition, which may have the same key.
    """

    key: ArmKey
    paraphrases: int = 0
    kind: Literal["run", "trial", "search"] = "run"


class EtaEstimator:
    """Estimates a run's seconds by the mean of finished runs of the same arm, else of the same base and method, else of all."""

    def __init__(self) -> None:
        self._seconds: dict[Any, list[tuple[float, float]]] = defaultdict(list)
        self._searches: list[float] = []

    def add(self, key: ArmKey, state: RunState) -> None:
        """Count a finished run of an arm; a run without a record is ignored."""
        if state.record is not None:
            phases = {name: float(value) for name, value in state.record.cost.get("seconds", {}).items()}
            seconds = (sum(phases.values()), phases.get("test", 0.0))
            for group in (key, (key.base, key.method), None):
                self._seconds[group].append(seconds)

    def add_search(self, seconds: float) -> None:
        """Count a finished search; one that failed, after 0 seconds, is ignored."""
        if seconds:
            self._searches.append(seconds)

    def seconds(self, left: Sequence[PendingRun]) -> float | None:
        """Return how long the remaining runs take; None where no run is finished yet."""
        if not self._seconds:
            return None
        return sum(self._mean(run) for run in left)

    def _mean(self, run: PendingRun) -> float:
        if run.kind == "search" and self._searches:
            return sum(self._searches) / len(self._searches)
        groups = (run.key, (run.key.base, run.key.method), None)
        finished = next(self._seconds[group] for group in groups if group in self._seconds)
        return sum(whole + run.paraphrases * test for whole, test in finished) / len(finished)
