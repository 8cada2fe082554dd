"""How numbers, intervals, bytes and durations are written for people: one way for terminal, report and every sentence."""

from __future__ import annotations

import re

from xeric.errors import UserError

__all__ = ["count", "data_size", "duration", "estimate", "interval", "number", "p_value", "seconds_of", "signed"]

_MINUS = "\u2212"
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def number(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign, never as "-0.0"."""
    text = f"{abs(value):.{digits}f}"
    return _MINUS + text if value < 0 and float(text) else text


def signed(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; one that rounds to 0 has none."""
    text = number(value, digits)
    return text if text.startswith(_MINUS) or not float(text) else "+" + text


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return ``[low, high]``, or nothing where an end is not defined."""
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def estimate(value: float, low: float | None, high: float | None, digits: int = 1) -> str:
    """Return a number and its interval."""
    return f"{number(value, digits)} {interval(low, high, digits)}".rstrip()


def p_value(value: float) -> str:
    """Return a p-value; below one in a thousand only that it is."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None, figures: int = 3) -> str:
    """Return a whole number as people say it, to so many significant figures: 812, 41.2k, 5.12M; nothing for None."""
    if value is None:
        return ""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return (f"{scaled:.{figures}g}" if abs(scaled) < 10**figures - 0.5 else f"{scaled:.0f}") + unit
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Return seconds as 0.4 s, 48 s, 2 min 5 s, 12 min or 3 h 20 min, no finer than anyone needs; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return "< 0.1 s" if 0 < seconds < 0.05 else f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min".removesuffix(" 0 min")


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as 90s, 20m, 1h30m or 1.5h.

    Raises:
        UserError: it is none, or is 0.
    """
    parts = _DURATION.fullmatch(text.strip().lower())
    seconds = sum(float(value or 0) * size for value, size in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0.0
    if not seconds:
        raise UserError(f"{text!r} is not a duration", hint="write it as 90s, 20m or 1h30m")
    return seconds


def data_size(size: float | None) -> str:
    """Return bytes in MiB or GiB; nothing for None."""
    if size is None:
        return ""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
