"""Chat templates of foreign models: programs in Jinja, rendered without a way out of the sandbox and within bounds.

The transformers library renders them in jinja2's immutable sandbox, which keeps them from Python's internals, from files and
from the network, but not from running forever or filling the memory. Here the work is counted (lines and calls, so that the same
template is refused on every machine), the memory that may be added is limited where the system can do that, and operators whose
work cannot be counted are refused beforehand: powers, and products of two values neither of which the template writes out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jinja2
import psutil
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from transformers import PreTrainedTokenizerBase

from xeric.errors import ConfigError

resource: Any = importlib.import_module("resource") if importlib.util.find_spec("resource") else None  # not on every system

__all__ = ["MAX_STEPS", "render_chat"]

MAX_STEPS = 300_000
"""Lines and calls that a template may run; those of published models run some thousands."""

_MAX_NUMBER = 1_000_000
_MAX_MEMORY = 1024**3
_MAX_LENGTH = 1_000_000
_HINT = "use prompt.template=plain"


def render_chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], generation: bool, **values: Any) -> str:
    """Return chat messages as a tokenizer's chat template writes them.

    Args:
        tokenizer: has a chat template.
        messages: with ``role`` and ``content``.
        generation: whether the text ends where the model is to answer.
        values: further variables of the template.

    Raises:
        ConfigError: the template refuses the messages, fails, or does more than it may.
    """
    try:
        _check_operators(tokenizer.get_chat_template())
        with _bounded():
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation, **values)
    except Exception as error:  # noqa: BLE001 - a template raises whatever its author, or an attacker, wrote
        raise _refusal(_reason(error)) from None
    if len(str(text)) > _MAX_LENGTH:
        raise _refusal(f"it writes {len(str(text))} characters")
    return str(text)


def _refusal(reason: str) -> ConfigError:
    return ConfigError(f"the base's chat template fails: {reason}", where="prompt.template", hint=_HINT)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    message = error.message if isinstance(error, jinja2.TemplateError) else str(error)
    lines = (message or "").strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


class _TooMuchError(Exception):
    """A template does more than it may."""


class _Generation(Extension):
    """The tag around a model's own texts, which the library knows."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _check_operators(template: str) -> None:
    """Check that a template holds no operator that a single step could keep busy with.

    Not left to the counting: such a step ends only with the result, and one between constants is computed when compiling.
    """
    environment = jinja2.Environment(autoescape=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
    tree = environment.parse(template)
    if tree.find(nodes.Pow) is not None:
        raise _TooMuchError("it computes powers")
    for product in tree.find_all(nodes.Mul):
        if not isinstance(product.left, nodes.Const) and not isinstance(product.right, nodes.Const):
            raise _TooMuchError("it multiplies values of any size")
    for constant in tree.find_all(nodes.Const):
        if isinstance(constant.value, int) and abs(constant.value) > _MAX_NUMBER:
            raise _TooMuchError(f"it holds a number above {_MAX_NUMBER}")


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Count steps, and limit the memory that may be added."""
    steps = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > MAX_STEPS:
            raise _TooMuchError(f"it does not end within {MAX_STEPS} steps")
        return count

    traced = sys.gettrace()
    with _limited_memory():
        sys.settrace(count)
        try:
            yield
        finally:
            sys.settrace(traced)


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    if resource is None or not hasattr(resource, "RLIMIT_AS"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + _MAX_MEMORY
    tightest = min(bound for bound in (soft, hard, limit) if bound != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (tightest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
