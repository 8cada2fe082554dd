"""How a base is named: by a registered name, by where it lies, or by a hub id. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from xeric.bases.named import NAMED_BASES
from xeric.files import expanded, full_path

__all__ = ["BaseName", "full_name"]


def full_name(name: str) -> str:
    """Return the name under which a base is found from every folder: the full path of one that lies here, else the name."""
    if name in NAMED_BASES:
        return name
    path = expanded(name)
    try:
        here = path.exists()
    except (OSError, ValueError):  # a name that no file can have
        here = False
    return full_path(path) if here else str(path) if name.startswith("~") else name


BaseName = Annotated[str, AfterValidator(full_name)]
"""A setting that names a base."""
