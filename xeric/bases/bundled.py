"""The bases that the package carries; looking them up loads nothing."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

__all__ = ["PREFIX", "bundled_bases"]

PREFIX = "bundled:"


def bundled_bases() -> dict[str, Path]:
    """Return the folders of the bundled bases, by full name (``bundled:...``)."""
    root = Path(str(importlib.resources.files("xeric"))) / "bundled" / "bases"
    if not root.is_dir():
        return {}
    return {PREFIX + folder.name: folder for folder in sorted(root.iterdir()) if (folder / "config.json").is_file()}
