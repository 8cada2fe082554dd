"""Files of ``bench`` and ``tools`` as modules: they are run, and belong to no package that could be imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["load_script"]

_ROOT = Path(__file__).parents[1]


def load_script(path: str) -> ModuleType:
    """Return a script as a module, loaded anew.

    Args:
        path: of the file, from the root of the project.
    """
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, _ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module
