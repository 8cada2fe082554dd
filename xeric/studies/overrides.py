"""``--set bases.ROLE=BASE``: another base in a study's role; ``bases.ROLE.prompt.template=chat``: its prompt settings.

A study file names its bases by their roles (``multilingual``, ``monolingual``), and grids, claims and published figures name
roles. The report says which base had which role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xeric.config import apply_overrides
from xeric.errors import ConfigError

__all__ = ["fill_roles", "override_bases"]


def override_bases(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a study's plain settings with overrides applied, also those of a setting of a base that is given by its name alone.

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
    """Return the settings with the long form of the base under a label, or at an index of a list."""
    bases = data.get("bases")
    if isinstance(bases, Mapping):
        return {**data, "bases": {key: _named(base) if key == label else base for key, base in bases.items()}}
    if isinstance(bases, list):
        return {**data, "bases": [_named(base) if str(index) == label else base for index, base in enumerate(bases)]}
    return dict(data)


def _named(base: Any) -> Any:
    return {"name": base} if isinstance(base, str) else base


def fill_roles(original: Mapping[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a study's plain settings with every base under its role, and remarks on what was left out.

    A list under ``bases`` fills the study file's roles in their order. A role that gets no base, by a shorter list or by null, is
    left out with the grids, tables, figures and claims that need it.

    Args:
        original: the study file without overrides, whose roles the grids use.
        data: the same with overrides applied.

    Raises:
        ConfigError: ``bases`` is an empty list, has an entry that is neither a name nor a base in its long form, or is longer
            than the file's roles.
    """
    bases, roles = data.get("bases"), list(_mapping(original.get("bases")))
    if isinstance(bases, list):
        names = [base.get("name") if isinstance(base, Mapping) else base for base in bases]
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError("expected names of bases", where="bases", hint="write bases=[gemma-3-270m, path/to/another]")
        if len(bases) > len(roles):
            hint = f"its roles: {', '.join(roles)}; another is added by bases.NAME=BASE and a grid that names it"
            raise ConfigError(f"{len(bases)} bases for a study of {len(roles)}", where="bases", hint=hint)
        bases = dict(zip(roles, bases, strict=False))
    if not isinstance(bases, Mapping):
        return data, []
    data = {**data, "bases": {role: base for role, base in bases.items() if base is not None}}
    removed = [role for role in roles if role not in data["bases"]]
    remarks: list[str] = []
    if removed:
        _without(data, removed, remarks)
    return data, remarks


def _mapping(value: Any) -> dict[str, Any]:
    """Return a copy of a group of settings, empty where the value is not a group: the schema refuses it later."""
    return dict(value) if isinstance(value, Mapping) else {}


def _without(data: dict[str, Any], removed: Sequence[str], remarks: list[str]) -> None:
    """Remove the grids, tables, figures and claims that need a role without a base, as far as the file has any."""
    grids = {name: _grid_without(grid, removed) for name, grid in _mapping(data.get("grids")).items()}
    remarks += [
        f"the grid {name!r} is left out: it is about a base that is not given" for name, grid in grids.items() if grid is None
    ]
    kept_names = [name for name, grid in grids.items() if grid is not None]
    if "grids" in data:
        data["grids"] = {name: grids[name] for name in kept_names}
    for kind in [kind for kind in ("tables", "figures") if kind in data and "grids" in data]:
        kept_entries = {}
        for name, entry in _mapping(data.get(kind)).items():
            grid_names = entry.get("grids") if isinstance(entry, Mapping) else None
            kept_grids = [grid for grid in grid_names if grid in kept_names] if isinstance(grid_names, list) else None
            if kept_grids or kept_grids is None:
                changes = {} if kept_grids is None else {"grids": kept_grids, **_published_without(entry, removed)}
                kept_entries[name] = {**entry, **changes} if changes else entry
            else:
                remarks.append(f"{kind[:-1]} {name!r} is left out with its grids")
        data[kind] = kept_entries
    claims = _mapping(data.get("claims"))
    about_removed = [name for name, claim in claims.items() if _names_role(claim, removed)]
    remarks += [f"the claim {name!r} is left out: it is about a base that is not given" for name in about_removed]
    if "claims" in data:
        data["claims"] = {name: claim for name, claim in claims.items() if name not in about_removed}


def _grid_without(grid: Any, removed: Sequence[str]) -> Any:
    """Return a grid without some bases; None where none is left."""
    bases = grid.get("bases") if isinstance(grid, Mapping) else None
    if not isinstance(bases, list) or not bases:
        return grid
    kept = [role for role in bases if role not in removed]
    return {**grid, "bases": kept} if kept else None


def _published_without(entry: Mapping[str, Any], removed: Sequence[str]) -> dict[str, Any]:
    published = _mapping(entry.get("published"))
    return {"published": {label: row for label, row in published.items() if label not in removed}} if published else {}


def _names_role(claim: Any, roles: Sequence[str]) -> bool:
    lists = [claim.get(items) for items in ("chain", "controls")] if isinstance(claim, Mapping) else []
    links = [link for items in lists if isinstance(items, list) for link in items]
    return any(isinstance(link, Mapping) and link.get("base") in roles for link in links)
