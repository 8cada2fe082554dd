"""Scores of the trivial baselines on a run's test set, which the run's own scores are compared with."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from xeric.data.baselines import SEEDED, baseline_predictions, baselines_of
from xeric.data.preparing import Prepared
from xeric.metrics import quality_metrics, score_predictions
from xeric.records import TrivialScores

__all__ = ["KnownScores", "score_baselines"]

KnownScores = MutableMapping[tuple[object, ...], TrivialScores]
"""Scores computed so far, by data, baseline, seeds and metrics."""


def score_baselines(
    data: Prepared, metrics: Sequence[str], *, seed: int, bootstrap: int, cache: KnownScores
) -> dict[str, TrivialScores]:
    """Return the scores of the baselines that a run is compared with, by name.

    Args:
        data: the run's tasks.
        metrics: that the run is scored by; those of quality are used (:func:`xeric.metrics.quality_metrics`).
        seed: of the baselines that are drawn.
        bootstrap: seed of the intervals.
        cache: scores computed for earlier runs; entries are added.
    """
    names = [name for name in quality_metrics() if name in metrics]
    scores: dict[str, TrivialScores] = {}
    for baseline in [name for name, gates in baselines_of(data).items() if gates and names]:
        baseline_seed = seed if baseline in SEEDED else 0
        key = (data.fingerprint, baseline, baseline_seed, *names, bootstrap)
        if key not in cache:
            report = score_predictions(baseline_predictions(baseline, data, "test", baseline_seed), names, seed=bootstrap)
            cache[key] = TrivialScores(scores=report.scores, tasks=report.tasks)
        scores[baseline] = cache[key]
    return scores
