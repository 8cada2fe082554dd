"""Deterministic batched generation over the shared prefix: greedy, beam search, seeded sampling, minimum Bayes risk.

The task prefix is computed once for all instances of a task. A causal base then writes the texts step by step, each in a slot
of its own (:mod:`xeric.bases.writing`); beams, and bases whose rows cannot be written so, go through transformers' ``generate``.
In float32 a greedy text does not depend on the batch size or the order of the instances; in 16 bit, rounding differs with the
shape of a batch and near-ties can fall the other way (the record says which precision was used).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from xeric.bases.architecture import Continuation
from xeric.bases.base import Base
from xeric.bases.stopping import Generated, Stops
from xeric.config import Config
from xeric.data.rows import EncodedTask
from xeric.metrics import METRICS, PRIMARY

__all__ = ["DecodeOptions", "decode", "default_limit", "generate_rows"]

_TARGETS_WITHIN_LIMIT = 0.95
"""Share of the training targets that are within the default limit of new tokens."""


def default_limit(target_tokens: Sequence[int], context: int) -> int:
    """Return the default limit of new tokens: what 95% of the training targets need, at most half the context.

    A single reference that is far longer than the rest must not determine the cost of every text.

    Args:
        target_tokens: tokens of each training target, its end included; empty where there are none.
        context: of the base, in tokens.
    """
    usual = int(np.quantile(target_tokens, _TARGETS_WITHIN_LIMIT, method="higher")) if len(target_tokens) else 1
    return min(usual, context // 2)


class DecodeOptions(Config):
    """How to decode (``decode.*``).

    Attributes:
        strategy: ``greedy``, ``beam`` (beam search), ``sample`` (seeded) or ``mbr``: the one of several samples
            that is most similar to the others by chrF++ (minimum Bayes risk; Eikema & Aziz 2020, section 6). It favours chrF++:
            compare methods under one strategy, and look at other metrics, too.
        max_new_tokens: limit of a generated text; None is :func:`default_limit` of the training rows.
        stop: texts that end a generated text; it is cut before the first of them. An empty list is none. None: where nothing
            is trained, the text with which the layout begins another instance (:attr:`xeric.data.prompts.Prompt.stop`);
            otherwise none, because a trained model ends its texts itself.
        batch_size: instances decoded at once; it affects memory and speed, and where ``generate`` samples (encoders,
            encoder-decoders), the draws.
        candidates: samples drawn for each text, for ``mbr``; they count in ``batch_size``.
        beams: hypotheses kept, for ``beam``.
        length_penalty: exponent on a hypothesis' length that its log-probability is divided by, for ``beam``; above 0 favours
            longer texts.
        temperature: divides the logits, for ``sample`` and ``mbr``, like the two below.
        top_k: sample among the k most probable tokens only; 0 is all of them.
        top_p: sample among the most probable tokens that together reach this probability (Holtzman et al. 2020).
        no_repeat_ngram: no n-gram of this many tokens occurs twice in a generated text (Paulus et al. 2018, section 2.5); 0
            allows repetition. N-grams of the input may be repeated.
        repetition_penalty: divides the scores of tokens that the generated text holds already (Keskar et al. 2019, section 4.1);
            1 is none.
    """

    strategy: Literal["greedy", "beam", "sample", "mbr"] = "greedy"
    max_new_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    candidates: int = Field(default=8, ge=2, le=256)
    beams: int = Field(default=4, ge=2, le=64)
    length_penalty: float = Field(default=1.0, ge=-100, le=100)
    temperature: float = Field(default=1.0, ge=1e-6, le=1e6)
    top_k: int = Field(default=0, ge=0, le=10_000_000)
    top_p: float = Field(default=1.0, gt=0, le=1)
    no_repeat_ngram: int = Field(default=0, ge=0, le=1_000_000)
    repetition_penalty: float = Field(default=1.0, ge=1, le=1e6)

    @property
    def random(self) -> bool:
        """Whether the texts depend on a seed."""
        return self.strategy in ("sample", "mbr")

    @property
    def sequences(self) -> int:
        """The number of sequences decoded at once, candidates and beams counted."""
        return self.batch_size * (self.beams if self.strategy == "beam" else 1)

    def generation_config(self, base: Base, max_new_tokens: int, end_tokens: Sequence[int]) -> GenerationConfig:
        """Return these options as transformers' config, with no default of the base left."""
        chosen: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if self.strategy == "beam":
            chosen |= {"num_beams": self.beams, "length_penalty": self.length_penalty, "early_stopping": True}
        elif self.random:
            chosen |= {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return GenerationConfig(max_new_tokens=max_new_tokens, eos_token_id=list(end_tokens), pad_token_id=base.pad, **chosen)

    def processors(self, start: int) -> LogitsProcessorList:
        """Return the processors against repetition; ``start`` is the column of the first generated token."""
        chosen: list[LogitsProcessor] = []
        if self.no_repeat_ngram:
            chosen.append(NoRepeatNGramLogitsProcessor(self.no_repeat_ngram))
        if self.repetition_penalty != 1:
            chosen.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        return LogitsProcessorList([_OfGenerated(processor, start) for processor in chosen])


class _OfGenerated(LogitsProcessor):
    """Shows a processor the generated tokens only: a summary may, and should, repeat its input."""

    def __init__(self, inner: LogitsProcessor, start: int) -> None:
        self._inner, self._start = inner, start

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        inner: Any = self._inner
        processed: torch.FloatTensor = inner(input_ids[:, self._start :], scores)
        return processed


def decode(
    base: Base,
    task: EncodedTask,
    options: DecodeOptions,
    *,
    max_new_tokens: int,
    seed: int = 0,
    shared: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Return the generated text of every row; see :func:`generate_rows`, which also returns how each of them ended."""
    generated = generate_rows(base, task, options, max_new_tokens=max_new_tokens, seed=seed, shared=shared, progress=progress)
    return [row.text for row in generated]


@torch.no_grad()
def generate_rows(
    base: Base,
    task: EncodedTask,
    options: DecodeOptions,
    *,
    max_new_tokens: int,
    seed: int = 0,
    shared: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Return the generated text of every row and how it ended, in the order of ``task.rows``.

    Args:
        base: a method attached or not.
        task: rows without targets (:meth:`Encoder.decoding_rows`).
        options: strategy and its settings, and how many instances are decoded at once; an unset ``stop`` is no stop text.
        max_new_tokens: limit of a text; replaces that of the options, which may be unset.
        seed: of sampling.
        shared: use the shared prefix where the base can.
        progress: called with the number of rows finished since the last call.
    """
    stops = Stops(base, options.stop or (), task.opening)
    devices = [base.device] if base.device.type == "cuda" else []
    copies = options.candidates if options.strategy == "mbr" else 1
    slots = max(options.batch_size // copies, 1) * copies
    config = options.generation_config(base, max_new_tokens, stops.end_tokens)
    complete = stops.complete if stops.texts else None
    written: list[list[Generated | None]] = [[None] * copies for _ in task.rows]
    groups: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(task.rows):
        groups[row.prefix].append(number)
    with base.mode(training=False), base.autocast(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for prefix_number, members in groups.items():
            prefix = task.prefixes[prefix_number]
            state = base.architecture.begin(base, prefix, shared=shared)
            # The longest first, so that a lack of memory shows at once.
            members.sort(key=lambda number: (-len(task.rows[number].ids), number))
            draws = _Draws(seed, members, copies, max_new_tokens)
            how = Continuation(config, options.processors, stops.criteria, complete, draws, copies)
            rows = [task.rows[number] for number in members]
            for index, ids in base.architecture.write_rows(base, prefix, state, rows, how, slots):
                texts = written[members[index // copies]]
                texts[index % copies] = stops.cut(ids)
                if progress and None not in texts:
                    progress(1)
    return [_least_risk([text for text in texts if text is not None]) for texts in written]


@dataclass(frozen=True)
class _Draws:
    """The random numbers of each text, which depend on the seed and on the text's number in the task alone.

    Attributes:
        seed: of sampling.
        members: numbers of the rows that are written.
        copies: texts of each.
        limit: of a text's tokens.
    """

    seed: int
    members: Sequence[int]
    copies: int
    limit: int

    def __call__(self, index: int) -> torch.Tensor:
        number, copy = self.members[index // self.copies], index % self.copies
        source = np.random.default_rng([self.seed % 2**64, number * self.copies + copy])
        return torch.from_numpy(source.random(self.limit))


def _least_risk(candidates: Sequence[Generated]) -> Generated:
    """Return the candidate most similar to the others: the one with the highest mean chrF++ against each as the reference."""
    if len(candidates) == 1:
        return candidates[0]
    pairs = list(permutations(range(len(candidates)), 2))
    predictions, references = ([candidates[pair[side]].text for pair in pairs] for side in (0, 1))
    metric = METRICS.get(PRIMARY)()
    # chrF++ counts characters and words between spaces, in the same way for every language.
    counted = metric.statistics(predictions, [[reference] for reference in references], predictions, "English")
    gains = metric.score_sums(counted.rows).reshape(len(candidates), -1).mean(axis=1)
    return candidates[int(gains.argmax())]
