"""Parameters that two modules share: separated before one of them changes, and shared again afterwards.

Most small bases use one matrix to embed tokens and to make logits (Press & Wolf 2017, arXiv 1608.05859). A method on one of the
two layers does not concern the other, so merging it into that layer's weights must not change the other layer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from xeric.bases.base import Base

__all__ = ["say_whether_tied", "untie", "weights_kept"]


def untie(base: Base, modules: Iterable[nn.Module]) -> None:
    """Give modules parameters of their own where they share some with modules elsewhere in the model.

    Args:
        base: whose model they are part of; :func:`say_whether_tied` brings its config up to date.
        modules: whose weights are about to change.
    """
    holders = Counter(id(p) for module in base.model.modules() for p in module._parameters.values() if p is not None)
    for module in modules:
        for name, parameter in module._parameters.items():
            if parameter is not None and holders[id(parameter)] > 1:
                holders[id(parameter)] -= 1
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)


def say_whether_tied(base: Base) -> None:
    """Record in the config whether embedding and output layer share their weights, which saving and loading depend on."""
    tied = base.output_embeddings.weight is base.input_embeddings.weight
    for config in {
        id(config): config for config in (base.model.config, base.model.config.get_text_config(decoder=True))
    }.values():
        if getattr(config, "tie_word_embeddings", tied) != tied:
            config.tie_word_embeddings = tied


@contextmanager
def weights_kept(base: Base) -> Iterator[None]:
    """Restore the base's parameters afterwards: their values (kept on the CPU) and which modules share them.

    Args:
        base: no method is attached to it, neither now nor afterwards.
    """
    holders = [(module, dict(module._parameters), dict(module._modules)) for module in base.model.modules()]
    values = {name: p.detach().to("cpu", copy=True) for name, p in base.model.named_parameters()}
    parameters_by_name = dict(base.model.named_parameters())
    try:
        yield
    finally:
        for module, parameters, children in holders:
            module._parameters.update(parameters)
            module._modules.update(children)
        for name, parameter in parameters_by_name.items():
            parameter.requires_grad_(False)
            parameter.data = values[name].to(parameter.device)
        say_whether_tied(base)
