"""What goes wrong, where, and what to do about it.

Every error that Xeric raises on purpose is an :class:`XericError`. The command line prints it as one sentence and a hint and
leaves with :attr:`XericError.exit_code`; a traceback is shown only on request.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = [
    "ConfigError",
    "DataError",
    "RunError",
    "StorageError",
    "UnknownNameError",
    "UnreachableError",
    "UserError",
    "XericError",
    "asking_for_train",
    "memory_error",
    "missing_package_error",
    "suggest",
]


class XericError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: one sentence that says what is wrong.
        where: the place, as its reader knows it: a file, a file and a line, a dotted config path.
        hint: one sentence that says what to do.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = _shortened(what)
        self.where = where
        self.hint = None if hint is None else _shortened(hint)
        # A setting's path may hold anything that YAML takes as a key, line separators included.
        super().__init__(f"{' '.join(where.splitlines())}: {self.what}" if where else self.what)

    def __reduce__(self) -> tuple[Callable[..., XericError], tuple[Any, ...]]:
        # By default Python would call the class with the finished sentence alone, which no child's signature need allow: an error
        # that cannot cross to another process takes the whole pool of workers down with it.
        return _restored, (type(self), self.args, self.__dict__)


_LONGEST = 2000
"""A message quotes the input, which may be one word of megabytes; more characters than this are left out of its middle."""


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"


class UserError(XericError):
    """The input is at fault, not the run: exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """A setting is unknown, ill-typed or contradictory; ``where`` is its dotted path.

    Attributes:
        others: further mistakes that were found in the same settings.
    """

    others: tuple[ConfigError, ...] = ()


class DataError(UserError):
    """A data file or what is in it cannot be used; ``where`` is the file, with line, key or instance where known."""


class StorageError(UserError):
    """The file system refuses: a full disk, no right to write, a path through a file; ``where`` is the path."""

    def after_work(self) -> StorageError:
        """Return the error as one that ends a run: work was done, and what of it was saved is kept (exit code 1)."""
        self.exit_code = RunError.exit_code
        self.hint = f"{self.hint}; what was finished is kept" if self.hint else "what was finished is kept"
        return self


class UnreachableError(StorageError):
    """The file system does not answer, as when the network or the server behind it fails: the same may succeed later."""


class UnknownNameError(UserError):
    """A name that no registry or catalogue knows; the hint names the nearest ones.

    Args:
        kind: what was asked for, in the singular ("method", "task").
        name: the name given.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        super().__init__(f"unknown {kind} {name!r}", hint=hint or suggest(name, self.known, kind))


class RunError(XericError):
    """The run itself failed: exit code 1."""


def memory_error(error: BaseException) -> RunError | None:
    """Return that there is not enough memory, as an error for the user; None where the error is of another kind."""
    message = str(error).lower()
    if not isinstance(error, MemoryError) and "out of memory" not in message and "can't allocate memory" not in message:
        return None
    return RunError(
        "there is not enough memory", hint="lower train.micro_batch_size and decode.batch_size, or take a smaller base"
    )


_TRAIN_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "gguf", "tokenizers", "huggingface_hub")
_EXTRAS = {**dict.fromkeys(_TRAIN_PACKAGES, "train"), "gradio": "play", "ray": "ray", "PIL": "pictures"}
"""Packages by the names that are imported, and the extra of pyproject.toml that installs them."""


def missing_package_error(error: BaseException) -> UserError | None:
    """Return that a package of an extra is not installed, as an error for the user; None for any other error."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in _EXTRAS:
        return None
    return UserError(f"this needs {package}, which is not installed", hint=f"pip install 'xeric[{_EXTRAS[package]}]'")


@contextlib.contextmanager
def asking_for_train() -> Iterator[None]:
    """Turn that a package of the extra ``train`` is not installed into an error that says what to install.

    Raises:
        UserError: an import within the block needs such a package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_package_error(error) or error from error


def _restored(kind: type[XericError], arguments: tuple[Any, ...], state: dict[str, Any]) -> XericError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def suggest(name: str, known: Iterable[str], kind: str) -> str:
    """Return a hint that names the known names nearest to ``name``, or a few of them where none is near."""
    known = sorted(known)
    if not known:
        return f"there is no {kind} here at all"
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or [k for k in known if name.lower() in k.lower()][:3]
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    shown = ", ".join(known[:12])
    return f"known: {shown}" + (f" and {len(known) - 12} more" if len(known) > 12 else "")
