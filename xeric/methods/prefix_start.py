"""What a prompt prefix is made of, and how it starts: as the tokens of an instruction, as drawn tokens, or as drawn numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from xeric.bases.base import Base
from xeric.bases.protocols import KeysAndValues
from xeric.errors import ConfigError

if TYPE_CHECKING:
    from xeric.methods.prefix import PrefixOptions

__all__ = ["OnePrefix", "drawn_numbers", "make_prefix"]

_DEFAULT_LENGTH = 16
# A row must still hold an instruction, an input and a target.
_MOST_OF_CONTEXT = 4
_STD = 0.02


class OnePrefix(nn.Module):
    """The parameters of one prefix: ``vectors``, or ``keys_i`` and ``values_i`` of each layer i; float32 whatever the base is in.

    Args:
        ids: the tokens it starts as.
        vectors: ``[m, hidden]``, or None.
        pairs: one per layer, or empty.
    """

    def __init__(self, ids: tuple[int, ...], vectors: torch.Tensor | None, pairs: Sequence[KeysAndValues]) -> None:
        super().__init__()
        self.ids = ids
        self.vectors = None if vectors is None else nn.Parameter(vectors.float())
        self.dtypes = [pair[0].dtype if pair else None for pair in pairs]
        for number, pair in enumerate(pairs):
            if pair is not None:
                self.register_parameter(f"keys_{number}", nn.Parameter(pair[0].float()))
                self.register_parameter(f"values_{number}", nn.Parameter(pair[1].float()))

    @property
    def positions(self) -> tuple[str, int]:
        """The name of a parameter, and which of its dimensions is as long as the prefix."""
        if self.vectors is not None:
            return "vectors", 0
        return next((f"keys_{number}", 2) for number, dtype in enumerate(self.dtypes) if dtype)

    @property
    def length(self) -> int:
        """M."""
        name, dimension = self.positions
        return self.get_parameter(name).shape[dimension]

    def resize(self, length: int) -> None:
        """Take another length; the parameters are 0 until values are put into them."""
        if self.vectors is not None:
            self.vectors.data = self.vectors.new_zeros(length, self.vectors.shape[1])
        for name, part in self.named_parameters():
            if name.startswith(("keys_", "values_")):
                part.data = part.new_zeros(*part.shape[:2], length, part.shape[3])

    def keys_and_values(self) -> list[KeysAndValues]:
        """Return one pair per layer, in the type that the base's attention uses."""
        return [
            (getattr(self, f"keys_{number}").to(dtype), getattr(self, f"values_{number}").to(dtype)) if dtype else None
            for number, dtype in enumerate(self.dtypes)
        ]


def make_prefix(base: Base, options: PrefixOptions, text: str, seed: int, number: int) -> OnePrefix:
    """Return a prefix at its start.

    Args:
        base: without the prefix, in evaluation mode.
        options: of the prefix.
        text: that it starts from, with the start ``instruction``.
        seed: of what is drawn.
        number: of the prefix among those of the same seed.

    Raises:
        ConfigError: it takes more than a quarter of the base's context.
    """
    ids = _initial_ids(base, options, text, seed, number)
    limit = base.context // _MOST_OF_CONTEXT
    if options.length is not None and options.length > limit:
        raise ConfigError(
            f"{options.length} positions are more than a quarter of the context ({base.context})",
            where="method.length",
            hint=f"at most {limit}",
        )
    drawn = options.start == "random"
    if options.level == "input":
        table = base.input_embeddings.weight
        assert isinstance(table, torch.Tensor)
        vectors = base.input_embeddings(torch.tensor(ids, device=base.device)).detach().clone()
        if drawn:
            spread = float(vectors.float().std()) if len(ids) > 1 else _STD
            vectors = drawn_numbers((options.length or _DEFAULT_LENGTH, vectors.shape[1]), seed, number, spread).to(base.device)
        return OnePrefix(() if drawn else ids, vectors, [])
    pairs: list[KeysAndValues] = list(base.architecture.prefix_states(base, ids))
    if drawn:
        m = options.length or _DEFAULT_LENGTH
        pairs = [pair and _draw_pair(pair, m, seed, number * len(pairs) + layer) for layer, pair in enumerate(pairs)]
    stands_for_tokens = base.architecture.exact_prefix_states and not drawn
    return OnePrefix(ids if stands_for_tokens else (), None, [pair and (pair[0].clone(), pair[1].clone()) for pair in pairs])


def _initial_ids(base: Base, options: PrefixOptions, text: str, seed: int, number: int) -> tuple[int, ...]:
    """Return the tokens that a prefix starts as; for a random start, a few that only show shapes and spread."""
    first = [] if base.bos is None else [base.bos]
    if options.start != "instruction":
        # Tables are often longer than the tokenizer's list of tokens; the rows behind it were never trained.
        special = {*base.eos, base.pad, *base.tokenizer.all_special_ids}
        usual = [i for i in range(min(base.vocabulary, len(base.tokenizer))) if i not in special]
        drawn = random.Random(f"{seed} {number}").choices(usual, k=options.length or _DEFAULT_LENGTH)
        return tuple([*first, *drawn][: options.length or _DEFAULT_LENGTH])
    # As the plain prompt writes a definition, so that this prefix can take its place.
    words = base.tokenize(f"{text}\n\n")
    length = options.length or min(len(first) + len(words), base.context // _MOST_OF_CONTEXT)
    return tuple([*first, *words * (length // max(1, len(words)) + 1)][:length])


def drawn_numbers(shape: tuple[int, ...], seed: int, number: int, spread: float) -> torch.Tensor:
    """Return normal numbers of a seed and of the number of what they are for, with a standard deviation."""
    generator = torch.Generator().manual_seed(random.Random(f"{seed} {number} values").getrandbits(62))
    return torch.randn(shape, generator=generator) * spread


def _draw_pair(like: tuple[torch.Tensor, torch.Tensor], m: int, seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = (
        drawn_numbers((1, part.shape[1], m, part.shape[3]), seed, 2 * number + side, _STD).to(part)
        for side, part in enumerate(like)
    )
    return keys, values
