"""The folder of downloaded and converted bases: the user's cache folder, or the folder that ``XERIC_HOME`` names."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["home"]


def home() -> Path:
    """Return the folder; it need not exist."""
    folder = os.environ.get("XERIC_HOME")
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_path("xeric"))
