"""How numbers and names are written for people: one way for every table, figure and sentence of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xeric.analysis.results import Interval

__all__ = [
    "count",
    "duration",
    "estimate",
    "flat",
    "interval",
    "listed",
    "memory",
    "metric_name",
    "number",
    "p_value",
    "plain",
    "sentence",
    "signed",
    "with_metrics",
]

_METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF++",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "meteor_exact": "METEOR, exact",
    "self_bleu": "self-BLEU",
}
_MINUS = "\u2212"


def metric_name(name: str) -> str:
    """Return how the field writes a metric, or a mean of several ("bleu+rouge_l"); an unknown one keeps its name."""
    parts = [_METRICS.get(part, part.replace("_", " ")) for part in name.split("+")]
    return f"mean of {listed(parts)}" if len(parts) > 1 else parts[0]


def with_metrics(label: str) -> str:
    """Return a label with the metrics among its parts ("Hindi, chrf") as the field writes them."""
    return ", ".join(_METRICS.get(part, part) for part in label.split(", "))


def sentence(text: str, names: Iterable[str] = ()) -> str:
    """Return a clause as a sentence: a capital at its beginning, unless one of ``names`` stands there, a full stop at its end."""
    whole = " ".join(text.split())
    if not whole.startswith(tuple(names)):
        whole = whole[:1].upper() + whole[1:]
    return whole if whole.endswith((".", "!", "?")) or not whole else f"{whole}."


def number(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign, never as "-0.0"."""
    text = f"{abs(value):.{digits}f}"
    return _MINUS + text if value < 0 and float(text) else text


def signed(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; one that rounds to 0 has none."""
    text = number(value, digits)
    return text if text.startswith(_MINUS) or not float(text) else "+" + text


def interval(value: Interval, digits: int = 1) -> str:
    """Return ``[low, high]``, or nothing where no interval is defined."""
    if value.low is None or value.high is None:
        return ""
    return f"[{number(value.low, digits)}, {number(value.high, digits)}]"


def estimate(value: Interval, digits: int = 1) -> str:
    """Return a number and its interval."""
    return f"{number(value.value, digits)} {interval(value, digits)}".rstrip()


def p_value(value: float) -> str:
    """Return a p-value; below one in a thousand only that it is."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None) -> str:
    """Return a whole number as people say it: 812, 41.2k, 5.1M; nothing for None."""
    if value is None:
        return ""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Return seconds as 0.4 s, 48 s, 12 min 5 s or 3 h 20 min; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return "< 0.1 s" if 0 < seconds < 0.05 else f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min".removesuffix(" 0 min")


def memory(size: float | None) -> str:
    """Return bytes in MiB or GiB; nothing for None."""
    if size is None:
        return ""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


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
        return ", ".join(plain(one) for one in value)
    return str(value)


def flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested plain values as pairs of dotted path and text, in their order; empty ones are left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            pairs += flat(value, path)
        elif isinstance(value, (list, tuple)) and any(isinstance(one, Mapping) for one in value):
            pairs += flat({str(number): one for number, one in enumerate(value, 1)}, path)
        elif value not in (None, "", [], ()):
            pairs.append((path, plain(value)))
    return pairs
