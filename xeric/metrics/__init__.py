"""How good a set of predictions is, with an interval, a signature and a test; scores can be made again anywhere, without a model.

:data:`METRICS` names what there is; :func:`score_predictions` and :func:`compare_predictions` are the ways in; who does both, or
compares many, calls :func:`measure` once for each system. Importing this package costs next to nothing: a metric's own library is
imported when the metric is first used.

>>> METRICS.names()[:4]
['bleu', 'chrf', 'rouge_l', 'meteor']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from xeric.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from xeric.metrics.base import Metric

# The other names are those of __init__.pyi, each imported when asked for.
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["METRICS", "PRIMARY", "comparable_metrics", "incomparable", "quality_metrics"]


def __dir__() -> list[str]:
    return sorted(__all__)


METRICS: Registry[Callable[..., Metric]] = Registry("metric", "xeric.metrics")
"""Factories of metrics; each takes ``normalize`` and its own options by keyword and works without any."""

METRICS.register("bleu", "xeric.metrics.bleu:Bleu", "BLEU by sacrebleu, tokenizer by language")
METRICS.register("chrf", "xeric.metrics.bleu:Chrf", "chrF++ by sacrebleu: character and word n-grams, any script")
METRICS.register("rouge_l", "xeric.metrics.rouge:Rouge", "ROUGE-L on Unicode words, best reference by F")
METRICS.register("meteor", "xeric.metrics.meteor:Meteor", "METEOR by nltk: exact and stem matches")
METRICS.register("meteor_exact", "xeric.metrics.meteor:meteor_exact", "METEOR by nltk: exact matches only")
METRICS.register("distinct_1", "xeric.metrics.diversity:distinct_1", "distinct words among all words of the predictions")
METRICS.register(
    "distinct_2", "xeric.metrics.diversity:distinct_2", "distinct word pairs among all word pairs of the predictions"
)
METRICS.register(
    "self_bleu", "xeric.metrics.diversity:SelfBleu", "BLEU of each prediction against the others: lower is more diverse"
)
METRICS.register("length_ratio", "xeric.metrics.validity:LengthRatio", "words predicted for every 100 of the closest references")
METRICS.register("copy_rate", "xeric.metrics.validity:CopyRate", "share of the predictions' word 4-grams that stand in the input")
METRICS.register("wrong_script_rate", "xeric.metrics.validity:WrongScriptRate", "share of predictions mostly in a foreign script")

PRIMARY = "chrf"
"""What selection on development data goes by: it serves every script and morphology alike."""


def quality_metrics() -> tuple[str, ...]:
    """Return the names of what systems are compared on unless told otherwise: the primary metric, then all others of quality.

    Of the metrics here these are chrF++ and the three of the paper; every metric says it of itself (:attr:`Metric.quality`), so
    asking imports the metrics' modules, though none of their libraries.
    """
    return (PRIMARY, *(name for name in METRICS.names() if name != PRIMARY and METRICS.get(name)().quality))


def comparable_metrics() -> tuple[str, ...]:
    """Return the names of the metrics that a better of two systems can be told by, with a test."""
    return tuple(name for name in METRICS.names() if incomparable(name) is None)


def incomparable(name: str) -> str | None:
    """Return why no better of two systems can be told by a metric, in words that follow its name; None where it can.

    Raises:
        UnknownNameError: there is no such metric.
    """
    metric = METRICS.get(name)()
    if metric.better is None:
        return "of which neither direction is better"
    if not metric.resampled:
        return "a measure of a whole set of predictions, for which there are no intervals and no tests"
    return None
