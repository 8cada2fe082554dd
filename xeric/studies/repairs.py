"""Reads as much of a study as can be read: parts that are refused are replaced by ones that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xeric.config import build
from xeric.errors import ConfigError
from xeric.studies.config import StudyConfig

__all__ = ["STAND_IN", "readable"]

STAND_IN = "stand-in"
"""The name of a base or a task that stands for one that could not be read."""

_REQUIRED: dict[str, Any] = {
    "name": "study",
    "title": "",
    "bases": {"base": STAND_IN},
    "tasks": [STAND_IN],
    "methods": {"method": {"name": "none"}},
    "grids": {"grid": {}},
}
_LABELLED: dict[str, Any] = {"bases": STAND_IN, "methods": {"name": "none"}, "prompts": {}, "grids": {}}
_SHOWN = ("tables", "figures", "claims")
_ARMS = ("bases", "methods", "prompts", "grids", "seeds")
_ROUNDS = 20
_REMOVED = object()


def readable(plain: Mapping[str, Any]) -> tuple[StudyConfig | None, list[ConfigError], bool]:
    """Return a study without the parts that are refused, what is wrong with them, and whether its arms are those that were meant.

    Args:
        plain: the study's settings.

    Returns:
        The study, None where too little of it can be read; the errors; and False where a part of its bases, methods, grids or
        seeds was replaced.
    """
    data, errors, replaced = _copied(plain), list[ConfigError](), list[str]()
    for _ in range(_ROUNDS):
        try:
            study = build(StudyConfig, data)
        except ConfigError as error:
            if error.where is None:
                return None, [*errors, error], False
            for each in (error, *error.others):
                where = each.where or ""
                # What is said of a part once something in it was replaced follows from that.
                if not any(path == where or path.startswith(f"{where}.") for path in replaced):
                    errors.append(each)
                _replace(data, where, again=where in replaced)
                replaced.append(where)
            data = _copied(data)
        else:
            return study, errors, not any(path.split(".")[0] in _ARMS for path in replaced)
    return None, errors, False


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        # A list of which nothing is left is left out: its default is no mistake, an empty list may be one.
        kept = {key: inner for key, inner in value.items() if not (inner and isinstance(inner, list) and _nothing_left(inner))}
        return {key: _copied(inner) for key, inner in kept.items()}
    return [_copied(inner) for inner in value if inner is not _REMOVED] if isinstance(value, list | tuple) else value


def _nothing_left(entries: list[Any]) -> bool:
    return all(entry is _REMOVED for entry in entries)


def _replace(data: dict[str, Any], where: str, *, again: bool) -> None:
    """Remove the smallest part at a dotted path that can be missing; the whole entry where that did not help."""
    keys = _keys(data, where)
    top = where.split(".")[0]
    labelled = top in _LABELLED or top in _SHOWN
    if len(keys) > 1 + labelled and not again and top not in ("bases", "methods") and _whole(keys, where):
        node: Any = data
        for key in keys[:-1]:
            node = node[key]
        if isinstance(node, dict):
            del node[keys[-1]]
        else:
            node[keys[-1]] = _REMOVED  # the other entries keep their numbers until all errors are gone through
        return
    if len(keys) > 1 and top in _LABELLED:
        data[top][keys[1]] = _copied(_LABELLED[top])
    elif len(keys) > 1 and top in _SHOWN:
        data[top].pop(keys[1], None)
    elif top in _REQUIRED:
        data[top] = _copied(_REQUIRED[top])
    else:
        data.pop(top, None)


def _whole(keys: list[Any], where: str) -> bool:
    """Return whether keys lead to the end of a path: what is missing has a path that ends in nothing."""
    return ".".join(str(key) for key in keys) == where


def _keys(data: Any, where: str) -> list[Any]:
    """Return the keys and numbers that a dotted path goes through, as far as they exist; a key may hold dots."""
    keys: list[Any] = []
    node, rest = data, where
    while rest:
        if isinstance(node, dict):
            candidates = [key for key in node if rest == key or rest.startswith(f"{key}.")]
            key: Any = max(candidates, key=len, default=None)
        else:
            number = rest.partition(".")[0]
            key = int(number) if isinstance(node, list) and number.isdecimal() and int(number) < len(node) else None
        if key is None:
            break
        keys.append(key)
        node, rest = node[key], rest[len(str(key)) + 1 :]
    return keys
