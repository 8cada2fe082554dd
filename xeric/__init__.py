"""Adapt a language model to a text-generation task with a few hundred examples, and learn which way of adapting it is best."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from xeric.api import generate, load_task, prepare, run_study, score, train
    from xeric.bases.loading import load_base
    from xeric.run.adapted import open_adapted

__all__ = ["generate", "load_base", "load_task", "open_adapted", "prepare", "run_study", "score", "train"]

# Imported when asked for: `import xeric` costs nothing, and what scores predictions never loads a model library.
_HOMES = {
    "generate": "xeric.api",
    "load_base": "xeric.bases.loading",
    "load_task": "xeric.api",
    "open_adapted": "xeric.run.adapted",
    "prepare": "xeric.api",
    "run_study": "xeric.api",
    "score": "xeric.api",
    "train": "xeric.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xeric' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
