"""The short forms of a study file: names in the place of entries, and what a file of bases and tasks alone leaves out.

A file in its long form is returned as it is, so that no study has another identity for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import regex

from xeric.studies.entries import MethodEntry

__all__ = ["PAPER_METHODS", "long_form", "with_default_methods", "with_defaults"]

PAPER_METHODS = ("full", "lora", "bottleneck", "prefix", "combined")
"""The methods of a study that names none, each under its own name."""

_LONG_KEYS = frozenset(MethodEntry.model_fields)
_NO_LABEL = regex.compile(r"[^A-Za-z0-9._-]+")
_NO_NAME = regex.compile(r"[^a-z0-9_-]+")


def long_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's plain settings with bases, tasks and methods in their long form: by label, with their names.

    What is in neither form is left as it is: the schema refuses it.

    Args:
        data: the study file.
    """
    changed = dict(data)
    for key in ("tasks", "sources"):
        if isinstance(data.get(key), str):
            changed[key] = [data[key]]
    if "bases" in data:
        changed["bases"] = _by_label(data["bases"])
    if "methods" in data:
        entries = _by_label(data["methods"])
        if isinstance(entries, Mapping):
            entries = {label: _method(label, entry) for label, entry in entries.items()}
        changed["methods"] = entries
    return changed


def _by_label(entries: Any) -> Any:
    """Return the entries of a list, or a single one, by a label made of each one's name."""
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, list):
        return entries
    given = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    names = [name for name in given if isinstance(name, str) and name]
    if not entries or len(names) < len(entries):
        return entries
    labels: list[str] = []
    for name in names:
        label = _label(name)
        same = sum(other == label or other.startswith(f"{label}-") for other in labels) if label in labels else 0
        labels.append(f"{label}-{same + 1}" if same else label)
    return dict(zip(labels, entries, strict=True))


def _label(name: str) -> str:
    """Return a label for a name: its last part where it is a path or a hub id, without what no label may hold."""
    last = name.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return _NO_LABEL.sub("-", last.removesuffix(".gguf")).strip("-._") or "base"


def _method(label: str, entry: Any) -> Any:
    """Return an entry under ``methods`` with the method's name: its label where the entry names none."""
    if isinstance(entry, str):
        return {"name": entry}
    if entry is None:
        entry = {}
    if not isinstance(entry, Mapping) or "name" in entry or "like" in entry:
        return entry
    if not _LONG_KEYS & set(entry):
        return {"name": label, **entry}
    method = entry.get("method", {})
    return {**entry, "method": {"name": label, **method}} if isinstance(method, Mapping) and "name" not in method else entry


def _method_of(data: Mapping[str, Any], label: str) -> str | None:
    """Return the name of the method that stands under a label of a study in its long form; None where there is none."""
    entry = _group(data, "methods").get(label)
    method = entry.get("method", entry) if isinstance(entry, Mapping) else None
    name = method.get("name") if isinstance(method, Mapping) else None
    return name if isinstance(name, str) else None


def with_default_methods(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's plain settings in their long form with the paper's methods where it names none."""
    return dict(data) if "methods" in data else {**data, "methods": {method: {"name": method} for method in PAPER_METHODS}}


def with_defaults(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a study's plain settings in their long form with what was left out: grids, name and title.

    Without grids of its own a study is every method trained with instructions, beside few-shot and zero-shot prompting, on every
    base. Only such a study gets default tables, figures and claims: a study with grids of its own says itself what it shows.

    Args:
        data: the study, in its long form.
        name: what it is called where the file does not say, such as the name of the file.
    """
    name = _NO_NAME.sub("-", name.lower()).strip("-_") or "study"
    complete = {"name": name, **data}
    if isinstance(complete["name"], str):
        words = complete["name"].replace("-", " ").replace("_", " ")
        complete = {"title": words[:1].upper() + words[1:], **complete}
    if "grids" not in data:
        complete["grids"] = {"methods": {}, "prompting": {"settings": ["few-shot", "zero-shot"]}}
        shown = ["methods", "prompting"]
        complete.setdefault("tables", {"methods": {"title": "Methods and prompting", "grids": shown}})
        figures = {
            "methods": {"title": "Methods and prompting", "grids": shown},
            "cost": {"title": "Quality against cost", "kind": "pareto", "grids": ["methods"]},
        }
        complete.setdefault("figures", figures)
        complete.setdefault("claims", _claims(complete))
    return complete


def _claims(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paper's claims about methods and settings, on every base, as far as the study has the methods."""
    by_method: dict[str, str] = {}
    for label in _group(data, "methods"):
        if (name := _method_of(data, label)) is not None:
            by_method.setdefault(name, label)
    bases, claims = list(_group(data, "bases")), dict[str, Any]()
    for base in bases:
        suffix = "" if len(bases) == 1 else f"-{base}"
        if all(method in by_method for method in ("full", "lora", "bottleneck", "combined")):
            order = ("combined", "full", "lora", "bottleneck")
            sentence = (
                "The combined method surpasses full fine-tuning, which surpasses LoRA, which surpasses the bottleneck adapter."
            )
            chain = [{"base": base, "method": by_method[method]} for method in order]
            claims[f"methods{suffix}"] = {"sentence": sentence, "chain": chain, "family": "methods"}
        if tuned := by_method.get("lora") or next(iter(by_method.values()), None):
            sentence = "Instruction tuning surpasses few-shot prompting, which surpasses zero-shot prompting."
            chain = [{"base": base, "method": tuned}]
            chain += [{"base": base, "method": "none", "setting": setting} for setting in ("few-shot", "zero-shot")]
            claims[f"settings{suffix}"] = {"sentence": sentence, "chain": chain, "family": "settings"}
    return claims


def _group(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return dict(value) if isinstance(value, Mapping) else {}
