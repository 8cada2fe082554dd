"""A training within a time: how many of the planned steps fit is measured before the first one, decided once, and kept.

One to four steps are computed on the run's own rows, spread over an epoch, and undone: no weight moves, and no random number of
the training is drawn. So a training cut to N steps takes exactly those of a training with ``max_steps`` N: its rate warms
up and decays over N. The decision is written beside the checkpoint before the first step, so an interrupted training keeps it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from xeric.files import write_atomically
from xeric.training.processes import ALONE, Processes

__all__ = ["TimeBudget", "clock", "fitted"]

clock: Callable[[], float] = time.perf_counter

_MEASURED = 3
_SHARE = 0.1
"""Share of the time after which no further step is measured."""

_FILE = "time.json"


@dataclass(frozen=True)
class TimeBudget:
    """What fits into a time.

    Attributes:
        budget: seconds of training, dev evaluations included.
        steps: that are taken.
        planned: steps without a limit.
        seconds_per_step: as measured, with the share of a dev evaluation that falls to a step.
    """

    budget: float
    steps: int
    planned: int
    seconds_per_step: float


def fitted(
    budget: float,
    planned: int,
    *,
    per_epoch: int,
    take: Callable[[int], None],
    evaluate: Callable[[], object] | None,
    dev_every: int,
    checkpoint: Path | None,
    key: str,
    processes: Processes = ALONE,
) -> TimeBudget:
    """Return what fits, as decided before or by measuring now.

    Args:
        budget: seconds.
        planned: steps without a limit, at least 1.
        per_epoch: steps of an epoch.
        take: computes a step by its number and undoes it.
        evaluate: evaluates on dev; None where nothing is.
        dev_every: steps between evaluations.
        checkpoint: path of the checkpoint, beside which the decision is kept; None keeps none.
        key: identity of the training; a decision of another one is ignored.
        processes: that carry out the training: all take the steps, by the clock of the first.
    """
    path = None if checkpoint is None else checkpoint.with_name(_FILE)
    if path is not None and (decided := processes.from_first(lambda: _read(path, key))) is not None:
        return decided

    def now() -> float:
        return processes.from_first(lambda: clock())

    numbers = sorted({min(planned, per_epoch) * part // _MEASURED for part in range(_MEASURED)})
    times = [now()]
    for number in [0, *numbers]:
        take(number)
        times.append(now())
        if times[-1] - times[0] > budget * _SHARE:
            break
    # The first step pays for allocations, so it counts only where there was no time for another.
    taken = [end - start for start, end in pairwise(times)]
    per_step = statistics.fmean(taken[1:] or taken)
    if evaluate is not None and times[-1] - times[0] < budget:
        evaluate()
        times.append(now())
        per_step += (times[-1] - times[-2]) / dev_every
    left = budget - (times[-1] - times[0])
    steps = int(left / per_step) if per_step > 0 else planned
    plan = TimeBudget(budget, max(1, min(planned, steps)), planned, round(per_step, 4))
    if path is not None and processes.first:
        write_atomically(path, json.dumps({"key": key, **asdict(plan)}) + "\n")
    return plan


def _read(path: Path, key: str) -> TimeBudget | None:
    try:
        decided = json.loads(path.read_bytes())
        return TimeBudget(**decided) if decided.pop("key") == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
