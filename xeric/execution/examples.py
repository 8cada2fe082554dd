"""An example of a right setting for every dotted path of a study file, made of the models that check it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import regex
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xeric.errors import UserError
from xeric.methods import METHODS
from xeric.methods.base import MethodOptions
from xeric.run.config import RunConfig, Stage
from xeric.studies.config import StudyConfig
from xeric.studies.entries import MethodEntry

__all__ = ["example_of"]

_CLAIM = '{sentence: "The first is better than the second.", chain: [{base: BASE, method: A}, {base: BASE, method: B}]}'
_WRITTEN: dict[str, str] = {
    "name": "name: my-study",
    "title": 'title: "Which method is best for us?"',
    "bases": "bases: [gemma-3-270m]",
    "bases.*": "{}: gemma-3-270m",
    "bases.*.name": "name: gemma-3-270m",
    "tasks": "tasks: [email_subject_en]",
    "tasks.*": "tasks: [email_subject_en]",
    "tasks_dirs": "tasks_dirs: [folder/of/tasks]",
    "sources": "sources: [another_task]",
    "sources.*": "sources: [another_task]",
    "methods": "methods: [full, lora]",
    "methods.*": "{}: {name: lora, rank: 8}",
    "methods.*.name": "name: lora",
    "methods.*.like": "like: lora",
    "methods.*.method": "method: {name: lora, rank: 8}",
    "methods.*.train": "train: {epochs: 1}",
    "methods.*.prompt": "prompt: {definition: false}",
    "prompts": "prompts: {searched: {search: {candidates: 64}}}",
    "prompts.*": "{}: {search: {candidates: 64}}",
    "prompts.*.prompt": "prompt: {demonstration_choice: nearest}",
    "prompts.*.search": "search: {candidates: 64}",
    "grids": "grids: {all: {settings: [instruction, few-shot]}}",
    "grids.*": "{}: {methods: [lora], settings: [instruction, few-shot]}",
    "grids.*.bases": "bases: [BASE]",
    "grids.*.methods": "methods: [A]",
    "grids.*.prompts": "prompts: [own]",
    "grids.*.n_train": "n_train: [10, 25, 50]",
    "tables": 'tables: {all: {title: "All arms", grids: [GRID]}}',
    "tables.*": '{}: {title: "All arms", grids: [GRID]}',
    "figures": 'figures: {all: {title: "All arms", grids: [GRID]}}',
    "figures.*": '{}: {title: "All arms", grids: [GRID]}',
    "claims": f"claims: {{c: {_CLAIM}}}",
    "claims.*": "{}: " + _CLAIM,
    "claims.*.chain": "chain: [{base: BASE, method: A}, {base: BASE, method: B}]",
    "claims.*.chain.*": "{base: BASE, method: A, setting: instruction}",
    "claims.*.chain.*.base": "base: BASE",
    "claims.*.chain.*.method": "method: A",
    "claims.*.controls.*": "{base: BASE, method: A}",
    "claims.*.controls.*.base": "base: BASE",
    "claims.*.controls.*.method": "method: A",
    "claims.*.sentence": 'sentence: "The first is better than the second."',
    "tables.*.title": 'title: "All arms"',
    "tables.*.grids": "grids: [GRID]",
    "figures.*.title": 'title: "All arms"',
    "figures.*.grids": "grids: [GRID]",
    "grids.*.settings": "settings: [instruction, few-shot, zero-shot]",
    "claims.*.metrics": "metrics: [chrf]",
    "tables.*.metrics": "metrics: [chrf, rouge_l]",
    "figures.*.metrics": "metrics: [chrf, rouge_l]",
    "run.train.lr": "lr: 1.0e-4",
    "run.metrics": "metrics: [chrf, rouge_l]",
    "run": "run: {data: {max_test: 40}, train: {epochs: 1}}",
    "stage": "stage: {method: {name: full}, train: {epochs: 1}}",
    "stage.method": "method: {name: full}",
    "stage.method.name": "name: full",
    "seeds": "seeds: [0, 1, 2]",
    "tuning": "tuning: {trials: 4, seed: 1000}",
    "tuning.space": "space: {lora: {train.lr: {low: 1.0e-4, high: 1.0e-2}}}",
    "paraphrases": 'paraphrases: {TASK: ["The definition in other words."]}',
}
_INTEGERS, _FLOATS = (100, 8, 1, 0), (0.1, 0.5, 1.0, 2.0, 0.0)


def example_of(where: str, study: Mapping[str, Any]) -> str | None:
    """Return a setting that is right at a dotted path of a study file, as YAML; for an unknown setting, one of those known there.

    None where there is nothing to show.

    Args:
        where: the path.
        study: the study's settings, whose labels and methods the path goes by.
    """
    example = _example(where.split("."), study)
    return None if example is None else _with_labels(example, study)


def _with_labels(example: str, study: Mapping[str, Any]) -> str:
    """Return an example with the study's own labels in the place of capital letters, as far as it has them."""
    first: dict[str, list[str]] = {
        key: [label for label in entries if isinstance(label, str)]
        for key in ("bases", "methods", "grids", "tasks")
        if isinstance(entries := study.get(key), Mapping | list)
    }
    places = {"BASE": ("bases", 0), "A": ("methods", 0), "B": ("methods", 1), "GRID": ("grids", 0), "TASK": ("tasks", 0)}

    def label(match: regex.Match[str]) -> str:
        key, number = places[match[0]]
        labels = first.get(key, [])
        return labels[number] if number < len(labels) else match[0]

    return str(regex.sub(r"\b(?:BASE|GRID|TASK|A|B)\b", label, example))


