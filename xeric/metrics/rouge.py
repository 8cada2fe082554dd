"""ROUGE (Lin 2004) on Xeric's words: ROUGE-L on rapidfuzz's subsequences, the other kinds by the rouge-score library.

rouge-score's own tokenizer keeps ``[a-z0-9]`` only: it scores identical Hindi strings 0 and cannot tell "año" from "ano". Its
longest common subsequence is a table filled in Python, once the largest part of analysing a study; rapidfuzz's is bit-parallel,
and the scores are the same to the last bit, which the tests hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from xeric.metrics.base import Batch, MeanMetric, version, word_tokenizer
from xeric.text import NormalForm

__all__ = ["Rouge", "RougeType", "longest_common_subsequence"]

RougeType = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
_NAMES: dict[RougeType, tuple[str, str]] = {
    "rouge1": ("rouge_1", "ROUGE-1"),
    "rouge2": ("rouge_2", "ROUGE-2"),
    "rougeL": ("rouge_l", "ROUGE-L"),
    "rougeLsum": ("rouge_lsum", "ROUGE-Lsum"),
}

_Values = tuple[float, float, float]
"""F, precision and recall of one prediction."""

_Score = Callable[[str, Sequence[str]], _Values]
"""Of a prediction and its references."""


class Rouge(MeanMetric):
    """ROUGE: F1 of the words in the longest common subsequence, or of n-grams; mean of rows, 0-100, higher is better.

    Words are lower-cased and not stemmed; a text without words, of emoji say, goes by its signs. The reference with the best F
    counts, the first of equals. Line ends play no part except in ``rougeLsum``, which takes every line for a sentence.

    Args:
        kind: as rouge-score names it.
        normalize: Unicode normal form.
    """

    columns = ("f", "precision", "recall", "rows")
    quality = True

    def __init__(self, *, kind: RougeType = "rougeL", normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name, self.title = _NAMES[kind]
        self.kind: RougeType = kind

    def _count(self, batch: Batch) -> Iterator[tuple[float, float, float, float]]:
        score = _subsequence_score(batch) if self.kind == "rougeL" else _library_score(self.kind, batch)
        for prediction, references in zip(batch.predictions, batch.references, strict=True):
            yield *score(prediction, references), 1.0

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"tok": word_tokenizer(self.normalize, batch.language), "stem": "none", "best": "f", "refs": batch.reference_count}

    def _versions(self, batch: Batch) -> dict[str, str]:
        package = "rapidfuzz" if self.kind == "rougeL" else "rouge-score"
        return {package: version(package), **super()._versions(batch)}


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words the longest sequence has that stands, with gaps, in both."""
    from rapidfuzz.distance import LCSseq

    # rapidfuzz takes words with the same hash for the same word; numbers are their own hashes.
    numbers: dict[str, int] = {}
    return LCSseq.similarity(
        [numbers.setdefault(word, len(numbers)) for word in first], [numbers.setdefault(word, len(numbers)) for word in second]
    )


def _subsequence_score(batch: Batch) -> _Score:
    def score(prediction: str, references: Sequence[str]) -> _Values:
        words = batch.words_or_signs(prediction)
        scores = (_subsequence_values(words, batch.words_or_signs(reference)) for reference in references)
        return max(scores, key=lambda values: values[0])

    return score


def _subsequence_values(words: Sequence[str], reference: Sequence[str]) -> _Values:
    length = longest_common_subsequence(words, reference)
    if not length:
        return 0.0, 0.0, 0.0
    precision, recall = length / len(words), length / len(reference)
    return 2 * precision * recall / (precision + recall), precision, recall


class _Words:
    """The tokenizer interface that rouge-score asks for."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def tokenize(self, text: str) -> list[str]:
        return self._batch.words_or_signs(text)


def _library_score(kind: RougeType, batch: Batch) -> _Score:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], tokenizer=_Words(batch))

    def score(prediction: str, references: Sequence[str]) -> _Values:
        best = scorer.score_multi(references, prediction)[kind]
        return best.fmeasure, best.precision, best.recall

    return score
