"""Values of JSON as the texts that a task is made of, or an error that names where they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xeric.encodings import check_text
from xeric.errors import DataError

__all__ = ["is_missing", "kind", "labels", "names", "text", "texts"]


def is_missing(value: Any) -> bool:
    """Return whether a value is what programs write into an empty cell: null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text(value: Any, where: str) -> str:
    """Return a text; whole numbers are taken as theirs.

    Raises:
        DataError: the value is something else, or cannot be written as UTF-8.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        hint = "write it in quotation marks" if isinstance(value, float) and math.isfinite(value) else None
        raise DataError(f"expected text, found {kind(value)}", where=where, hint=hint)
    return check_text(str(value), where)


def texts(value: Any, where: str, expected: str = "a text or a list of texts") -> tuple[str, ...]:
    """Return the texts of a list, or the one text; an empty cell in a list is an empty text, and alone no text.

    Raises:
        DataError: as :func:`text`; the message says what was ``expected``.
    """
    if is_missing(value):
        return ()
    if isinstance(value, list):
        return tuple("" if is_missing(item) else text(item, f"{where}[{position}]") for position, item in enumerate(value))
    if isinstance(value, Mapping | bool | float):
        raise DataError(f"expected {expected}, found {kind(value)}", where=where)
    return (text(value, where),)


def names(value: Any, where: str) -> tuple[str, ...]:
    """Return the texts that are not empty."""
    return tuple(name for name in texts(value, where) if name)


def labels(value: Any, where: str) -> tuple[str, ...]:
    """Return what a descriptive key holds; these come out of spreadsheets, where an empty cell says nothing."""
    items = value if isinstance(value, list) else [value]
    return tuple(text(item, where) for item in items if not is_missing(item))


def kind(value: Any) -> str:
    """Return what a value is, as the user would call it."""
    if value is None:
        return "nothing"
    if isinstance(value, list) and not value:
        return "an empty list"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return (
        "a number with a fraction"
        if isinstance(value, float) and math.isfinite(value)
        else kinds.get(type(value), type(value).__name__)
    )
