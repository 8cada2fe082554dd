"""Errors of settings models in plain words: the dotted path as the user wrote it, the range of a number, near names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xeric.errors import ConfigError

__all__ = ["NAME_PATTERN", "config_error", "expectation"]

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
"""The form of a study's name."""

_FORMS: dict[str, str] = {NAME_PATTERN: "small letters, digits, '-' and '_', beginning with a letter or digit"}

# What pydantic says about values, in the words of its own types.
_PLAIN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a whole number of fewer digits",
    "float_type": lambda _: "a number",
    "float_parsing": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "greater_than": lambda context: f"a number above {context['gt']}",
    "greater_than_equal": lambda context: f"a number of at least {context['ge']}",
    "less_than": lambda context: f"a number below {context['lt']}",
    "less_than_equal": lambda context: f"a number of at most {context['le']}",
    "multiple_of": lambda context: f"a multiple of {context['multiple_of']}",
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "none_required": lambda _: "null",
    "literal_error": lambda context: context["expected"],
    "enum": lambda context: context["expected"],
    "string_type": lambda _: "text",
    "string_unicode": lambda _: "text that is valid Unicode",
    "string_too_short": lambda context: f"at least {_count(context['min_length'], 'letter', 'letters')}",
    "string_too_long": lambda context: f"at most {_count(context['max_length'], 'letter', 'letters')}",
    "string_pattern_mismatch": lambda context: _FORMS.get(context["pattern"], f"text of the form {context['pattern']}"),
    "tuple_type": lambda _: "a list",
    "list_type": lambda _: "a list",
    "set_type": lambda _: "a list",
    "iterable_type": lambda _: "a list",
    "too_short": lambda context: f"at least {_count(context['min_length'], 'entry', 'entries')}",
    "too_long": lambda context: f"at most {_count(context['max_length'], 'entry', 'entries')}",
    "invalid_key": lambda _: "keys that are text",
}
_MAPPINGS = {"dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"}
_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_NEAR = 0.5
"""How similar a key must be to a known one to be taken for it."""

_OWN_WORDS = {"value_error", "assertion_error"}
"""Complaints of Xeric's own validators, which are sentences for the user already."""


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def expectation(raw: Any, *, mapping: str = "a group of settings") -> str | None:
    """Return what should stand in the place of a value that pydantic complains of, in plain words.

    None where the complaint is a sentence of Xeric's own, or about a key and not about a value.

    Args:
        raw: an entry of :meth:`pydantic.ValidationError.errors`.
        mapping: what the user calls a mapping.
    """
    if raw["type"] in {*_OWN_WORDS, "missing", "extra_forbidden", "json_invalid"}:
        return None
    if raw["type"] in _MAPPINGS:
        return mapping
    if raw["type"] in _PLAIN:
        return _PLAIN[raw["type"]](raw.get("ctx", {}))
    return "another value"


class _Fault:
    """One complaint of pydantic's: the user's path to it, and the branches of unions that it was tried as."""

    def __init__(self, raw: Any, data: Any) -> None:
        self.location: tuple[int | str, ...] = raw["loc"]
        self.type: str = raw["type"]
        self.message: str = raw["msg"].removeprefix("Value error, ")
        self.input = raw["input"]
        self.expected = expectation(raw)
        self.path: list[str] = []
        self.branches: list[str] = []
        self.branch_at: int | None = None
        node = data
        for position, part in enumerate(self.location):
            # What is no key of the user's is the branch of a union ("int", "literal['auto']", a model's name).
            is_in_data = part in node if isinstance(node, dict) else isinstance(node, list) and part in range(len(node))
            if is_in_data or (self.type == "missing" and position == len(self.location) - 1):
                node = node[part] if is_in_data else None
                self.path.append(str(part))
            else:
                self.branches.append(str(part))
                self.branch_at = position if self.branch_at is None else self.branch_at


def config_error(model: type[BaseModel], error: pydantic.ValidationError, data: Any, where: str) -> ConfigError:
    """Return what pydantic says of settings as an error with the dotted path, in plain words, and near names in the hint.

    Further mistakes in the same settings are its :attr:`xeric.errors.ConfigError.others`.

    Args:
        model: that refused.
        error: pydantic's.
        data: the settings, plain.
        where: dotted path of ``data`` itself.
    """
    faults = [_Fault(raw, data) for raw in error.errors(include_url=False)]
    first, *others = [_described(model, group, where) for group in _by_value(faults)]
    first.others = tuple(others)
    return first


def _described(model: type[BaseModel], faults: list[_Fault], where: str) -> ConfigError:
    """Return the error about one value: what the branch that was meant says of it, and behind it what the others say."""
    first = faults[0]
    path = ".".join(([where] if where else []) + first.path) or None
    if first.type == "extra_forbidden":
        settings = _keys(model, first.path[:-1], first.branches)
        near = difflib.get_close_matches(first.path[-1], settings, n=1, cutoff=_NEAR)
        hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(sorted(settings)) if settings else None
        return ConfigError("unknown setting", where=path, hint=hint)
    if first.type == "missing":
        return ConfigError("this setting is required", where=path)
    if first.type == "json_invalid":
        return ConfigError("holds text that is not valid Unicode", where=where or None)
    if first.expected is None:
        return ConfigError(first.message[:1].lower() + first.message[1:], where=path)
    expected = [_range(model, fault) or fault.expected for fault in faults if fault.expected is not None]
    value = repr(first.input)
    allowed = " or ".join(dict.fromkeys(expected))
    return ConfigError(f"expected {allowed}, found {value if len(value) <= 80 else value[:77] + '...'}", where=path)


