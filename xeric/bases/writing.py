"""Greedy texts and samples, row by row: a row that ends leaves its batch, and the longest of those that wait takes its slot.

A text depends neither on the rows beside it nor on their number: a greedy one is that of the row alone (to rounding), and a
sampled one takes its own random numbers, one per token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from xeric.bases.architecture import Continuation
from xeric.bases.stepping import Steps
from xeric.data.rows import InstanceRow

__all__ = ["write_step_by_step"]

_JOINING = 4
"""Rows join once this share of the slots is free (one in so many): few prompts at once use the processor badly."""

_SHORTEST = 0.75
"""Prompts that are run together have at least this share of the longest one's tokens, so that little of the batch is padding."""


@dataclass
class _Text:
    """A text that is being written.

    Attributes:
        number: of its row; copies of one row are adjacent and counted.
        prompt: token ids that a processor of scores sees before the new ones.
        draws: random numbers from 0 to 1, one per new token, in float64; None where the text is greedy.
        new: its tokens.
    """

    number: int
    prompt: tuple[int, ...]
    draws: torch.Tensor | None
    new: list[int] = field(default_factory=list)


def write_step_by_step(
    steps: Steps, prefix: Sequence[int], rows: Sequence[InstanceRow], how: Continuation, slots: int
) -> Iterator[tuple[int, list[int]]]:
    """Write the texts of all rows; see :meth:`xeric.bases.architecture.Architecture.write_rows`.

    Args:
        steps: of the base, for these rows.
        prefix: token ids before each row.
        rows: the longest first.
        how: to write; without beams.
        slots: texts at once, copies counted.
    """
    waiting, texts = deque(range(len(rows))), list[_Text]()
    choice = _Choice(how)
    while waiting or texts:
        free = (slots - len(texts)) // how.copies
        if waiting and free >= min(len(waiting), max(1, slots // how.copies // _JOINING)):
            group = _similar(waiting, rows, free)
            values, computed, lengths = steps.read([rows[number] for number in group])
            joining = [
                _Text(number * how.copies + copy, (*prefix, *rows[number].ids), choice.draws(number * how.copies + copy))
                for number in group
                for copy in range(how.copies)
            ]
            ended = choice.extend(joining, values.repeat_interleave(how.copies, dim=0))
            yield from ((text.number, text.new) for text, over in zip(joining, ended, strict=True) if over)
            numbers = [index // how.copies for index, over in enumerate(ended) if not over]
            if numbers:
                steps.join(computed, lengths, numbers)
            texts += [text for text, over in zip(joining, ended, strict=True) if not over]
        else:
            ended = choice.extend(texts, steps.step([text.new[-1] for text in texts]))
            # From the back, since the last text takes the place of one that leaves.
            for index in [index for index, over in enumerate(ended) if over][::-1]:
                yield texts[index].number, texts[index].new
                steps.leave(index)
                texts[index] = texts[-1]
                texts.pop()


def _similar(waiting: deque[int], rows: Sequence[InstanceRow], most: int) -> list[int]:
    """Take rows of similar length from those that wait, at most so many."""
    longest, group = len(rows[waiting[0]].ids), list[int]()
    while waiting and len(group) < most and len(rows[waiting[0]].ids) >= _SHORTEST * longest:
        group.append(waiting.popleft())
    return group


class _Choice:
    """How the next token is chosen, and which one is the last."""

    def __init__(self, how: Continuation) -> None:
        self._how = how
        ends = how.config.eos_token_id
        self._ends = frozenset([ends] if isinstance(ends, int) else ends or ())
        self._warpers = _warpers(how.config)
        self._processes = bool(how.processors(0))

    def draws(self, number: int) -> torch.Tensor | None:
        """Return the random numbers of a text, or None where it is greedy."""
        return self._how.draws(number) if self._how.config.do_sample else None

    def extend(self, texts: Sequence[_Text], computed: torch.Tensor) -> list[bool]:
        """Append a token to each text; return which of them it ends.

        Args:
            texts: N texts.
            computed: their logits ``[N, vocabulary]``, or where decoding is greedy, the tokens ``[N]``.
        """
        tokens = computed if self._how.greedy else self._chosen(texts, computed.float())
        for text, token in zip(texts, tokens.tolist(), strict=True):
            text.new.append(token)
        stopped = self._how.complete([text.new for text in texts]) if self._how.complete else [False] * len(texts)
        return [
            stop or text.new[-1] in self._ends or len(text.new) == self._how.limit
            for text, stop in zip(texts, stopped, strict=True)
        ]

    def _chosen(self, texts: Sequence[_Text], scores: torch.Tensor) -> torch.Tensor:
        # One by one: texts differ in length, and the numbers of a whole vocabulary are held for one text at a time.
        return torch.stack([self._next(text, scores[index : index + 1]) for index, text in enumerate(texts)])

    def _next(self, text: _Text, scores: torch.Tensor) -> torch.Tensor:
        """Return the next token of a text by its scores ``[1, vocabulary]``."""
        if self._processes:
            ids = torch.tensor([[*text.prompt, *text.new]], device=scores.device)
            scores = self._how.processors(len(text.prompt))(ids, scores)  # type: ignore[arg-type]
        return scores[0].argmax() if text.draws is None else self._sampled(scores, text.draws[len(text.new)])

    def _sampled(self, scores: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        """Return the token at which the cumulated probability passes a random number."""
        # These processors look at no tokens.
        shaped = self._warpers(torch.empty(1, 0, dtype=torch.long), scores)[0]  # type: ignore[arg-type]
        below = shaped.softmax(dim=-1).double().cumsum(dim=-1)
        return torch.searchsorted(below, draw.to(below.device) * below[-1], right=True).clamp_max(len(below) - 1)


def _warpers(config: GenerationConfig) -> LogitsProcessorList:
    """Return what temperature, top k and top p do to scores."""
    chosen: list[LogitsProcessor] = []
    if config.do_sample and config.temperature not in (None, 1.0):
        chosen.append(TemperatureLogitsWarper(config.temperature))
    if config.do_sample and config.top_k:
        chosen.append(TopKLogitsWarper(config.top_k))
    if config.do_sample and config.top_p is not None and config.top_p < 1:
        chosen.append(TopPLogitsWarper(config.top_p))
    return LogitsProcessorList(chosen)
