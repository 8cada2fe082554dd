"""What an architecture must do: make rows, compute logits at their target positions, and write texts after their prompts.

The engine (:mod:`xeric.training.loss`, :mod:`xeric.decoding`) and the methods know this interface; each architecture is a file:
:mod:`xeric.bases.causal`, :mod:`xeric.bases.seq2seq`, :mod:`xeric.bases.encoder`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from xeric.bases.cross_entropy import logits_loss
from xeric.bases.protocols import KeysAndValues, RowLayout
from xeric.data.batching import Batching
from xeric.data.encoding import Encoder
from xeric.data.rows import InstanceRow, PrefixRow, RowGroup

if TYPE_CHECKING:
    from xeric.bases.base import Base

__all__ = ["Architecture", "ArchitectureName", "Continuation"]

ArchitectureName = Literal["causal", "seq2seq", "encoder"]


@dataclass(frozen=True)
class Continuation:
    """How texts are written, in terms of transformers' ``generate`` and of our own steps.

    Attributes:
        config: strategy, limit of new tokens, end tokens.
        processors: returns the processors of scores, given the column of the first new token.
        criteria: returns the criteria of stopping, given the same.
        complete: tells of the new tokens of each row whether a stop text ends among the last of them; None where there is none.
        draws: returns the random numbers of a text, ``[limit]`` in float64, from 0 to 1, given the number of its row (copies
            counted); ``generate`` draws from torch's own state instead.
        copies: how often each row is written; copies are adjacent in a batch.
    """

    config: GenerationConfig
    processors: Callable[[int], LogitsProcessorList]
    criteria: Callable[[int], StoppingCriteriaList]
    complete: Callable[[Sequence[Sequence[int]]], list[bool]] | None
    draws: Callable[[int], torch.Tensor]
    copies: int = 1

    @property
    def beams(self) -> int:
        """Hypotheses of each row, which ``generate`` keeps adjacent."""
        return self.config.num_beams or 1

    @property
    def greedy(self) -> bool:
        """Whether each token is the one with the highest logit, whatever was written before."""
        return self.beams == 1 and not self.config.do_sample and not self.processors(0)

    @property
    def limit(self) -> int:
        """The limit of new tokens."""
        return self.config.max_new_tokens or 0


class Architecture(ABC):
    """How a base computes rows.

    Attributes:
        name: as records have it.
        chats: whether a chat template can lay out its prompts.
        exact_prefix_states: whether the keys and values of tokens that are run alone are those that they have in a row.
    """

    name: ClassVar[ArchitectureName]
    chats: ClassVar[bool] = False
    exact_prefix_states: ClassVar[bool] = False

    def check(self, base: Base) -> None:  # noqa: B027 - most families need no check
        """Check an opened base.

        Raises:
            DataError: it cannot compute rows in this way.
        """

    @abstractmethod
    def encoder(self, base: Base, task: str) -> Encoder:
        """Return the encoder of one task's rows; a learned prefix takes up positions, and may replace the BOS."""

    def can_share_prefix(self, base: Base) -> bool:
        """Whether a task prefix can be computed once for many rows now; never where the prompt is read in both directions."""
        return False

    @abstractmethod
    def takes_prefix(self, base: Base, level: str) -> bool:
        """Whether a learned prefix of a level (``kv`` or ``input``) can be put before the base's rows."""

    @abstractmethod
    def prefix_states(self, base: Base, ids: tuple[int, ...]) -> Sequence[KeysAndValues]:
        """Return the keys and values of tokens that are run alone, one pair per layer that a learned prefix precedes."""

    def token_states(self, base: Base, ids: tuple[int, ...]) -> torch.Tensor:
        """Return the last hidden states ``[T, hidden]`` of tokens that are run alone."""
        tokens = torch.tensor([ids], device=base.device)
        output: Any = base.model.base_model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        states: torch.Tensor = output.last_hidden_state[0]
        return states

    @abstractmethod
    def target_logits(
        self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits that predict the targets of one micro-batch, and the targets; see :meth:`Base.target_logits`."""

    def batching(self, base: Base, *, shared: bool) -> Batching:
        """Return how rows are computed together now; ``shared`` is whether a prefix may be computed once for several rows."""
        return "shared" if shared and self.can_share_prefix(base) else "plain"

    def target_losses(
        self, base: Base, groups: Sequence[RowGroup], coefficients: torch.Tensor, *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a weighted sum of losses and the losses of one micro-batch; see :meth:`Base.target_losses`."""
        parts = [self.target_logits(base, prefix, rows, shared=shared) for prefix, rows in groups]
        logits, targets = (torch.cat(tensors) if len(parts) > 1 else tensors[0] for tensors in zip(*parts, strict=True))
        return logits_loss(logits, targets, coefficients)

    @abstractmethod
    def begin(self, base: Base, prefix: PrefixRow, *, shared: bool) -> Any:
        """Return what :meth:`write` needs of a task prefix, computed once for all batches; None where that is nothing."""

    @abstractmethod
    def write(self, base: Base, prefix: PrefixRow, state: Any, rows: Sequence[InstanceRow], how: Continuation) -> list[list[int]]:
        """Return the new tokens of each row; padding follows its end.

        Args:
            base: in evaluation mode.
            prefix: the prefix row that all rows continue.
            state: of :meth:`begin`.
            rows: B rows without targets.
            how: to write.
        """

    def write_rows(
        self, base: Base, prefix: PrefixRow, state: Any, rows: Sequence[InstanceRow], how: Continuation, slots: int
    ) -> Iterator[tuple[int, list[int]]]:
        """Write the texts of all rows of a prefix.

        Args:
            base: in evaluation mode.
            prefix: the prefix row that all rows continue.
            state: of :meth:`begin`.
            rows: without targets, the longest first.
            how: to write.
            slots: texts at once, copies counted, beams not.

        Yields:
            The number of a row (copies counted) and its new tokens, as rows end.
        """
        size = slots // how.copies
        for start in range(0, len(rows), size):
            batch = [row for row in rows[start : start + size] for _ in range(how.copies)]
            yield from enumerate(self.write(base, prefix, state, batch, how), start * how.copies)

    def run_a_row(self, base: Base) -> None:
        """Run one short row of arbitrary tokens through the whole model, for code that watches its modules work.

        What a method adds to attention is left out: it depends on a row's task.
        """
        tokens = torch.arange(1, min(5, base.vocabulary), device=base.device)[None]
        attended, base.attention_addition = base.attention_addition, None
        try:
            with base.laid_out(RowLayout(torch.arange(tokens.shape[1], device=base.device)[None], torch.zeros_like(tokens))):
                self._run_tokens(base, tokens)
        finally:
            base.attention_addition = attended

    @abstractmethod
    def _run_tokens(self, base: Base, tokens: torch.Tensor) -> None:
        """Run a row ``[1, T]`` through the whole model."""

    def logits_at_once(self, base: Base, targets: int) -> int:
        """Return how many logits are held at a time where the losses of ``targets`` target tokens are computed."""
        return targets * base.vocabulary

    def cached_numbers(self, base: Base, prompt: int, new: int) -> int:
        """Return how many numbers the keys and values of one row take while ``new`` tokens are written after ``prompt``."""
        config = base.model.config.get_text_config(decoder=True)
        heads = int(config.num_attention_heads)
        width = int(getattr(config, "head_dim", None) or int(config.hidden_size) // heads)
        unit = 2 * int(config.num_hidden_layers) * int(getattr(config, "num_key_value_heads", None) or heads) * width
        return unit * (prompt + new)

    def kept_inputs(self, base: Base, prompt: int, target: int) -> int:
        """Return how many inputs of layers (vectors) a row keeps under gradient checkpointing, by tokens of prompt and target."""
        return int(base.model.config.get_text_config(decoder=True).num_hidden_layers) * (prompt + target)
