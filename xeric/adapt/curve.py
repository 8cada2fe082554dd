"""What more examples would bring: the learning curve of the chosen settings, read off the final study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from xeric.adapt.outcome import MoreExamples
from xeric.analysis.results import Interval, StudyResults
from xeric.data.splits import MAX_TRAIN
from xeric.metrics import METRICS
from xeric.metrics.stored import measured
from xeric.records import PREDICTION_FILES
from xeric.statistics.curve_points import CurvePoints
from xeric.statistics.learning_curve import FARTHEST, LearningCurve
from xeric.statistics.resampling import Sample
from xeric.studies.folder import StudyFolder

__all__ = ["learning_curve", "more_examples"]

_NOT_MEASURED = (
    "Whether more examples would help was not measured: there was no time for a learning curve; --for longer draws one."
)
_SCALE = 100.0


def learning_curve(final: Path, results: StudyResults, metric: str) -> LearningCurve | None:
    """Return the curve through the trainings on parts of the examples and on all of them; None where there are no parts.

    Args:
        final: folder of the final study.
        results: of the final study.
        metric: of the choice.
    """
    folder, arms = StudyFolder(final), {arm.id: arm for arm in results.arms}
    runs: dict[int, list[Sequence[Sample]]] = defaultdict(list)
    for run in results.runs:
        key = arms[run.arm].key
        if run.status != "ok" or key is None or key.untrained:
            continue
        record = folder.state(run.id).record
        assert record is not None
        (task,) = record.tasks.values()
        size = key.n_train or min(task.data["pool"], MAX_TRAIN)
        runs[size].append(measured(folder.run_folder(run.id) / PREDICTION_FILES["test"], [metric]).samples())
    return LearningCurve(CurvePoints.of_samples(runs), upper=_SCALE) if len(runs) > 1 else None


def more_examples(curve: LearningCurve | None, metric: str) -> MoreExamples:
    """Return what twice and four times as many examples would bring, as far as the curve supports a statement.

    Args:
        curve: of :func:`learning_curve`.
        metric: of the choice.
    """
    if curve is None:
        return MoreExamples(sentence=_NOT_MEASURED)
    points = dict(zip(curve.points.sizes, map(float, curve.points.means), strict=True))
    if METRICS.get(metric)().better == "lower":
        return MoreExamples(sentence=f"A forecast of {metric}, which is better low, is not made.", points=points)
    largest = curve.points.sizes[-1]
    gains: dict[int, Interval] = {}
    sentences: list[str] = []
    for factor in (2, FARTHEST):
        forecast = curve.forecast(factor * largest)
        if not sentences or not forecast.refusal:
            sentences.append(forecast.sentence)
        if not forecast.refusal and forecast.gain is not None:
            value, low, high = forecast.gain
            gains[forecast.size] = Interval(value=value, low=low, high=high)
    return MoreExamples(sentence=" ".join(sentences), points=points, gains=gains)
