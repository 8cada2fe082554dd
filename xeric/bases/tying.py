"""Parameters that two modules share: taken apart before one of them changes, put together again afterwards.

Most small bases use one matrix to embed tokens and to make logits (Press & Wolf 2017, arXiv 1608.05859). A method on one of the
two layers is none on the other, so what it folds into that layer's weights must leave the other layer's as they are.
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
    """Make the config say whether embedding and output layer share their weights: saving, and reading again, go by it."""
    tied = base.output_embeddings.weight is base.input_embeddings.weight
    for config in {id(one): one for one in (base.model.config, base.model.config.get_text_config(decoder=True))}.values():
        if getattr(config, "tie_word_embeddings", tied) != tied:
            config.tie_word_embeddings = tied


@contextmanager
def weights_kept(base: Base) -> Iterator[None]:
    """Give the base its own parameters back afterwards, their values and which modules share them; they are kept on the CPU.

    Args:
        base: no method is attached to it, neither now nor afterwards.
    """
    places = [(module, dict(module._parameters), dict(module._modules)) for module in base.model.modules()]
    values = {name: p.detach().to("cpu", copy=True) for name, p in base.model.named_parameters()}
    own = dict(base.model.named_parameters())
    try:
        yield
    finally:
        for module, parameters, children in places:
            module._parameters.update(parameters)
            module._modules.update(children)
        for name, parameter in own.items():
            parameter.requires_grad_(False)
            parameter.data = values[name].to(parameter.device)
        say_whether_tied(base)
