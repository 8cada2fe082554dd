"""Which tokens a trimmed vocabulary keeps beside those of the given texts, and what dropping the others costs.

Texts that a model will read and write hold words that the given ones lack. A causal base says itself which are near: the tokens
to which it gives the most probability, on average over the positions of a sample of the texts. That predicts unseen texts far
better than as many of the lowest-numbered tokens of the texts' scripts (measured: docs/how-to/trim.md). Bases that are not causal
predict no text from its beginning; of these the lowest-numbered ones are taken, which the tokenizer's training found first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.text import script_shares

__all__ = ["Predictions", "lowest_numbered", "model_logits", "predictions", "sample_rows"]

SAMPLE_TOKENS = 2560
"""Positions that the base is asked at."""

_ROW = 128
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Predictions:
    """What an untrimmed base predicts at the positions of a sample of the texts.

    Attributes:
        probability: of each token, the mean over the positions ``[vocabulary]``.
        best: the most probable token at each position.
    """

    probability: torch.Tensor
    best: tuple[int, ...]

    def ranked(self, candidates: Collection[int]) -> list[int]:
        """Return some tokens, the most probable ones first; equally probable ones by number."""
        return sorted(candidates, key=lambda token: (-float(self.probability[token]), token))

    def dropped_wins(self, kept: Collection[int]) -> int:
        """Return at how many positions the most probable token is not among some."""
        allowed = set(kept)
        return sum(token not in allowed for token in self.best)

    def dropped_probability(self, kept: Sequence[int]) -> float:
        """Return the mean probability of all tokens but some."""
        return max(0.0, 1.0 - float(self.probability[torch.tensor(kept)].double().sum()))


def sample_rows(base: Base, texts: Sequence[str], tokens: int = SAMPLE_TOKENS) -> list[list[int]]:
    """Return rows of token ids: beginnings of texts, drawn by their contents, about ``tokens`` tokens together.

    Args:
        base: whose tokenizer is used.
        texts: to draw from.
        tokens: the rows end as soon as they have so many together.
    """
    rows: list[list[int]] = []
    start = [] if base.bos is None else [base.bos]
    for text in sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()):
        if ids := base.tokenize(text)[: min(_ROW, base.context) - len(start)]:
            rows.append([*start, *ids])
        if sum(map(len, rows)) >= tokens:
            break
    return rows or [[*start, base.eos[0]]]


def model_logits(base: Base, ids: Sequence[int]) -> torch.Tensor:
    """Return the logits of a row ``[T, vocabulary]``; an encoder-decoder reads it on both sides."""
    row = torch.tensor([list(ids)], device=base.device)
    both: dict[str, Any] = {"decoder_input_ids": row} if base.architecture.name == "seq2seq" else {}
    with torch.no_grad():
        logits = base.model(input_ids=row, **both).logits[0]
    assert isinstance(logits, torch.Tensor)
    return logits.float()


def predictions(base: Base, rows: Sequence[Sequence[int]]) -> Predictions | None:
    """Return what a causal base predicts along rows; None for one of another architecture."""
    if base.architecture.name != "causal":
        return None
    total, best = torch.zeros(base.vocabulary, dtype=torch.float64), []
    for row in rows:
        logits = model_logits(base, row)
        best += logits.argmax(-1).tolist()
        total += logits.softmax(-1).sum(0).cpu()
    return Predictions(total / len(best), tuple(best))


def lowest_numbered(surfaces: Mapping[int, str], texts: Sequence[str]) -> list[int]:
    """Return the tokens in whose text all letters are of scripts that make up a hundredth of the texts' letters, by number.

    Args:
        surfaces: the tokens' texts, by token.
        texts: that the scripts are taken from.
    """
    scripts = {script for script, share in script_shares("\n".join(texts)).items() if share >= _LEAST_SHARE}
    return [token for token, text in sorted(surfaces.items()) if script_shares(text).keys() <= scripts]
