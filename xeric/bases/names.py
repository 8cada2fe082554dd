"""Names of bases: a registered name, a path, or a hub id. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from xeric.bases.named import NAMED_BASES
from xeric.files import expanded, full_path

__all__ = ["BaseName", "full_name"]


def full_name(name: str) -> str:
    """Return a name that is valid in every working folder: the full path of an existing file or folder, else the name."""
    if name in NAMED_BASES:
        return name
    path = expanded(name)
    try:
        exists = path.exists()
    except (OSError, ValueError):  # a name that no file can have
        exists = False
    return full_path(path) if exists else str(path) if name.startswith("~") else name


BaseName = Annotated[str, AfterValidator(full_name)]
"""A setting that names a base."""
