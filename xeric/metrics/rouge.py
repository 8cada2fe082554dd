"""ROUGE (Lin 2004) by the rouge-score library, on Xeric's words.

The library's own tokenizer keeps ``[a-z0-9]`` only: it scores identical Hindi strings 0 and cannot tell "año" from "ano".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from xeric.metrics.base import Batch, MeanMetric, version, word_tokenizer, word_tokens
from xeric.text import NormalForm

__all__ = ["Rouge", "RougeType"]

RougeType = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
_NAMES: dict[RougeType, str] = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l", "rougeLsum": "rouge_lsum"}


class _Words:
    """The tokenizer interface that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return word_tokens(text)


class Rouge(MeanMetric):
    """ROUGE: F1 of the words in the longest common subsequence, or of n-grams; mean of rows, 0-100, higher is better.

    Words are lower-cased and not stemmed; the reference with the best F counts, the first of equals. A prediction without words
    scores 0. Line ends play no part except in ``rougeLsum``, which takes every line for a sentence.

    Args:
        kind: as rouge-score names it.
        normalize: Unicode normal form.
    """

    columns = ("f", "precision", "recall", "rows")

    def __init__(self, *, kind: RougeType = "rougeL", normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = _NAMES[kind]
        self.kind: RougeType = kind

    def _count(self, batch: Batch) -> Iterator[tuple[float, float, float, float]]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer([self.kind], tokenizer=_Words())
        for prediction, references in zip(batch.predictions, batch.references, strict=True):
            best = scorer.score_multi(references, prediction)[self.kind]
            yield best.fmeasure, best.precision, best.recall, 1.0

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"tok": word_tokenizer(self.normalize), "stem": "none", "best": "f", "refs": batch.reference_count}

    def _versions(self, batch: Batch) -> dict[str, str]:
        return {"rouge-score": version("rouge-score"), **super()._versions(batch)}
