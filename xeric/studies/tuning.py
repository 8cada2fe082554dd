"""The same number of trials for every method, from a published space, chosen on dev by chrF++ with a seed of its own.

Trial 0 is the documented default of the method. The others are a Latin hypercube over the space (McKay et al. 1979): each
setting's range is cut into as many strata as there are draws, and each stratum is visited once, so that few trials still cover
the learning rate. The draws depend on seed and space alone: one method under two names gets the same trials.

A method is tuned once per base, under the study's own data settings and from the start of its first arm (the pretrained base,
unless it is used from stage 1 only); all its arms, of any training size, take what was chosen. No trial touches the
test set.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from xeric.config import Config, build, digest
from xeric.errors import ConfigError
from xeric.search_space import Range, Space
from xeric.studies.config import TuningConfig
from xeric.studies.entries import MethodEntry

__all__ = ["Trial", "TuningResult", "choose", "draw_trials", "space_of"]


class Trial(Config):
    """How one trial went.

    Attributes:
        settings: what was tried, by dotted path.
        status: ``ok``, ``diverged`` or ``failed``.
        score: chrF++ on dev, mean over tasks; None unless ``ok``.
        error: one sentence, where it failed.
        cost: as in the records of its runs, seconds summed.
    """

    settings: dict[str, Any]
    status: str
    score: float | None = None
    error: str | None = None
    cost: dict[str, float] = Field(default={})


class TuningResult(Config):
    """Trials of one method on dev, in their order; ``best`` is the best score so far after each, None before the first score.

    A trial is a dump of :class:`Trial`: ``settings``, ``status``, ``score``, ``error``, ``cost``.
    """

    method: str
    base: str
    trials: tuple[dict[str, Any], ...]
    best: tuple[float | None, ...]
    chosen: dict[str, Any] = {}
    seconds: float = 0.0


def space_of(label: str, entry: MethodEntry, tuning: TuningConfig, published: Space) -> Space:
    """Return what is tried for a method: the study's own space, or the published one without what the study file fixes.

    Args:
        label: of the method.
        entry: what stands under it, ``like`` resolved.
        tuning: the study's tuning.
        published: the method's own space.

    Raises:
        ConfigError: the study's own space is none.
    """
    if label in tuning.space:
        return {path: _values(f"tuning.space.{label}.{path}", given) for path, given in tuning.space[label].items()}
    fixed = {"method": entry.method, "train": entry.train}
    return {path: values for path, values in published.items() if _is_open(fixed, path)}


def _values(where: str, given: Any) -> Range | tuple[Any, ...]:
    if isinstance(given, list | tuple) and given:
        return tuple(given)
    if not isinstance(given, Mapping):
        raise ConfigError("expected a list of values or a range", where=where, hint="write [4, 8, 16] or {low: 1e-5, high: 1e-3}")
    limits = build(Range, given, where=where)
    if not (0 < limits.low < limits.high if limits.log else limits.low < limits.high):
        raise ConfigError("expected low below high, both above 0 where log is true", where=where)
    return limits


def _is_open(fixed: Any, path: str) -> bool:
    """Say whether a setting is neither given in the study file nor inside a part that is switched off."""
    *parents, last = path.split(".")
    node = fixed
    for key in parents:
        if not isinstance(node, Mapping):
            return False
        node = node.get(key, {})
    return isinstance(node, Mapping) and last not in node


def draw_trials(space: Space, default: Mapping[str, Any], *, trials: int, seed: int) -> list[dict[str, Any]]:
    """Return the settings of every trial by dotted path; the first is the default.

    Args:
        space: of :func:`space_of`.
        default: documented value of every setting of the space.
        trials: how many, the default included.
        seed: of the draws.
    """
    published = {path: values.model_dump() if isinstance(values, Range) else list(values) for path, values in space.items()}
    drawn: list[dict[str, Any]] = [{path: default[path] for path in sorted(space)}]
    drawn += [{} for _ in range(trials - 1)]
    for path in sorted(space):
        source = random.Random(digest([seed, path, published]))
        strata = list(range(trials - 1))
        source.shuffle(strata)
        for trial, stratum in zip(drawn[1:], strata, strict=True):
            share = (stratum + source.random()) / (trials - 1)
            values = space[path]
            trial[path] = values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
    return drawn


def choose(method: str, base: str, trials: Sequence[Trial]) -> TuningResult | None:
    """Return what tuning found: the trial with the best score, the earlier of two alike; None where no trial has a score.

    Args:
        method: label of the method.
        base: label of the base.
        trials: in their order.
    """
    best: list[float | None] = []
    chosen: Trial | None = None
    for trial in trials:
        if trial.score is not None and (chosen is None or chosen.score is None or trial.score > chosen.score):
            chosen = trial
        best.append(chosen.score if chosen else None)
    if chosen is None:
        return None
    return TuningResult(
        method=method,
        base=base,
        trials=tuple(trial.model_dump(mode="json") for trial in trials),
        best=tuple(best),
        chosen=chosen.settings,
        seconds=sum(trial.cost.get("seconds", 0.0) for trial in trials),
    )
