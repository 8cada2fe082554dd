"""Strict, frozen settings: models, dotted overrides, and errors that carry the dotted path.

A setting that nothing knows is an error, never ignored. Inner code takes plain arguments; only :mod:`xeric.run` and the
layers above it pass whole configs around.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from xeric.encodings import nfc
from xeric.errors import ConfigError, DataError
from xeric.files import full_path
from xeric.refusals import config_error
from xeric.yaml_io import parse_yaml

__all__ = [
    "Config",
    "FullPath",
    "Name",
    "Seed",
    "apply_overrides",
    "build",
    "canonical_json",
    "digest",
    "merge",
]


class Config(BaseModel):
    """Base of all settings: frozen, no unknown keys, no silent conversion between types."""

    # Constants: a NaN inside a field of any type would otherwise be written as null, silently.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True, ser_json_inf_nan="constants"
    )


FullPath = Annotated[str, Field(min_length=1), AfterValidator(full_path)]
"""A setting that names a file or folder: it is kept in full, so that it means the same when the settings are read elsewhere."""

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A setting that is a seed: what every generator of random numbers takes."""

C = TypeVar("C", bound=BaseModel)

Name = Annotated[str, pydantic.AfterValidator(nfc)]
"""A name that a user gives to something (a task): compared in one Unicode form, like the keys of settings."""


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return ``data`` with dotted overrides (``"train.lr=1e-4"``) applied; values are read as YAML.

    Raises:
        ConfigError: an override is not of the form ``dotted.path=value``, or its path runs through something that holds no keys.
    """
    result: dict[str, Any] = _copy(data)
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise ConfigError(f"{override!r} is not a setting", hint="write it as dotted.path=value, for example train.lr=1e-4")
        try:
            value = parse_yaml(text, path)
        except DataError:
            value = text
        *parents, last = keys
        node: Any = result
        for depth, key in enumerate(parents):
            node = _inner(node, key, ".".join(parents[: depth + 1]))
        _set(node, last, value, path)
    return result


def _inner(node: Any, key: str, path: str) -> Any:
    """Return the group of settings under a key of a mapping, made where it is missing, or at a number of a list."""
    inner = node[_place(node, key, path)] if isinstance(node, list) else node.setdefault(key, {})
    if not isinstance(inner, (dict, list)):
        raise ConfigError(f"holds {inner!r}, not a group of settings", where=path)
    return inner


def _set(node: Any, key: str, value: Any, path: str) -> None:
    node[_place(node, key, path) if isinstance(node, list) else key] = value


def _place(node: list[Any], key: str, path: str) -> int:
    places = [str(place) for place in range(len(node))]
    if key not in places:
        raise ConfigError(f"there are {len(node)} of these, numbered from 0", where=path)
    return places.index(key)


def _copy(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(value) for value in data] if isinstance(data, (list, tuple)) else data


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings updated with changes, group by group; the arguments are not modified."""
    merged = {key: merge(value, {}) if isinstance(value, Mapping) else value for key, value in settings.items()}
    for key, value in changes.items():
        current = merged.get(key)
        merged[key] = merge(current if isinstance(current, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged


def build(model: type[C], data: Mapping[str, Any], *, where: str = "") -> C:
    """Return ``data`` as a validated ``model``.

    Args:
        model: the settings class.
        data: plain values (as from YAML).
        where: dotted path of ``data`` itself inside the settings that the user wrote.

    Raises:
        ConfigError: a key is unknown, missing or ill-typed; ``where`` is its dotted path, and the hint names near keys.
    """
    try:
        text = json.dumps(_named(data), allow_nan=True)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError("holds a value that no setting can have", where=where or None) from None
    try:
        return model.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise config_error(model, error, json.loads(text), where) from None


def _named(value: Any) -> Any:
    """Return plain values with every key in the one Unicode form of names."""
    if isinstance(value, Mapping):
        return {nfc(key) if isinstance(key, str) else key: _named(inner) for key, inner in value.items()}
    return [_named(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def canonical_json(value: Any) -> str:
    """Return the one JSON text of plain values or a model: sorted keys, no spaces, Unicode left as it is, no NaN.

    Raises:
        ValueError: a float is not finite, so it has no JSON form.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(_integral_floats(plain), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _integral_floats(value: Any) -> Any:
    """Write 1.0 as 1, so that ``lr=1`` and ``lr=1.0`` are one setting."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {str(k): _integral_floats(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_integral_floats(v) for v in value]
    return value


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of :func:`canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()
