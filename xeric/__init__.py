"""Adapt a language model to a text-generation task with a few hundred examples, and learn which way of adapting it is best."""

import lazy_loader

from xeric.errors import asking_for_train

__version__ = "0.1.0"

# The names are those of __init__.pyi, each imported when asked for: `import xeric` costs nothing, and what scores predictions
# never loads a model library.
_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    with asking_for_train():
        return _imported(name)
