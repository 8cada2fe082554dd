"""Encoder-decoder models: the prompt goes into the encoder, the target into the decoder.

A row of a prompt of five tokens and a target of two, in the way of T5 (``<pad>`` begins, ``</s>`` ends) and of BART (its own
decoder start, then the BOS that its targets begin with)::

    T5      encoder  d d d x x </s>         decoder  <pad> y y            predicts        y y </s>
    BART    encoder  <s> d d d x x </s>     decoder  </s> <s> y y         predicts        y y </s>

What the decoder begins with is given, never predicted: ``decoder_start_token_id``, then ``forced_bos_token_id`` where the base
declares one (mBART's language code), else the BOS where its tokenizer puts one first. What stands around a prompt is what the
tokenizer puts around a text. The encoder reads the prompt in both directions, so a task prefix cannot be shared.

A learned prefix of vectors stands before the encoder's embeddings (Lester et al. 2021); one of keys and values before the
decoder's self-attention, whose positions it takes up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from xeric.bases.architecture import Architecture, Continuation
from xeric.bases.base import Base
from xeric.bases.batches import only_at, pad_right, refuse_dropped_state, row_layout, with_vectors
from xeric.bases.protocols import KeysAndValues
from xeric.bases.shared_prefix import PrefixState, for_rows, learned_state, states_in
from xeric.bases.special_tokens import around_text
from xeric.data.encoding import Encoder
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow
from xeric.errors import DataError

__all__ = ["Seq2Seq"]

_LEARNED, _INSTRUCTION, _TARGET = (SEGMENT_KINDS.index(kind) for kind in ("prefix", "instruction", "target"))


@dataclass(frozen=True)
class Seq2Seq(Architecture):
    """An encoder that reads the prompt and a decoder that writes the target.

    Attributes:
        start: what the decoder begins with.
        input_end: what ends a prompt.
        target_context: limit of the decoder's tokens.
    """

    start: tuple[int, ...]
    input_end: tuple[int, ...]
    target_context: int

    name = "seq2seq"

    @classmethod
    def of(cls, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: int) -> Seq2Seq:
        """Return the architecture of an opened model.

        Args:
            name: of the base, for messages.
            model: with the generation config that its files have.
            tokenizer: of the model.
            context: limit of tokens.

        Raises:
            DataError: it reads no tokens, or nothing says what its decoder begins with.
        """
        if model.main_input_name != "input_ids":
            raise DataError(f"a {model.config.model_type!r} model reads no text", where=name, hint="take a model of text")
        declared = [_declared(model, key) for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id")]
        first = next((token for token in declared if token is not None), None)
        if first is None:
            raise DataError(
                "does not say what its decoder begins with", where=name, hint="set decoder_start_token_id in its config"
            )
        before, after = around_text(tokenizer)
        forced = _declared(model, "forced_bos_token_id")
        second = forced if forced is not None else tokenizer.bos_token_id if before[:1] == (tokenizer.bos_token_id,) else None
        return cls((first,) if second is None or second == first else (first, second), after, context)

    def encoder(self, base: Base, task: str) -> Encoder:
        """Return the encoder of rows ``[BOS] prefix input END | target EOS``."""
        learned, room, has_bos = base.learned_prefix, self.target_context - len(self.start), False
        taken = learned.length(task) if learned else 0
        if learned is None or learned.keys_and_values(task):
            return Encoder(base.tokenize, base.bos, base.eos, base.context, has_bos, self.input_end, room - taken)
        has_bos = base.bos is not None and learned.initial_tokens(task)[:1] == (base.bos,)
        return Encoder(base.tokenize, base.bos, base.eos, base.context - taken, has_bos, self.input_end, room)

    def takes_prefix(self, base: Base, level: str) -> bool:
        """Return True: vectors go before the encoder's embeddings, keys and values into the decoder's cache."""
        return True

    def prefix_states(self, base: Base, ids: tuple[int, ...]) -> Sequence[KeysAndValues]:
        """Return the decoder's self-attention keys and values of tokens that it reads after the encoder has read the same."""
        rows = [InstanceRow("", 0, ids, (_INSTRUCTION,) * len(ids), len(ids))]
        encoded, present = self._encoded(base, PrefixRow("", (), (), 0), rows)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens = torch.tensor([ids], device=base.device)
        self._decoded(base, "", encoded, present, tokens, torch.ones_like(tokens), [(_LEARNED,) * len(ids)], None, cache)
        return states_in(cache.self_attention_cache)

    def target_logits(
        self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and targets; the decoder is fed the true tokens before each target (teacher forcing)."""
        state = for_rows(base, prefix.task, learned_state(base, prefix.task), rows)
        if state:
            refuse_dropped_state(base)
        encoded, prompts = self._encoded(base, prefix, rows)
        targets = [row.ids[row.target_start :] for row in rows]
        tokens, present = pad_right([(*self.start, *target[:-1]) for target in targets], base.pad, base.device)
        predicts = torch.zeros_like(tokens, dtype=torch.bool)
        for number, target in enumerate(targets):
            predicts[number, len(self.start) - 1 : len(self.start) - 1 + len(target)] = True
        cache = EncoderDecoderCache(state.cache(len(rows)), DynamicCache()) if state else None
        kinds = [(_TARGET,) * tokens.shape[1]] * len(rows)
        with only_at(base.output_embeddings, predicts):
            output = self._decoded(base, prefix.task, encoded, prompts, tokens, present, kinds, state, cache)
        return output.logits, torch.tensor([token for target in targets for token in target], device=base.device)

    def begin(self, base: Base, prefix: PrefixRow, *, shared: bool) -> PrefixState | None:
        """Return a learned prefix of keys and values."""
        return learned_state(base, prefix.task)

    def write(
        self, base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow], how: Continuation
    ) -> list[list[int]]:
        """Return the new tokens; each prompt is encoded once, whatever the number of samples or beams."""
        encoded, present = self._encoded(base, prefix, rows[:: how.copies])
        encoded, present = (tensor.repeat_interleave(how.copies, dim=0) for tensor in (encoded, present))
        state = for_rows(base, prefix.task, state, rows)
        held = state.length if state else 0
        # Columns that the cache holds are not embedded, so any id serves.
        first = (*[base.pad] * held, *self.start)
        tokens = torch.tensor([first], device=base.device).expand(len(rows), -1)
        count = len(rows) * how.beams
        cache = EncoderDecoderCache(state.cache(count), DynamicCache()) if state else None
        kinds = [(*(state.kinds if state else ()), *[_TARGET] * (len(self.start) + how.limit))] * count
        config = GenerationConfig.from_dict({**how.config.to_dict(), "decoder_start_token_id": first[0]})
        model: Any = base.model
        with base.laid_out(row_layout(kinds, len(kinds[0]), held, base.device, prefix.task)):
            output = model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=present,
                decoder_input_ids=tokens,
                # Without it, generate() would take all columns for new ones.
                decoder_attention_mask=torch.ones_like(tokens),
                past_key_values=cache,
                generation_config=config,
                logits_processor=how.processors(len(first)),
                stopping_criteria=how.criteria(len(first)),
            )
        new: list[list[int]] = output[:, len(first) :].tolist()
        return new

    def _run_tokens(self, base: Base, tokens: torch.Tensor) -> None:
        """Run tokens through the encoder, and the same in another order through the decoder."""
        base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), decoder_input_ids=tokens.flip(1), use_cache=False)

    def cached_numbers(self, base: Base, prompt: int, new: int) -> int:
        """Return the numbers of the decoder's self-attention over new tokens and of its cross-attention over the prompt."""
        return super().cached_numbers(base, prompt, new + len(self.start))

    def token_states(self, base: Base, ids: tuple[int, ...]) -> torch.Tensor:
        """Return the encoder's states."""
        tokens = torch.tensor([ids], device=base.device)
        model: Any = base.model
        states: torch.Tensor = model.get_encoder()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0]
        return states

    def kept_inputs(self, base: Base, prompt: int, target: int) -> int:
        """Return the inputs of the encoder's layers for the prompt, and of the decoder's for the target."""
        encoder, decoder = (
            int(base.model.config.get_text_config(**{side: True}).num_hidden_layers) for side in ("encoder", "decoder")
        )
        return encoder * prompt + decoder * target

    def _encoded(self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder's states of the rows' prompts ``[B, T, hidden]``, and their mask ``[B, T]``."""
        prompts = [(*prefix.ids, *row.ids[: row.target_start]) for row in rows]
        kinds = [(*prefix.kinds, *row.kinds[: row.target_start]) for row in rows]
        ids, present = pad_right(prompts, base.pad, base.device)
        vectors = base.learned_prefix.vectors(prefix.task) if base.learned_prefix else None
        first = 0 if vectors is None else len(vectors)
        layout = row_layout([(*[_LEARNED] * first, *row) for row in kinds], first + ids.shape[1], 0, base.device, prefix.task)
        present = torch.cat([present.new_ones(len(rows), first), present], dim=1)
        inputs = {"input_ids": ids} if vectors is None else {"inputs_embeds": with_vectors(base, vectors, ids, layout)}
        model: Any = base.model
        with base.laid_out(layout):
            return model.get_encoder()(**inputs, attention_mask=present).last_hidden_state, present

    def _decoded(
        self,
        base: Base,
        task: str,
        encoded: torch.Tensor,
        prompts: torch.Tensor,
        tokens: torch.Tensor,
        present: torch.Tensor,
        kinds: Sequence[Sequence[int]],
        state: PrefixState | None,
        cache: EncoderDecoderCache | None,
    ) -> Any:
        """Run the decoder over a task's tokens ``[B, T]`` (``present``: their mask) after a state, on encoded prompts."""
        held = state.length if state else 0
        whole_rows = [(*(state.kinds if state else ()), *row) for row in kinds]
        layout = row_layout(whole_rows, held + tokens.shape[1], held, base.device, task)
        with base.laid_out(layout):
            return base.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=prompts,
                decoder_input_ids=tokens,
                decoder_attention_mask=torch.cat([present.new_ones(len(tokens), held), present], dim=1),
                past_key_values=cache,
                use_cache=cache is not None,
            )


def _declared(model: PreTrainedModel, key: str) -> int | None:
    """Return a token that the generation config names, or else the model's config."""
    for config in (model.generation_config, model.config):
        if isinstance(value := getattr(config, key, None), int):
            return value
    return None
