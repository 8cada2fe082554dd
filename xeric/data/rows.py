"""Rows of tokens: the prefix rows that a task's instances share, and one instance row per instance.

:mod:`xeric.data.encoding` makes them of prompts; bases compute them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = [
    "NO_OPENINGS",
    "SEGMENT_KINDS",
    "EncodedTask",
    "InstanceRow",
    "Openings",
    "PrefixRow",
    "RowGroup",
    "SegmentKind",
    "cut_note",
    "grouped_rows",
]

SegmentKind = Literal["prefix", "instruction", "demonstration", "input", "target"]
SEGMENT_KINDS: tuple[SegmentKind, ...] = ("prefix", "instruction", "demonstration", "input", "target")
"""Kinds of segment in their order in a row; ``prefix`` is the learned prompt prefix, which has no text."""

Openings = Mapping[str, tuple[int, ...]]
"""Ids in front of an instance's input, by the instance's id: they stand for vectors that a method makes of the instance (of its
picture: :mod:`xeric.methods.picture`)."""

NO_OPENINGS: Openings = MappingProxyType({})


@dataclass(frozen=True)
class PrefixRow:
    """The tokens that all instances of a task share.

    Attributes:
        task: name of the task.
        ids: token ids, P of them.
        kinds: segment kind of each token (index into ``SEGMENT_KINDS``), P of them.
        demonstrations: how many demonstrations it holds.
    """

    task: str
    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    demonstrations: int


@dataclass(frozen=True)
class InstanceRow:
    """The tokens of one instance.

    Attributes:
        id: the instance's id.
        prefix: index of its prefix row in its task's ``prefixes``.
        ids: token ids of demonstrations of its own, if it has any, input, target and EOS; without the last two in a row for
            decoding.
        kinds: segment kind of each token.
        target_start: index of the first target token; the length of ``ids`` in a row for decoding.
    """

    id: str
    prefix: int
    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    target_start: int

    @property
    def target_tokens(self) -> int:
        """Number of tokens that carry loss, EOS included."""
        return len(self.ids) - self.target_start


@dataclass(frozen=True)
class EncodedTask:
    """The rows of one task.

    Attributes:
        task: its name.
        prefixes: its prefix rows, by number of demonstrations (0, 1, ... k).
        rows: its instance rows, in the order of the instances.
        cuts: how many rows lost what (``demonstrations``, ``input``), and how many were dropped (``target_too_long``).
        opening: white space that opens every target and is not of its text, where blanks before a text are its own
            (``Prompt.keep_indentation``); None where all white space around a text goes.
    """

    task: str
    prefixes: tuple[PrefixRow, ...]
    rows: tuple[InstanceRow, ...]
    cuts: dict[str, int] = field(default_factory=dict)
    opening: str | None = None

    def prefix_of(self, row: InstanceRow) -> PrefixRow:
        """Return the prefix row that an instance row continues."""
        return self.prefixes[row.prefix]


class RowGroup(NamedTuple):
    """Instance rows that continue one prefix row."""

    prefix: PrefixRow
    rows: tuple[InstanceRow, ...]


def grouped_rows(items: Iterable[tuple[EncodedTask, InstanceRow]]) -> list[RowGroup]:
    """Return rows of any tasks by prefix row, groups and rows in the order in which they first come."""
    groups: dict[tuple[str, int], tuple[PrefixRow, list[InstanceRow]]] = {}
    for task, row in items:
        groups.setdefault((task.task, row.prefix), (task.prefix_of(row), []))[1].append(row)
    return [RowGroup(prefix, tuple(rows)) for prefix, rows in groups.values()]


def cut_note(cuts: Mapping[str, int], count: int, what: str, context: int) -> str:
    """Return what truncation did, as a sentence for the user; nothing where it did nothing.

    Args:
        cuts: of an :class:`EncodedTask`.
        count: how many rows were asked for.
        what: these are (``training inputs``).
        context: of the base, in tokens.
    """
    sentences = {
        "input": "{} are cut in the middle",
        "demonstrations": "{} lose demonstrations",
        "target_too_long": "{} are left out, as their targets alone do not fit",
    }
    parts = [sentence.format(f"{cuts[key]} of {count} {what}") for key, sentence in sentences.items() if cuts.get(key)]
    return f"{', '.join(parts)}: the base has a context of {context:,} tokens" if parts else ""
