"""A lazy, typed registry: names to ``"module:attribute"`` targets, imported when asked for.

The registry knows nothing about what it holds beyond its type. One line adds a thing; command-line choices, contract tests
and study grids read the names from here, so nothing has to be listed twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from xeric.errors import UnknownNameError

__all__ = ["Entry", "Registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One registered thing: its name, where it is (``"package.module:attribute"``) and one line about it."""

    name: str
    target: str
    summary: str


class Registry(Generic[T]):
    """Names to lazily imported objects of one kind.

    Args:
        kind: what the registry holds, in the singular; used in messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, target: str, summary: str) -> None:
        """Add ``target`` (``"package.module:attribute"``) under ``name``.

        Raises:
            ValueError: the name is taken, or the target is not of the form ``module:attribute``. Both are mistakes in code,
                not in input.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice: {self._entries[name].target} and {target}")
        module, colon, attribute = target.partition(":")
        if not (module and colon and attribute):
            raise ValueError(f"target {target!r} of {self.kind} {name!r} is not of the form 'module:attribute'")
        self._entries[name] = Entry(name, target, summary)

    def get(self, name: str) -> T:
        """Import and return what is registered under ``name``.

        Raises:
            UnknownNameError: nothing is registered under that name; the hint names the nearest.
        """
        self.check(name)
        module, _, attribute = self._entries[name].target.partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def check(self, name: str) -> None:
        """Do nothing if the name is known; nothing is imported.

        Raises:
            UnknownNameError: nothing is registered under that name; the hint names the nearest.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)

    def names(self) -> list[str]:
        """Return the registered names, in order of registration."""
        return list(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
