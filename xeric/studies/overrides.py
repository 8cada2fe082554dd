"""``--set bases.ROLE=BASE``: another base in a study's role; ``bases.ROLE.prompt.template=chat``: how it is asked.

A study file names its bases by their roles (``multilingual``, ``monolingual``), and grids, claims and published figures speak of
roles. Which base had which role is said in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xeric.config import apply_overrides
from xeric.errors import ConfigError

__all__ = ["fill_roles", "override_bases"]


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


def fill_roles(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings with every base under its role, and remarks on what was left out.

    A list under ``bases`` fills the study file's roles in their order. A role that gets no base, by a shorter list or by null, is
    left out with what speaks of it.

    Args:
        original: the study file as it was, whose roles the grids use.
        data: the same with overrides applied.

    Raises:
        ConfigError: ``bases`` is a list of something else than names or bases in their long form, an empty one, or longer than
            the file's roles.
    """
    given, roles = data.get("bases"), list(_mapping(original.get("bases")))
    if isinstance(given, list):
        names = [base.get("name") if isinstance(base, Mapping) else base for base in given]
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError("expected names of bases", where="bases", hint="write bases=[gemma-3-270m, path/to/another]")
        if len(given) > len(roles):
            hint = f"its roles: {', '.join(roles)}; another is added by bases.NAME=BASE and a grid that names it"
            raise ConfigError(f"{len(given)} bases for a study of {len(roles)}", where="bases", hint=hint)
        given = dict(zip(roles, given, strict=False))
    if not isinstance(given, Mapping):
        return data, []
    data = {**data, "bases": {role: base for role, base in given.items() if base is not None}}
    gone = [role for role in roles if role not in data["bases"]]
    remarks: list[str] = []
    if gone:
        _without(data, gone, remarks)
    return data, remarks


def _mapping(value: Any) -> dict[str, Any]:
    """Return a copy of a group of settings; what is none is left for the schema to complain about."""
    return dict(value) if isinstance(value, Mapping) else {}


def _without(data: dict[str, Any], gone: Sequence[str], remarks: list[str]) -> None:
    """Take out what speaks of roles that have no base."""
    grids = {name: _grid_without(grid, gone) for name, grid in _mapping(data.get("grids")).items()}
    remarks += [
        f"the grid {name!r} is left out: it is about a base that is not given" for name, grid in grids.items() if grid is None
    ]
    data["grids"] = {name: grid for name, grid in grids.items() if grid is not None}
    for kind in ("tables", "figures"):
        shown = {}
        for name, entry in _mapping(data.get(kind)).items():
            named = entry.get("grids") if isinstance(entry, Mapping) else None
            kept = [grid for grid in named if grid in data["grids"]] if isinstance(named, list) else None
            if kept or kept is None:
                shown[name] = entry if kept is None else {**entry, "grids": kept, **_published_without(entry, gone)}
            else:
                remarks.append(f"{kind[:-1]} {name!r} is left out with its grids")
        data[kind] = shown
    claims = _mapping(data.get("claims"))
    about_gone = [name for name, claim in claims.items() if _speaks_of(claim, gone)]
    remarks += [f"the claim {name!r} is left out: it is about a base that is not given" for name in about_gone]
    data["claims"] = {name: claim for name, claim in claims.items() if name not in about_gone}


def _grid_without(grid: Any, gone: Sequence[str]) -> Any:
    """Return a grid without some bases; None where none is left."""
    asked = grid.get("bases") if isinstance(grid, Mapping) else None
    if not isinstance(asked, list) or not asked:
        return grid
    kept = [role for role in asked if role not in gone]
    return {**grid, "bases": kept} if kept else None


def _published_without(entry: Mapping[str, Any], gone: Sequence[str]) -> dict[str, Any]:
    published = _mapping(entry.get("published"))
    return {"published": {label: row for label, row in published.items() if label not in gone}} if published else {}


def _speaks_of(claim: Any, roles: Sequence[str]) -> bool:
    parts = [claim.get(part) for part in ("chain", "controls")] if isinstance(claim, Mapping) else []
    links = [link for part in parts if isinstance(part, list) for link in part]
    return any(isinstance(link, Mapping) and link.get("base") in roles for link in links)
