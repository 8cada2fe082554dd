"""How long the runs of a study that are still to be done will take, from those that are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from xeric.studies.config import ArmKey
from xeric.studies.folder import RunState

__all__ = ["EtaEstimator", "PendingRun"]


class PendingRun(NamedTuple):
    """A run still to be done, and how many times its test set is decoded again under other paraphrases."""

    key: ArmKey
    paraphrases: int = 0


class EtaEstimator:
    """How long runs take: as long as finished ones of the same arm did, else of the same method, else any."""

    def __init__(self) -> None:
        self._seconds: dict[Any, list[tuple[float, float]]] = defaultdict(list)

    def add(self, key: ArmKey, state: RunState) -> None:
        """Take note of a finished run of an arm; one without a record says nothing."""
        if state.record is not None:
            parts = {name: float(part) for name, part in state.record.cost.get("seconds", {}).items()}
            seconds = (sum(parts.values()), parts.get("test", 0.0))
            for group in (key, (key.base, key.method), None):
                self._seconds[group].append(seconds)

    def seconds(self, left: Sequence[PendingRun]) -> float | None:
        """Return how long the rest takes, or None where nothing is known yet."""
        if not self._seconds:
            return None
        return sum(self._mean(run) for run in left)

    def _mean(self, run: PendingRun) -> float:
        groups = (run.key, (run.key.base, run.key.method), None)
        known = next(self._seconds[group] for group in groups if group in self._seconds)
        return sum(whole + run.paraphrases * test for whole, test in known) / len(known)
