"""Tasks in the Natural Instructions v2 schema (Wang et al. 2022, "Super-NaturalInstructions"), read and validated.

This module knows the schema and nothing else: not where tasks are, not what is noise in them, not how they are split. A file is
read leniently where that is unambiguous (one text for a list of one, a missing optional key, a byte-order mark, whole numbers as
text, ids by position) and refused otherwise, in one :class:`~xeric.errors.DataError` that names file, key and instance.

Decisions where real files differ:

* ``Definition`` with several texts holds alternatives, not parts: the first one is used, as in the schema's own reference code.
* A demonstration whose output is a list shows its first text; every reference is a right answer and a prompt has room for one.
* An answer that is missing, null or an empty list is an empty text, and so is a missing input: cleaning drops such an instance
  under its reason. A demonstration without output is left out.
* An id that stands twice is told apart by a number behind it: predictions are joined to their instances by their ids.
* A number is the text that was written (``0.10``, ``1e3``). A float that comes from Python is refused: its digits are lost.
* A NUL or half a surrogate pair in a text is a sign of a file saved in another encoding and cannot be written again as UTF-8.
* A few lines that are not UTF-8 spoil their instances, not the file: U+FFFD stands for their bytes, and cleaning drops them.
* An instance may carry ``"group"`` (customer, thread, author), an addition of ours; a group stays on one side of a split.
* It may carry ``"image"``, another: the name of a picture's file, relative to the task's (:mod:`xeric.data.pictures`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import regex

from xeric.data import values
from xeric.data.pictures import Picture, find_picture
from xeric.encodings import REPLACEMENT, Text, decode, existing, nfc, not_unicode, read_bytes
from xeric.errors import DataError, UserError
from xeric.files import shown_path
from xeric.json_io import parse_json

__all__ = ["Example", "Instance", "Task", "check_task_name", "load_task", "parse_task"]

_NOT_TEXT = regex.compile(r"[\x00\p{Cs}]")
_BAD_NAME = regex.compile(r"[/\\\p{Cc}\p{Cs}]|^\.|^~|^[A-Za-z]:")


@dataclass(frozen=True)
class Instance:
    """One input with its right answers.

    Attributes:
        id: unique in its task.
        input: what the model is given.
        outputs: references, at least one.
        group: instances of one group (customer, thread, author) stay on one side of a split; None where there is none.
        picture: that belongs to the input; None where there is none.
    """

    id: str
    input: str
    outputs: tuple[str, ...]
    group: str | None = None
    picture: Picture | None = None

    @property
    def key(self) -> str:
        """The SHA-256 of input and outputs; id and position play no part.

        Of an instance with a picture, that of input and picture: tasks that ask the same of the same pictures, each for an
        answer in a language of its own, then draw the same of them.
        """
        parts = [self.input, *self.outputs] if self.picture is None else [self.input, self.picture.sha256]
        return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


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
        name: the file's name without ``.json``, in Unicode NFC.
        definition: the instruction.
        alternative_definitions: further texts under ``Definition``; not used unless asked for.
        path: the file it came from, or None.
        notes: sentences for the user about what was not as it should be: ids told apart, demonstrations left out.
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
    notes: tuple[str, ...] = ()

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
    path = existing(path)
    content = read_bytes(path)
    decoded = decode(content)
    if decoded is None:
        raise not_unicode(path, content)
    task = parse_task(parse_json(decoded.text, str(path), as_written=True), name=path.stem, path=path, group_key=group_key)
    return replace(task, notes=(decoded.note(path.name), *task.notes)) if _only_instances_are_odd(task, decoded) else task


def _only_instances_are_odd(task: Task, decoded: Text) -> bool:
    """Return whether bytes of the file are no text; they must not stand in what every prompt shows."""
    shown = [task.definition, *(text for e in task.positive_examples for text in (e.input, e.output))]
    if decoded.odd and any(REPLACEMENT in text for text in shown):
        where = f"{task.path}, line {decoded.odd[0]}"
        raise DataError("the definition or a demonstration is not UTF-8 text", where=where, hint="save the file as UTF-8")
    return bool(decoded.odd)


def parse_task(data: Any, *, name: str, path: Path | None = None, group_key: str = "group", pictures: Path | None = None) -> Task:
    """Return a task from what a task file holds.

    Args:
        data: the value read from JSON.
        name: the task's name.
        path: the file, for messages and :attr:`Task.path`.
        group_key: the key of an instance that names its group.
        pictures: folder that instances' pictures lie in; None is that of the file.

    Raises:
        DataError: ``data`` is not a task; ``where`` names file, key and instance.
    """
    where, name = shown_path(path or name), nfc(name)
    if _NOT_TEXT.search(name):
        raise DataError("the file's name is not text", where=where, hint="rename the file")
    if not isinstance(data, dict):
        raise DataError(f"expected a JSON object that describes a task, found {values.kind(data)}", where=where)
    definitions = tuple(
        text for text in values.texts(data.get("Definition"), f"{where}, Definition", "the instruction as text") if text.strip()
    )
    if not definitions:
        raise DataError(
            "there is no definition", where=f"{where}, Definition", hint='add "Definition": ["what to do, in a sentence"]'
        )
    notes: list[str] = []
    pictures = path.parent if pictures is None and path is not None else pictures
    return Task(
        name=name,
        definition=definitions[0],
        instances=_instances(data.get("Instances"), name, where, nfc(group_key), pictures, notes),
        positive_examples=_examples(data.get("Positive Examples"), f"{where}, Positive Examples", notes),
        negative_examples=_examples(data.get("Negative Examples"), f"{where}, Negative Examples", notes),
        input_languages=values.names(data.get("Input_language"), f"{where}, Input_language"),
        output_languages=values.names(data.get("Output_language"), f"{where}, Output_language"),
        instruction_languages=values.names(data.get("Instruction_language"), f"{where}, Instruction_language"),
        categories=values.labels(data.get("Categories"), f"{where}, Categories"),
        domains=values.labels(data.get("Domains"), f"{where}, Domains"),
        reasoning=values.labels(data.get("Reasoning"), f"{where}, Reasoning"),
        sources=values.labels(data.get("Source"), f"{where}, Source"),
        urls=values.labels(data.get("URL"), f"{where}, URL"),
        licenses=values.labels(data.get("Instance License"), f"{where}, Instance License"),
        contributors=values.labels(data.get("Contributors"), f"{where}, Contributors"),
        alternative_definitions=definitions[1:],
        path=path,
        notes=tuple(notes),
    )


def check_task_name(name: str) -> str:
    """Return ``name`` in Unicode NFC if it can name a task: one file name without folders and without its ending.

    Raises:
        UserError: it is empty, a path, hidden, or ends in ``.json``.
    """
    shown = ascii(name) if _NOT_TEXT.search(name) else repr(name)
    if name.lower().endswith(".json") and not _BAD_NAME.search(name):
        raise UserError(f"{shown} is a file name, not a task name", hint=f"write {name[: -len('.json')]!r}")
    if not name.strip() or _BAD_NAME.search(name):
        raise UserError(
            f"{shown} is not a task name", hint="give the folder by --tasks-dir and the file's name without .json as the task"
        )
    return nfc(name)


def _instances(
    value: Any, name: str, where: str, group_key: str, pictures: Path | None, notes: list[str]
) -> tuple[Instance, ...]:
    if not isinstance(value, list):
        raise DataError(f"expected a list of instances, found {values.kind(value)}", where=f"{where}, Instances")
    if not value:
        raise DataError("the task has no instances", where=f"{where}, Instances")
    instances: list[Instance] = []
    for position, raw in enumerate(value):
        here = f"{where}, Instances[{position}]"
        if not isinstance(raw, dict):
            raise DataError(f"expected an object with input and output, found {values.kind(raw)}", where=here)
        identity = f"{name}-{position}" if raw.get("id") is None else values.text(raw["id"], f"{here}, id")
        here = f"{here} (id {identity!r})"
        outputs = values.texts(raw.get("output"), f"{here}, output") or ("",)
        group = None if raw.get(group_key) is None else values.text(raw[group_key], f"{here}, {group_key}")
        question = "" if values.is_missing(raw.get("input")) else values.text(raw["input"], f"{here}, input")
        picture = None if raw.get("image") is None else find_picture(raw["image"], pictures, f"{here}, image")
        instances.append(Instance(identity, question, outputs, group, picture))
    for key in ("input", "output"):
        if not any(key in raw or (key == "input" and "image" in raw) for raw in value):
            hint = f"an instance has the keys {', '.join(map(repr, value[0])) or 'none'}"
            raise DataError(f"no instance has the key {key!r}", where=f"{where}, Instances", hint=hint)
    return tuple(_told_apart(instances, notes))


def _told_apart(instances: list[Instance], notes: list[str]) -> Iterator[Instance]:
    """Yield the instances, a number behind each id that was there before."""
    taken = {instance.id for instance in instances}
    seen: set[str] = set()
    renamed: list[str] = []
    for instance in instances:
        identity, number = instance.id, 2
        if identity in seen:
            while f"{identity}~{number}" in taken:
                number += 1
            renamed.append(identity)
            identity = f"{identity}~{number}"
            taken.add(identity)
        seen.add(identity)
        yield instance if identity == instance.id else replace(instance, id=identity)
    if renamed:
        shown = ", ".join(map(repr, dict.fromkeys(renamed[:3])))
        many = (
            f"{len(renamed)} instances have ids that stand before them"
            if len(renamed) > 1
            else "1 instance has an id that stands before it"
        )
        notes.append(f"{many} ({shown}{' ...' if len(renamed) > 3 else ''}); a number was put behind")


def _examples(value: Any, where: str, notes: list[str]) -> tuple[Example, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"expected a list of examples, found {values.kind(value)}", where=where)
    examples: list[Example] = []
    for position, raw in enumerate(value):
        here = f"{where}[{position}]"
        if not isinstance(raw, dict):
            raise DataError(f"expected an object with input and output, found {values.kind(raw)}", where=here)
        outputs = [text for text in values.texts(raw.get("output"), f"{here}, output") if text.strip()]
        if not outputs or values.is_missing(raw.get("input")):
            notes.append(
                f"{here.removeprefix(where.rsplit(', ', 1)[0] + ', ')} has no {'input' if outputs else 'output'} and is left out"
            )
            continue
        explanation = "" if values.is_missing(raw.get("explanation")) else values.text(raw["explanation"], f"{here}, explanation")
        examples.append(Example(values.text(raw["input"], f"{here}, input"), outputs[0], explanation))
    return tuple(examples)
