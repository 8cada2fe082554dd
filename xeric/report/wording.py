"""How a report words metrics, scores with intervals, settings and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xeric import formatting
from xeric.analysis.results import Interval
from xeric.metrics import METRICS

__all__ = ["estimate", "flat", "interval", "listed", "metric_name", "plain", "sentence", "with_metrics"]


def metric_name(name: str) -> str:
    """Return how the field writes a metric, or a mean of several ("bleu+rouge_l"); an unknown one keeps its name."""
    titles = [_title(part) or part.replace("_", " ") for part in name.split("+")]
    return f"mean of {listed(titles)}" if len(titles) > 1 else titles[0]


def with_metrics(label: str) -> str:
    """Return a label with the metrics among its parts ("Hindi, chrf") as the field writes them."""
    return ", ".join(_title(part) or part for part in label.split(", "))


def _title(name: str) -> str:
    """Return the title of a metric; nothing where there is no metric of that name (any more)."""
    return METRICS.get(name)().title if name in METRICS else ""


def sentence(text: str, names: Iterable[str] = ()) -> str:
    """Return a clause as a sentence: a capital at its beginning, unless one of ``names`` stands there, a full stop at its end."""
    whole = " ".join(text.split())
    if not whole.startswith(tuple(names)):
        whole = whole[:1].upper() + whole[1:]
    return whole if whole.endswith((".", "!", "?")) or not whole else f"{whole}."


def interval(score: Interval, digits: int = 1) -> str:
    """Return ``[low, high]``, or nothing where no interval is defined."""
    return formatting.interval(score.low, score.high, digits)


def estimate(score: Interval, digits: int = 1) -> str:
    """Return a score and its interval."""
    return formatting.estimate(score.value, score.low, score.high, digits)


def listed(words: Iterable[str]) -> str:
    """Return ``a, b and c``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def plain(value: Any) -> str:
    """Return a plain value (of settings, provenance) as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)


def flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested plain values as pairs of dotted path and text, in their order; empty ones are left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            pairs += flat(value, path)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            pairs += flat({str(number): item for number, item in enumerate(value, 1)}, path)
        elif value not in (None, "", [], ()):
            pairs.append((path, plain(value)))
    return pairs
