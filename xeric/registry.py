"""A lazy, typed registry: names to ``"module:attribute"`` targets, imported when asked for.

The registry knows nothing about what it holds beyond its type. One line adds a thing; command-line choices, contract tests
and study grids read the names from here, so nothing has to be listed twice.

A package of somebody else's adds a thing by an entry point of the registry's group, without a line here::

    [project.entry-points."xeric.metrics"]
    exact_match = "acme.metrics:ExactMatch"

Entry points are read when a registry is first asked, and what they name is imported when it is asked for, like all else.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from xeric.errors import UnknownNameError, UserError

__all__ = ["Entry", "Registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One registered thing.

    Attributes:
        name: under which it is found.
        target: where it is (``"package.module:attribute"``).
        summary: one line about it.
        package: the installed package that brings it, with its version; nothing for what is Xeric's own.
    """

    name: str
    target: str
    summary: str
    package: str = ""

    @property
    def origin(self) -> str:
        """Where it is and who brings it, for messages."""
        return f"{self.target} of {self.package or 'Xeric'}"


class Registry(Generic[T]):
    """Names to lazily imported objects of one kind.

    Args:
        kind: what the registry holds, in the singular; used in messages.
        group: of the entry points by which installed packages add to it; None where they cannot.
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._brought: dict[str, Entry] | None = None

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
            UserError: a package brings it, and it cannot be imported.
        """
        self.check(name)
        entry = self._all()[name]
        try:
            return cast(T, _imported(entry.target))
        except Exception as error:
            if not entry.package:
                raise
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise UserError(
                f"the {self.kind} {name!r} of the package {entry.package} cannot be imported: {type(error).__name__}: {reason}",
                hint="install a version of the package that works here, or uninstall it",
            ) from error

    def check(self, name: str) -> None:
        """Check that the name is known; nothing is imported.

        Raises:
            UnknownNameError: nothing is registered under that name; the hint names the nearest.
        """
        if name not in self:
            raise UnknownNameError(self.kind, name, self._all())

    def names(self) -> list[str]:
        """Return the registered names, in order of registration; then those that packages bring, in alphabetical order."""
        return list(self._all())

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._all().values())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        """Return Xeric's own entries and those of packages.

        Raises:
            UserError: a package brings a name that is taken.
        """
        if self._brought is None:
            self._brought = self._read(self.group) if self.group else {}
        return {**self._entries, **self._brought}

    def _read(self, group: str) -> dict[str, Entry]:
        # Not at the top: it takes longer to load than all the rest that a list of commands needs.
        from importlib import metadata

        brought: dict[str, Entry] = {}
        for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
            entry = Entry(point.name, point.value, f"from the package {package}", package)
            if taken := self._entries.get(entry.name) or brought.get(entry.name):
                raise UserError(
                    f"the {self.kind} {entry.name!r} is there twice: {taken.origin}, and {entry.origin}",
                    hint=f"uninstall {'one of the two packages' if taken.package else entry.package}",
                )
            brought[entry.name] = entry
        return brought


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(":")
    thing: Any = importlib.import_module(module)
    for name in attribute.split("."):
        thing = getattr(thing, name)
    return thing
