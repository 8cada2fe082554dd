"""Encoders as generators (the paper's Figure 1): bidirectional over the prompt, causal over the target.

After Dong et al. 2019 (UniLM, arXiv 1905.03197, sections 2.3 and 2.5): a row is ``[CLS] prompt [SEP] target [SEP]``, the prompt
sees itself, the target sees the prompt and what is before it, and each target token is predicted where a [MASK] stands in its
place. The final [SEP] is predicted like any other token and ends a text. Positions and token types (0 for the prompt, 1 for the
target, where the base has two) are the base's own.

UniLM masks some of the target's tokens at random, so that in training a token is predicted after others that are masked, too.
Here every target token gets a [MASK] of its own beside the true tokens, at the same position and seen by nothing else (the
pseudo-masked fine-tuning of Bao et al. 2021, s2s-ft, arXiv 2110.13640). For a target of three, columns and what each sees::

    prompt          p p p               the prompt
    target          y1 y2               the prompt, y1 .. itself
    [MASK]          m1 m2 m3            m_i: the prompt, y_1 .. y_(i-1), itself; predicts y_i

So all tokens carry loss in one pass, and the loss is exactly that of writing from left to right, where a [MASK] is put behind
what is written and read off. The states of the prompt and of written tokens do not depend on what follows; where the family takes
keys and values, they are kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from xeric.bases.architecture import Architecture, Continuation
from xeric.bases.base import Base
from xeric.bases.batches import only_at, refuse_dropped_state, whole, with_vectors
from xeric.bases.encoder_checks import takes_masks, takes_states
from xeric.bases.encoder_columns import PROMPT, QUERY, Columns, attention_mask, prompt_columns, row_columns
from xeric.bases.encoder_writer import Writer
from xeric.bases.protocols import KeysAndValues, RowLayout
from xeric.bases.shared_prefix import PrefixState, for_rows, learned_state, states_in
from xeric.data.encoding import Encoder
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow
from xeric.errors import DataError

__all__ = ["BidirectionalEncoder"]

_LEARNED, _INSTRUCTION, _TARGET = (SEGMENT_KINDS.index(kind) for kind in ("prefix", "instruction", "target"))


@dataclass
class BidirectionalEncoder(Architecture):
    """A masked language model that writes from left to right.

    Attributes:
        mask: id of the [MASK] token.
        sep: id of the token that ends prompt and target.
        first_position: number of the first position: the base's own (RoBERTa counts from 2).
        token_types: whether it tells two kinds of text apart.
        keeps_states: whether it takes computed keys and values; :meth:`check` finds it out.
    """

    mask: int
    sep: int
    first_position: int
    token_types: bool
    keeps_states: bool = False

    name = "encoder"

    @classmethod
    def of(cls, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> BidirectionalEncoder:
        """Return the architecture of an opened model.

        Args:
            name: of the base, for messages.
            model: with an output layer for masked tokens.
            tokenizer: of the model.

        Raises:
            DataError: it has no [MASK] or [SEP] token, or computes positions itself.
        """
        mask, sep = tokenizer.mask_token_id, tokenizer.sep_token_id
        if not isinstance(mask, int) or not isinstance(sep, int):
            raise DataError("has no [MASK] or no [SEP] token, which an encoder needs to write a text", where=name)
        if "position_ids" not in inspect.signature(model.forward).parameters:
            kind = model.config.model_type
            raise DataError(
                f"a {kind!r} encoder takes no positions from outside, so it cannot write a text", where=name, hint="take a BERT"
            )
        tables = [m for n, m in model.named_modules() if n.endswith("position_embeddings") and isinstance(m, torch.nn.Embedding)]
        first = tables[0].padding_idx if tables else None
        types = int(getattr(model.config, "type_vocab_size", 0) or 0)
        return cls(mask, sep, 0 if first is None else first + 1, types > 1)

    def check(self, base: Base) -> None:
        """Check on short rows that the model takes masks and positions of our own, and find out whether it takes states.

        A prompt must give what the library's own way gives, and each [MASK] beside the true tokens what it gives with nothing
        behind it.

        Raises:
            DataError: they do not, or the model cannot be run this way.
        """
        if getattr(base.model.config, "attention_type", None) == "block_sparse" or not takes_masks(self, base):
            raise DataError(
                f"a {base.model.config.model_type!r} encoder takes no mask from outside, so it cannot write a text",
                where=base.name,
                hint="take one of the families BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT or ModernBERT",
            )
        self.keeps_states = takes_states(self, base)

    def encoder(self, base: Base, task: str) -> Encoder:
        """Return the encoder of rows ``[CLS] prefix input [SEP] | target [SEP]``."""
        learned = base.learned_prefix
        has_bos = learned is not None and base.bos is not None and learned.initial_tokens(task)[:1] == (base.bos,)
        context = base.context - (learned.length(task) if learned else 0)
        return Encoder(base.tokenize, base.bos, base.eos, context, has_bos, (self.sep,))

    def takes_prefix(self, base: Base, level: str) -> bool:
        """Whether it takes vectors (always), or keys and values (where the family takes computed ones)."""
        return level == "input" or self.keeps_states

    def prefix_states(self, base: Base, ids: tuple[int, ...]) -> Sequence[KeysAndValues]:
        """Return the keys and values that tokens have as a prompt of their own."""
        cache = DynamicCache()
        columns = Columns.padded([prompt_columns(ids, (_LEARNED,) * len(ids), 0)], base.pad, base.device)
        self.run(base, base.model.base_model, columns, cache=cache)
        return states_in(cache)

    def target_logits(
        self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits at the [MASK] of each target token, and the targets."""
        return self._logits(base, prefix, rows)

    def begin(self, base: Base, prefix: PrefixRow, *, shared: bool) -> PrefixState | None:
        """Return a learned prefix of keys and values."""
        return learned_state(base, prefix.task)

    def write(
        self, base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow], how: Continuation
    ) -> list[list[int]]:
        """Return the new tokens; the prompts are computed once where the family takes computed keys and values."""
        learned = _Learned.of(base, prefix.task, rows[:: how.copies])
        prompts = [
            prompt_columns((*prefix.ids, *row.ids), (*prefix.kinds, *row.kinds), learned.length) for row in rows[:: how.copies]
        ]
        columns = Columns.padded(prompts, base.pad, base.device)
        lengths = torch.tensor([learned.length + len(prompt) for prompt in prompts], device=base.device)
        times, cache = how.copies * how.beams, None
        if self.keeps_states:
            cache = learned.cache(len(prompts)) or DynamicCache()
            columns = self.run(base, base.model.base_model, columns, cache=cache, learned=learned, task=prefix.task)[1]
            cache.batch_repeat_interleave(times)

        def compute(new: Columns, before: Columns | None, kept: DynamicCache | None) -> torch.Tensor:
            last = torch.zeros_like(new.ids, dtype=torch.bool)
            last[:, -1] = True
            with only_at(base.output_embeddings, last):
                first = learned if kept is None else _Learned()
                logits: torch.Tensor = self.run(base, base.model, new, before, kept, first, prefix.task)[0].logits
            return logits

        writer: Any = Writer(
            compute,
            columns.repeated(times),
            lengths.repeat_interleave(times),
            cache,
            mask=self.mask,
            kind=_TARGET,
            vocabulary=base.vocabulary,
            dtype=base.model.dtype,
        )
        start = torch.full((len(rows), 1), base.pad, device=base.device)
        output = writer.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            generation_config=GenerationConfig.from_dict({**how.config.to_dict(), "use_cache": False}),
            logits_processor=how.processors(1),
            stopping_criteria=how.criteria(1),
        )
        new: list[list[int]] = output[:, 1:].tolist()
        return new

    def _run_tokens(self, base: Base, tokens: torch.Tensor) -> None:
        base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens))

    def kept_inputs(self, base: Base, prompt: int, target: int) -> int:
        """Return the inputs of layers for the prompt, the target's tokens, and the [MASK] of each."""
        return super().kept_inputs(base, prompt, 2 * target)

    def _mask(self, base: Base, seen: Columns, width: int) -> Any:
        """Return the mask of the last ``width`` columns, by kind of layer where some look at a window only (ModernBERT)."""
        config, dtype = base.model.config, base.model.dtype
        mask = attention_mask(seen, width, dtype)
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return mask
        return {"full_attention": mask, "sliding_attention": attention_mask(seen, width, dtype, window=config.sliding_window)}

    def _logits(self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow]) -> tuple[torch.Tensor, torch.Tensor]:
        learned = _Learned.of(base, prefix.task, rows)
        if learned.state:
            refuse_dropped_state(base)
        parts = [row_columns(prefix.ids, row, prefix.kinds, learned.length, self.mask) for row in rows]
        columns = Columns.padded([[*prompt, *rest] for prompt, rest in parts], base.pad, base.device)
        with only_at(base.output_embeddings, columns.roles == QUERY):
            output, _ = self.run(base, base.model, columns, cache=learned.cache(len(rows)), learned=learned, task=prefix.task)
        targets = [token for row in rows for token in row.ids[row.target_start :]]
        return output.logits, torch.tensor(targets, device=base.device)

    def run(
        self,
        base: Base,
        model: Any,
        columns: Columns,
        before: Columns | None = None,
        cache: DynamicCache | None = None,
        learned: _Learned | None = None,
        task: str = "",
    ) -> tuple[Any, Columns]:
        """Run columns through the model or its backbone.

        Args:
            base: the base.
            model: of the base.
            columns: that are computed.
            before: columns that the cache holds.
            cache: takes the new keys and values; None keeps none.
            learned: prefix in front of the columns.
            task: of all rows.

        Returns:
            The model's output, and all columns that were seen, the learned ones included.
        """
        vectors = learned.vectors if learned else None
        if learned and learned.length:
            first = [[(base.pad, PROMPT, position, _LEARNED) for position in range(learned.length)]] * len(columns.ids)
            seen = Columns.padded(first, base.pad, base.device).followed_by(columns)
        else:
            seen = columns if before is None else before.followed_by(columns)
        width = columns.width + (0 if vectors is None else len(vectors))
        start = seen.width - width
        layout = RowLayout(seen.positions, seen.kinds, start, whole(task))
        inputs: dict[str, Any] = {
            "attention_mask": self._mask(base, seen, width),
            "position_ids": seen.positions[:, start:] + self.first_position,
        }
        if self.token_types:
            inputs["token_type_ids"] = (seen.kinds[:, start:] == _TARGET).long()
        if cache is not None:
            inputs["past_key_values"] = cache
        if vectors is None:
            inputs["input_ids"] = columns.ids
        else:
            inputs["inputs_embeds"] = with_vectors(base, vectors, columns.ids, layout)
        with base.laid_out(layout):
            return model(**inputs), seen


@dataclass(frozen=True)
class _Learned:
    """A learned prefix: vectors, or a state of keys and values, or neither."""

    vectors: torch.Tensor | None = None
    state: PrefixState | None = None

    @classmethod
    def of(cls, base: Base, task: str, rows: Sequence[InstanceRow]) -> _Learned:
        if base.learned_prefix is None:
            return cls()
        return cls(base.learned_prefix.vectors(task), for_rows(base, task, learned_state(base, task), rows))

    @property
    def length(self) -> int:
        return len(self.vectors) if self.vectors is not None else self.state.length if self.state else 0

    def cache(self, rows: int) -> DynamicCache | None:
        return self.state.cache(rows) if self.state else None