def _example(path: list[str], study: Mapping[str, Any]) -> str | None:
    for length in range(len(path), 0, -1):
        written = _written(path[:length])
        if written is not None and length == len(path):
            return written
        if (field := _field(path[:length], study)) is not None:
            return field
        if written is not None:
            return written
    return None


def _written(path: list[str]) -> str | None:
    for pattern, example in _WRITTEN.items():
        parts = pattern.split(".")
        if len(parts) == len(path) and all(part in ("*", key) for part, key in zip(parts, path, strict=True)):
            return example.replace("{}", path[-1])
    return None


def _field(path: list[str], study: Mapping[str, Any]) -> str | None:
    """Return an example of a model's field, or of the known one whose name is nearest."""
    kind: Any = StudyConfig
    for number, key in enumerate(path[:-1]):
        kind = _inside(kind, path[: number + 1], key, study)
        if kind is None:
            return None
    if not _is_model(kind):
        return None
    name = next(iter(difflib.get_close_matches(path[-1], kind.model_fields, n=1, cutoff=0.5)), None)
    if name is None:
        return None
    if (written := _written([*path[:-1], name])) is not None:
        return written
    field = kind.model_fields[name]
    return f"{name}: {json.dumps(_value(field.annotation, field), ensure_ascii=False, default=_plain)}"


def _inside(kind: Any, path: list[str], key: str, study: Mapping[str, Any]) -> Any:
    """Return the model of the settings under a key."""
    if path == ["run"]:
        return RunConfig
    if path == ["stage"]:
        return Stage
    if path[0] == "methods" and len(path) == 2:
        entry = study.get("methods", {}).get(key)
        return _options(entry) if isinstance(entry, Mapping) and "name" in entry else MethodEntry
    if path[0] in ("methods", "prompts") and len(path) == 3 and key in ("train", "prompt"):
        return RunConfig.model_fields[key].annotation
    if path[-1] == "method" and path[0] in ("methods", "stage"):
        node: Any = study
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        return _options(node)
    if _is_model(kind):
        field = kind.model_fields.get(key)
        return None if field is None else _model_in(field.annotation) or field.annotation
    entries = [get_args(inner) for inner in (kind, *get_args(kind)) if get_origin(inner) in (dict, tuple)]
    entry = (entries[0][1] if len(entries[0]) > 1 else entries[0][0]) if entries else None
    # The second argument of a tuple's type is an ellipsis.
    entry = entries[0][0] if entry is Ellipsis else entry
    return _model_in(entry) or entry


def _options(entry: Any) -> type[MethodOptions] | None:
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    try:
        return METHODS.get(name).Options if isinstance(name, str) else None
    except UserError:
        return None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _model_in(annotation: Any) -> Any:
    """Return the model that an annotation is, or one of whose alternatives it is; None for others, containers of models too."""
    if _is_model(annotation):
        return annotation
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _model_in(inner[0])
    if get_origin(annotation) in (Union, UnionType):
        return next((model for kind in inner if (model := _model_in(kind)) is not None), None)
    return None


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else list(value)


def _value(annotation: Any, field: FieldInfo | None = None, limits: tuple[Any, ...] = ()) -> Any:
    """Return a value of a type: its default where that says something, else one within its limits."""
    if field is not None:
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        if default not in (None, (), {}, "") and not isinstance(default, BaseModel):
            return default
        limits = tuple(field.metadata)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = [limit for entry in inner[1:] for limit in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
        return _value(inner[0], None, (*limits, *own))
    if origin in (Union, UnionType):
        return _value(next(kind for kind in inner if kind is not NoneType), None, limits)
    if origin is Literal:
        return inner[0]
    if origin is tuple:
        return [_value(inner[0])]
    if origin is dict:
        return {"NAME": _value(inner[1])}
    if _is_model(annotation):
        name, first = next(iter(annotation.model_fields.items()))
        return {name: _value(first.annotation, first)}
    if annotation is int or annotation is float:
        candidates: tuple[float, ...] = _INTEGERS if annotation is int else _FLOATS
        return next((number for number in candidates if _within(number, limits)), candidates[-1])
    return {bool: True, str: "TEXT"}.get(annotation, "VALUE")


def _within(number: float, limits: tuple[Any, ...]) -> bool:
    low = all(number >= limit.ge for limit in limits if getattr(limit, "ge", None) is not None)
    high = all(number <= limit.le for limit in limits if getattr(limit, "le", None) is not None)
    inside = all(number > limit.gt for limit in limits if getattr(limit, "gt", None) is not None)
    return low and high and inside and all(number < limit.lt for limit in limits if getattr(limit, "lt", None) is not None)
