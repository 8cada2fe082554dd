"""A file system that does not answer for a while, made of refusals: the next so many operations below a folder fail."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Outage"]

_OPERATIONS = ("stat", "lstat", "open", "scandir", "listdir", "mkdir", "rmdir", "link", "rename", "replace", "unlink", "utime")


class Outage:
    """Refuses operations on files below a folder from the moment that it begins, and ends after a number of them.

    Args:
        patch: puts the refusals into place.
        folder: what does not answer.
        number: ``errno`` of the refusals.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
        self._folder, self._number, self.left = str(folder), number, 0
        for name in _OPERATIONS:
            patch.setattr(os, name, self._refusing(getattr(os, name)))
        patch.setattr(io, "open", self._refusing(io.open))

    def begin(self, refusals: int) -> None:
        """Refuse the next so many operations."""
        self.left = refusals

    def _refusing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            if self.left and not isinstance(path, int) and str(os.fspath(path)).startswith(self._folder):
                self.left -= 1
                raise OSError(self._number, os.strerror(self._number), str(path))
            return function(path, *arguments, **named)

        return call