def _range(model: type[BaseModel], fault: _Fault) -> str | None:
    """Return the range of a number that is out of it, in words; None for other complaints."""
    if fault.type not in _OUT_OF_RANGE:
        return None
    fields = _fields(model, fault.path, fault.branches)
    limits: dict[str, Any] = {}
    for limit in [limit for field in fields for limit in (*field.metadata, *_annotated(field.annotation))]:
        limits |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
    shown = {name: f"{limit:g}" if isinstance(limit, float) else str(limit) for name, limit in limits.items()}
    kind = "a number" if any(_allows_fractions(field.annotation) for field in fields) else "a whole number"
    if "ge" in shown and "le" in shown:
        return f"{kind} from {shown['ge']} to {shown['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [f"{words[name]} {shown[name]}" for name in words if name in shown]
    return f"{kind} {' and '.join(bounds)}" if bounds else f"{kind} {fault.expected}"


def _fields(model: type[BaseModel], path: list[str], branches: list[str]) -> list[FieldInfo]:
    """Return the fields at a path, or those that hold what is there in a list or mapping: several where a union has several."""
    kinds: list[Any] = [model]
    at_path: list[FieldInfo] = []
    for part in path:
        if fields := [kind.model_fields[part] for kind in _chosen(kinds, branches) if part in kind.model_fields]:
            at_path = fields
        kinds = [alternative for kind in kinds for inner in _inside(kind, part) for alternative in _alternatives(inner)]
    return at_path


def _allows_fractions(annotation: Any) -> bool:
    return annotation is float or any(_allows_fractions(inner) for inner in get_args(annotation))


def _annotated(annotation: Any) -> list[Any]:
    """Return everything that stands in ``Annotated`` somewhere in a type."""
    own = list(annotation.__metadata__) if get_origin(annotation) is Annotated else []
    own = [limit for entry in own for limit in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    return own + [limit for inner in get_args(annotation) for limit in _annotated(inner)]


def _by_value(faults: list[_Fault]) -> list[list[_Fault]]:
    """Return the faults of each value; the first value is not a missing one unless all are.

    A value that fits no branch of a union is refused once by each. The branch that was meant is the one that went deepest
    into the value, then the one with the fewest complaints. A misspelt key goes before the key that is missing for it.
    """
    stems: dict[tuple[int | str, ...], list[_Fault]] = {}
    for fault in faults:
        stem = fault.location if fault.branch_at is None else fault.location[: fault.branch_at]
        stems.setdefault(stem, []).append(fault)
    values = [value for of_stem in stems.values() for value in _most_telling(of_stem)]
    misspelt = [value[0].path for value in values if value[0].type == "extra_forbidden"]
    meant = [value for value in values if value[0].type != "missing" or not _misspelt(value[0].path, misspelt)]
    return sorted(meant, key=lambda value: value[0].type == "missing")


def _misspelt(path: list[str], unknown: list[list[str]]) -> bool:
    """Return whether an unknown key beside a missing one has a name near to its."""
    beside = [other[-1] for other in unknown if other[:-1] == path[:-1]]
    return bool(difflib.get_close_matches(path[-1], beside, n=1, cutoff=_NEAR))


def _most_telling(faults: list[_Fault]) -> list[list[_Fault]]:
    """Return the faults of the branch that was meant, by value, and behind each what the other branches say of the value."""
    if faults[0].branch_at is None:
        return [faults]
    branches: dict[int | str, list[_Fault]] = {}
    for fault in faults:
        branches.setdefault(fault.location[fault.branch_at or 0], []).append(fault)
    meant = min(branches.values(), key=lambda of_branch: (-max(len(fault.path) for fault in of_branch), len(of_branch)))
    others = [fault for of_branch in branches.values() if of_branch is not meant for fault in of_branch]
    return [
        [first, *(fault for fault in [*meant, *others] if fault.path == first.path and fault is not first)]
        for number, first in enumerate(meant)
        if first.path not in [fault.path for fault in meant[:number]]
    ]


def _keys(model: type[BaseModel], path: list[str], branches: list[str]) -> list[str]:
    """Return the settings known at a path; ``branches`` picks among the models of a union, by class or by a literal of theirs."""
    kinds: list[Any] = [model]
    for part in path:
        kinds = [alternative for kind in kinds for inner in _inside(kind, part) for alternative in _alternatives(inner)]
    return list(dict.fromkeys(key for kind in _chosen(kinds, branches) for key in kind.model_fields))


def _chosen(kinds: list[Any], branches: list[str]) -> list[type[BaseModel]]:
    """Return the models among kinds: those of the branches of a union that were tried, where they are told apart."""
    models = [kind for kind in kinds if _is_model(kind)]
    return [kind for kind in models if not _tags(kind).isdisjoint(branches)] or models


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, part: str) -> list[Any]:
    if _is_model(kind):
        return [kind.model_fields[part].annotation] if part in kind.model_fields else []
    inner = get_args(kind)
    return list(inner[-1:] if get_origin(kind) in (dict, Mapping) else inner)


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in _alternatives(inner)]
    return [annotation]


def _tags(kind: type[BaseModel]) -> set[str]:
    literals = (get_args(field.annotation) for field in kind.model_fields.values() if get_origin(field.annotation) is Literal)
    return {kind.__name__, *(str(value) for values in literals for value in values)}
