"""Tasks in the Natural Instructions v2 schema (Wang et al. 2022, "Super-NaturalInstructions"), read and validated.

This module knows the schema and nothing else: not where tasks are, not what is noise in them, not how they are split. A file is
read leniently where that is unambiguous (one text for a list of one, a missing optional key, a byte-order mark, whole numbers as
text, ids by position) and refused otherwise, in one :class:`~xeric.errors.DataError` that names file, key and instance.

Decisions where real files differ:

* ``Definition`` with several texts holds alternatives, not parts: the first one is used, as in the schema's own reference code.
* A demonstration whose output is a list shows its first text; every reference is a right answer and a prompt has room for one.
* An id that stands twice is refused: predictions could no longer be joined to their instances.
* Numbers with a fraction are refused, because the digits that were written (``0.10``, ``1e3``) are lost once JSON has been read.
* A NUL or half a surrogate pair in a text is a sign of a file saved in another encoding and cannot be written again as UTF-8.
* An instance may carry ``"group"`` (customer, thread, author), an addition of ours; a group stays on one side of a split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from xeric.errors import DataError, UserError
from xeric.records import read_json

__all__ = ["Example", "Instance", "Task", "check_task_name", "load_task", "parse_task"]

_NOT_TEXT = regex.compile(r"[\x00\p{Cs}]")
_BAD_NAME = regex.compile(r"[/\\\p{Cc}\p{Cs}]|^\.|^~|^[A-Za-z]:")
_TEXTS = "a text or a list of texts"


@dataclass(frozen=True)
class Instance:
    """One input with its right answers.

    Attributes:
        id: unique in its task.
        input: what the model is given.
        outputs: references, at least one.
        group: instances of one group (customer, thread, author) stay on one side of a split; None where there is none.
    """

    id: str
    input: str
    outputs: tuple[str, ...]
    group: str | None = None

    @property
    def key(self) -> str:
        """The SHA-256 of input and outputs: what it is, whatever its id and place."""
        return hashlib.sha256("\x1f".join([self.input, *self.outputs]).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Example:
    """A demonstration: an input, an output and, where given, why the output is right (or, for a negative example, wrong)."""

    input: str
    output: str
    explanation: str = ""


@dataclass(frozen=True)
class Task:
    """A task file's content; every tuple may be empty except ``instances``.

    Attributes:
        name: the file's name without ``.json``.
        definition: the instruction.
        alternative_definitions: further texts under ``Definition``; not used unless asked for.
        path: the file it came from, or None.
    """

    name: str
    definition: str
    instances: tuple[Instance, ...]
    positive_examples: tuple[Example, ...] = ()
    negative_examples: tuple[Example, ...] = ()
    input_languages: tuple[str, ...] = ()
    output_languages: tuple[str, ...] = ()
    instruction_languages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    contributors: tuple[str, ...] = ()
    alternative_definitions: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def language(self) -> str:
        """The one output language, by its English name.

        Raises:
            DataError: the task declares none, or several.
        """
        if len(self.output_languages) != 1:
            declared = " and ".join(self.output_languages) or "none"
            raise DataError(
                f"expected one output language, found {declared}",
                where=f"{self.path or self.name}, Output_language",
                hint='declare one, for example "Output_language": ["Spanish"]',
            )
        return self.output_languages[0]


def load_task(path: Path | str, *, group_key: str = "group") -> Task:
    """Return the task in a Natural Instructions v2 JSON file.

    Args:
        path: of the file.
        group_key: the key of an instance that names its group.

    Raises:
        DataError: the file cannot be read, is not JSON, or is not such a task; ``where`` names file, key and instance.
    """
    path = Path(path)
    try:
        data = read_json(path)
    except ValueError:  # a number of thousands of digits, or a path that no file can have
        raise DataError(
            "cannot be read as JSON", where=ascii(str(path))[1:-1], hint="check the path and the numbers in it"
        ) from None
    return parse_task(data, name=path.stem, path=path, group_key=group_key)


def parse_task(data: Any, *, name: str, path: Path | None = None, group_key: str = "group") -> Task:
    """Return a task from what a task file holds.

    Args:
        data: the value read from JSON.
        name: the task's name.
        path: the file, for messages and :attr:`Task.path`.
        group_key: the instances' key that holds their group, where they have one.
        group_key: the key of an instance that names its group.

    Raises:
        DataError: ``data`` is not a task; ``where`` names file, key and instance.
    """
    place = ascii(str(path or name))[1:-1] if _NOT_TEXT.search(str(path or name)) else str(path or name)
    if _NOT_TEXT.search(name):
        raise DataError("the file's name is not text", where=place, hint="rename the file")
    if not isinstance(data, dict):
        raise DataError(f"expected a JSON object that describes a task, found {_kind(data)}", where=place)
    definitions = tuple(
        text for text in _texts(data.get("Definition"), f"{place}, Definition", "the instruction as text") if text.strip()
    )
    if not definitions:
        raise DataError(
            "there is no definition", where=f"{place}, Definition", hint='add "Definition": ["what to do, in a sentence"]'
        )
    return Task(
        name=name,
        definition=definitions[0],
        instances=_instances(data.get("Instances"), name, place, group_key),
        positive_examples=_examples(data.get("Positive Examples"), f"{place}, Positive Examples"),
        negative_examples=_examples(data.get("Negative Examples"), f"{place}, Negative Examples"),
        input_languages=_texts(data.get("Input_language"), f"{place}, Input_language"),
        output_languages=_texts(data.get("Output_language"), f"{place}, Output_language"),
        instruction_languages=_texts(data.get("Instruction_language"), f"{place}, Instruction_language"),
        categories=_labels(data.get("Categories"), f"{place}, Categories"),
        domains=_labels(data.get("Domains"), f"{place}, Domains"),
        reasoning=_labels(data.get("Reasoning"), f"{place}, Reasoning"),
        sources=_labels(data.get("Source"), f"{place}, Source"),
        urls=_labels(data.get("URL"), f"{place}, URL"),
        licenses=_labels(data.get("Instance License"), f"{place}, Instance License"),
        contributors=_labels(data.get("Contributors"), f"{place}, Contributors"),
        alternative_definitions=definitions[1:],
        path=path,
    )


def check_task_name(name: str) -> str:
    """Return ``name`` if it can name a task: one file name without folders and without its ending.

    Raises:
        UserError: it is empty, a path, hidden, or ends in ``.json``.
    """
    shown = ascii(name) if _NOT_TEXT.search(name) else repr(name)
    if name.endswith(".json") and not _BAD_NAME.search(name):
        raise UserError(f"{shown} is a file name, not a task name", hint=f"write {name.removesuffix('.json')!r}")
    if not name.strip() or _BAD_NAME.search(name):
        raise UserError(
            f"{shown} is not a task name", hint="give the folder by --tasks-dir and the file's name without .json as the task"
        )
    return name


def _instances(value: Any, name: str, place: str, group_key: str) -> tuple[Instance, ...]:
    if not isinstance(value, list):
        raise DataError(f"expected a list of instances, found {_kind(value)}", where=f"{place}, Instances")
    if not value:
        raise DataError("the task has no instances", where=f"{place}, Instances")
    instances: list[Instance] = []
    seen: dict[str, int] = {}
    for position, raw in enumerate(value):
        here = f"{place}, Instances[{position}]"
        if not isinstance(raw, dict):
            raise DataError(f"expected an object with input and output, found {_kind(raw)}", where=here)
        identity = f"{name}-{position}" if raw.get("id") is None else _text(raw["id"], f"{here}, id")
        here = f"{here} (id {identity!r})"
        if identity in seen:
            raise DataError(
                f"the id stands twice, first at Instances[{seen[identity]}]", where=here, hint="give each its own id, or none"
            )
        seen[identity] = position
        outputs = _texts(raw.get("output"), f"{here}, output", "a text or a list of texts")
        if not outputs:
            raise DataError(f"expected {_TEXTS}, found {_kind(raw.get('output'))}", where=f"{here}, output")
        group = None if raw.get(group_key) is None else _text(raw[group_key], f"{here}, {group_key}")
        instances.append(Instance(identity, _text(raw.get("input"), f"{here}, input"), outputs, group))
    return tuple(instances)


def _examples(value: Any, place: str) -> tuple[Example, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"expected a list of examples, found {_kind(value)}", where=place)
    examples: list[Example] = []
    for position, raw in enumerate(value):
        here = f"{place}[{position}]"
        if not isinstance(raw, dict):
            raise DataError(f"expected an object with input and output, found {_kind(raw)}", where=here)
        outputs = _texts(raw.get("output"), f"{here}, output")
        if not outputs:
            raise DataError(f"expected a text, found {_kind(raw.get('output'))}", where=f"{here}, output")
        explanation = "" if raw.get("explanation") is None else _text(raw["explanation"], f"{here}, explanation")
        examples.append(Example(_text(raw.get("input"), f"{here}, input"), outputs[0], explanation))
    return tuple(examples)


def _text(value: Any, place: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        hint = "write it in quotation marks" if isinstance(value, float) and math.isfinite(value) else None
        raise DataError(f"expected text, found {_kind(value)}", where=place, hint=hint)
    bad = _NOT_TEXT.search(value)
    if bad:
        what = "a NUL character" if bad.group() == "\0" else "half of a surrogate pair"
        raise DataError(
            f"the text holds {what} ({bad.group()!a})", where=place, hint="save the source as UTF-8 and make the file again"
        )
    return value


def _texts(value: Any, place: str, expected: str = _TEXTS) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(_text(item, f"{place}[{position}]") for position, item in enumerate(value))
    if isinstance(value, Mapping | bool | float):
        raise DataError(f"expected {expected}, found {_kind(value)}", where=place)
    return (_text(value, place),)


def _labels(value: Any, place: str) -> tuple[str, ...]:
    # Descriptive keys come out of spreadsheets: an empty cell is null or NaN there and says nothing.
    items = value if isinstance(value, list) else [value]
    return tuple(_text(item, place) for item in items if item is not None and not (isinstance(item, float) and math.isnan(item)))


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list) and not value:
        return "an empty list"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return (
        "a number with a fraction"
        if isinstance(value, float) and math.isfinite(value)
        else names.get(type(value), type(value).__name__)
    )
