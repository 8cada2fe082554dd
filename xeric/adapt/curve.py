"""What more examples would bring: the learning curve of the chosen settings, read off the final study."""

from __future__ import annotations

from pathlib import Path

from xeric.adapt.outcome import MoreExamples
from xeric.analysis.results import StudyResults

__all__ = ["more_examples"]


def more_examples(final: Path, results: StudyResults, metric: str) -> MoreExamples:
    """Return what more examples would bring, as far as the curve supports a statement.

    Args:
        final: folder of the final study.
        results: of the final study.
        metric: of the choice.
    """
    points = {arm.key.n_train: arm.scores[metric] for arm in results.arms if arm.key and arm.key.n_train and metric in arm.scores}
    if not points:
        return MoreExamples(sentence="Whether more examples would help was not measured: there was no time for a learning curve.")
    return MoreExamples(sentence="", points=points)
