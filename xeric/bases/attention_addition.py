"""Attention with an addition: PyTorch's scaled dot product within a row, and attention to keys and values beside the row.

The addition is a learned prefix with a softmax of its own, times a gate (LLaMA-Adapter: Zhang et al. 2023, arXiv 2303.16199,
section 3.2): for a query q of the row, keys K and values V of the row's own columns, and keys K_P and values V_P of the prefix::

    softmax(q K^T) V  +  gate * softmax(q K_P^T) V_P

So a gate of 0 leaves exactly the row's own attention, whatever the prefix holds; the prefix takes up no position of the row, and
every layer sees it, also those that otherwise look at a window only. Nothing of a row's own keys and values changes, so a shared
task prefix, packed rows and steps of decoding work as they do without the addition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from xeric.bases.base import Base
from xeric.errors import RunError

__all__ = ["added", "attention_modules", "attention_of", "begin_adding", "computes_by_sdpa", "end_adding"]

_NAME = "xeric_added"
_BASE = "xeric_base"
_called: ContextVar[list[torch.nn.Module] | None] = ContextVar("called", default=None)


def computes_by_sdpa(base: Base) -> bool:
    """Whether the model computes attention by transformers' interface, with PyTorch's scaled dot product."""
    return all(config._attn_implementation in ("sdpa", _NAME) for config in _configs(base))


@contextlib.contextmanager
def attention_of(base: Base, name: str) -> Iterator[None]:
    """Make the model compute attention by a registered function."""
    before = {id(config): config._attn_implementation for config in _configs(base)}
    try:
        _name_attention(base, name)
        yield
    finally:
        for config in _configs(base):
            config._attn_implementation = before[id(config)]


def attention_modules(base: Base) -> list[torch.nn.Module]:
    """Return the modules that compute attention, in the order in which they do it for one row.

    Args:
        base: one for which :func:`computes_by_sdpa` holds.
    """
    called: list[torch.nn.Module] = []
    token = _called.set(called)
    try:
        with attention_of(base, _NAME), torch.no_grad(), base.autocast(), base.mode(training=False):
            base.architecture.run_a_row(base)
    finally:
        _called.reset(token)
    return called


def begin_adding(base: Base, modules: list[torch.nn.Module]) -> None:
    """Make attention modules add what ``base.attention_addition`` says.

    Args:
        base: one for which :func:`computes_by_sdpa` holds.
        modules: of :func:`attention_modules`, those that add.
    """
    for module in modules:
        module.__dict__[_BASE] = base
    _name_attention(base, _NAME)


def end_adding(base: Base) -> None:
    """Take back what :func:`begin_adding` did."""
    for module in base.model.modules():
        module.__dict__.pop(_BASE, None)
    _name_attention(base, "sdpa")


def added(module: torch.nn.Module, query: torch.Tensor, output: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    """Return the output of an attention module with what is added to it.

    Args:
        module: of attention.
        query: ``[B, heads, T, head size]``.
        output: of the rows' own attention, ``[B, T, heads, head size]``.
        kwargs: of the attention function: scale and dropout.

    Raises:
        RunError: it is not known of which task the columns are.
    """
    base: Base | None = module.__dict__.get(_BASE)
    if base is None or base.attention_addition is None:
        return output
    if base.layout is None or not base.layout.tasks:
        raise RunError(
            "a gated prefix needs to know a row's task, also when activations are recomputed",
            hint="compute rows with target_logits() or decode(), and without gradient checkpointing",
        )
    options = {name: kwargs[name] for name in ("dropout", "scaling") if name in kwargs}
    parts = []
    for task, columns in base.layout.tasks:
        part = output[:, columns]
        if (prefix := base.attention_addition(module, task, columns)) is not None:
            keys, values = (states.to(query.dtype).expand(len(query), -1, -1, -1) for states in (prefix.keys, prefix.values))
            beside = sdpa_attention_forward(module, query[:, :, columns], keys, values, None, is_causal=False, **options)[0]
            part = part + prefix.gate[..., None].to(part.dtype) * beside
        parts.append(part)
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    if (called := _called.get()) is not None:
        called.append(module)
    output = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
    return added(module, query, output, **kwargs), None


def _configs(base: Base) -> list[Any]:
    """Return the configs that the model's modules read."""
    held = (getattr(module, "config", None) for module in base.model.modules())
    return list({id(config): config for config in held if hasattr(config, "_attn_implementation")}.values())


def _name_attention(base: Base, name: str) -> None:
    for config in _configs(base):
        config._attn_implementation = name


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
