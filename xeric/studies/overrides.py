"""``--set bases=[A, B]``: other bases in the places of a study's own; ``bases.LABEL.prompt.template=chat``: how one is asked.

A study file names its bases by label, and grids, claims and published figures speak of the labels. A list of names takes the
places of the labels in their order, and the labels become names of the new bases: no table calls a base by another's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import regex

from xeric.config import apply_overrides
from xeric.errors import ConfigError

__all__ = ["override_bases", "rename_bases"]

_NOT_IN_A_LABEL = regex.compile(r"[^A-Za-z0-9._-]+")


def override_bases(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a study's plain settings with overrides applied, also those that reach into a base given by its name alone.

    Args:
        data: the study file.
        overrides: such as ``bases.english.prompt.template=chat``.

    Raises:
        ConfigError: as of :func:`xeric.config.apply_overrides`.
    """
    for override in overrides:
        group, *label, _ = [key.strip() for key in override.partition("=")[0].split(".")] + [""]
        data = apply_overrides(_long(data, label[0]) if group == "bases" and len(label) > 1 else data, [override])
    return dict(data)


def _long(data: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return the settings with the long form of the base under a label, or at a place of a list."""
    bases = data.get("bases")
    if isinstance(bases, Mapping):
        return {**data, "bases": {key: _named(one) if key == label else one for key, one in bases.items()}}
    if isinstance(bases, list):
        return {**data, "bases": [_named(one) if str(place) == label else one for place, one in enumerate(bases)]}
    return dict(data)


def _named(base: Any) -> Any:
    return {"name": base} if isinstance(base, str) else base


def rename_bases(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings with a list under ``bases`` made a mapping, and remarks on what was left out.

    Args:
        original: the study file as it was, whose labels the grids use.
        data: the same with overrides applied.

    Raises:
        ConfigError: ``bases`` is a list of something else than names or bases in their long form, or an empty one.
    """
    given, old = data.get("bases"), original.get("bases")
    if not isinstance(given, list):
        return data, []
    named = [one.get("name") if isinstance(one, Mapping) else one for one in given]
    names = [name for name in named if isinstance(name, str)]
    if not names or len(names) < len(named):
        raise ConfigError("expected names of bases", where="bases", hint="write bases=[gemma-3-270m, path/to/another]")
    labels = _labels(names)
    renamed = dict(zip(old, labels, strict=False)) if isinstance(old, Mapping) else {}
    gone = [label for label in (old if isinstance(old, Mapping) else {}) if label not in renamed]
    data = {**data, "bases": dict(zip(labels, given, strict=True))}
    remarks: list[str] = []
    _grids(data, renamed, gone, remarks)
    _shown(data, renamed, gone, remarks)
    _claims(data, renamed, gone, remarks)
    return data, remarks


def _labels(names: list[str]) -> list[str]:
    labels: list[str] = []
    for name in names:
        label = _NOT_IN_A_LABEL.sub("-", PurePath(name).name).strip("-._") or "base"
        labels.append(label if label not in labels else f"{label}-{len(labels) + 1}")
    return labels


def _mapping(value: Any) -> dict[str, Any]:
    """Return a copy of a group of settings; what is none is left for the schema to complain about."""
    return dict(value) if isinstance(value, Mapping) else {}


def _grids(data: dict[str, Any], renamed: Mapping[str, str], gone: list[str], remarks: list[str]) -> None:
    grids = _mapping(data.get("grids"))
    for name, grid in list(grids.items()):
        asked = grid.get("bases") if isinstance(grid, Mapping) else None
        if not isinstance(asked, list) or not asked:
            continue
        kept = [renamed.get(label, label) for label in asked if label not in gone]
        if kept:
            grids[name] = {**grid, "bases": kept}
        else:
            del grids[name]
            remarks.append(f"the grid {name!r} is left out: it is about a base that is not given")
    data["grids"] = grids


def _shown(data: dict[str, Any], renamed: Mapping[str, str], gone: list[str], remarks: list[str]) -> None:
    for kind in ("tables", "figures"):
        shown = _mapping(data.get(kind))
        for name, one in list(shown.items()):
            if not isinstance(one, Mapping) or not isinstance(one.get("grids"), list):
                continue
            kept = [grid for grid in one["grids"] if grid in data["grids"]]
            published = {
                renamed.get(label, label): row for label, row in _mapping(one.get("published")).items() if label not in gone
            }
            if kept:
                shown[name] = {**one, "grids": kept, "published": published}
            else:
                del shown[name]
                remarks.append(f"{kind[:-1]} {name!r} is left out with its grids")
        data[kind] = shown


def _claims(data: dict[str, Any], renamed: Mapping[str, str], gone: list[str], remarks: list[str]) -> None:
    claims = _mapping(data.get("claims"))
    for name, claim in list(claims.items()):
        chain = claim.get("chain") if isinstance(claim, Mapping) else None
        if not isinstance(chain, list) or not all(isinstance(link, Mapping) for link in chain):
            continue
        if any(link.get("base") in gone for link in chain):
            del claims[name]
            remarks.append(f"the claim {name!r} is left out: it is about a base that is not given")
        else:
            claims[name] = {
                **claim,
                "chain": [{**link, "base": renamed.get(link.get("base"), link.get("base"))} for link in chain],
            }
    data["claims"] = claims
