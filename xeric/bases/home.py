"""Where Xeric keeps what it fetched or converted: the user's cache folder, or the folder that ``XERIC_HOME`` names."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["home"]


def home() -> Path:
    """Return the folder; it need not exist."""
    named = os.environ.get("XERIC_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_path("xeric"))
