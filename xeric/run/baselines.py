"""What the trivial baselines score on a run's test set: a run's own scores say little without them."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from xeric.data.baselines import SEEDED, baseline_predictions, baselines_of
from xeric.data.preparing import Prepared
from xeric.metrics import quality_metrics, score_predictions
from xeric.records import TrivialScores

__all__ = ["KnownScores", "score_baselines"]

KnownScores = MutableMapping[tuple[object, ...], TrivialScores]
"""Scores that were made before, by what they were made from."""


def score_baselines(
    data: Prepared, metrics: Sequence[str], *, seed: int, bootstrap: int, known: KnownScores
) -> dict[str, TrivialScores]:
    """Return the scores of the baselines that a run is to be judged against, by name.

    Args:
        data: the run's tasks.
        metrics: that the run is scored by; those of quality are used (:func:`xeric.metrics.quality_metrics`).
        seed: of the baselines that are drawn.
        bootstrap: seed of the intervals.
        known: scores of runs on the same data; it grows.
    """
    names = [name for name in quality_metrics() if name in metrics]
    found: dict[str, TrivialScores] = {}
    for baseline in [name for name, gates in baselines_of(data).items() if gates and names]:
        own = seed if baseline in SEEDED else 0
        mark = (data.fingerprint, baseline, own, *names, bootstrap)
        if mark not in known:
            report = score_predictions(baseline_predictions(baseline, data, "test", own), names, seed=bootstrap)
            known[mark] = TrivialScores(scores=report.scores, tasks=report.tasks)
        found[baseline] = known[mark]
    return found
