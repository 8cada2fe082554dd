"""How much predictions differ from each other: distinct-n (Li et al. 2016) and self-BLEU (Zhu et al. 2018, Texygen).

Both belong to a whole set of predictions, not to its rows: a row drawn twice is a repetition that the system never made. So
neither has an interval or a test, and both depend on the size of the set and on the length of its texts: compare systems on the
same rows.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from xeric.metrics.base import Batch, MeanMetric, Metric, Statistics, version, word_ngrams, word_tokenizer
from xeric.metrics.bleu import bleu_from_sums, bleu_scorer, bleu_tokenizer, one_line
from xeric.statistics.arrays import FloatArray
from xeric.text import NormalForm

__all__ = ["Distinct", "SelfBleu", "distinct_1", "distinct_2"]

Ngram = tuple[str, ...]


class Distinct(Metric):
    """distinct-n: different word n-grams among all word n-grams of the predictions; 0-100, higher is more diverse.

    0 where no prediction has n words. No interval: see the module's text.

    Args:
        n: words in an n-gram.
        normalize: Unicode normal form.
    """

    columns = ("new", "ngrams", "distinct")
    upper = 100.0
    resampled = False

    def __init__(self, *, n: int = 1, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = f"distinct_{n}"
        self.title = f"distinct-{n}"
        self.n = n

    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return distinct-n of all rows: ``new`` counts each n-gram once, in the first row that has it."""
        return np.asarray(100.0 * sums[..., 0] / np.maximum(sums[..., 1], 1.0))

    def per_example(self, statistics: Statistics) -> FloatArray:
        """Return distinct-n within each row, ``[n_rows]``; its mean is not the score."""
        return np.asarray(100.0 * statistics.column("distinct") / np.maximum(statistics.column("ngrams"), 1.0))

    def _count(self, batch: Batch) -> Iterator[tuple[int, int, int]]:
        seen: set[Ngram] = set()
        for prediction in batch.predictions:
            ngrams = word_ngrams(batch.words(prediction), self.n)
            distinct = set(ngrams)
            yield len(distinct - seen), len(ngrams), len(distinct)
            seen |= distinct

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"n": str(self.n), "tok": word_tokenizer(self.normalize, batch.language)}


distinct_1 = functools.partial(Distinct, n=1)
"""Distinct words among all words."""

distinct_2 = functools.partial(Distinct, n=2)
"""Distinct word pairs among all word pairs."""


class SelfBleu(MeanMetric):
    """Self-BLEU: sentence BLEU of each prediction with the *other* predictions as its references; 0-100, lower is more diverse.

    Mean over rows, tokenised and smoothed like a single row of :class:`xeric.metrics.bleu.Bleu`. The other predictions are those
    of at most ``others`` rows, picked by a hash of input and references so that every system of a test set is held against the
    same rows; time is linear in the number of rows and memory does not grow beyond the rows picked. A prediction that is empty,
    or has no others beside it, resembles nothing and scores 0. No interval: see the module's text.

    Args:
        others: the largest number of rows that serve as references.
        normalize: Unicode normal form.
    """

    better = "lower"
    resampled = False

    def __init__(self, *, others: int = 1000, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = "self_bleu"
        self.title = "self-BLEU"
        self.others = others

    def _count(self, batch: Batch) -> Iterator[tuple[float, float]]:
        scorer = bleu_scorer(bleu_tokenizer(batch.language))
        lines = [scorer._preprocess_segment(one_line(prediction)) for prediction in batch.predictions]
        others = _Others(lines, _picked(batch, self.others))
        for row, line in enumerate(lines):
            statistics = np.array(others.statistics(row, line), dtype=np.float64)
            yield float(bleu_from_sums(statistics, smooth="exp", effective_order=True)) / 100.0, 1.0

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"tok": bleu_tokenizer(batch.language), "smooth": "exp", "eff": "yes", "case": "mixed", "others": str(self.others)}

    def _versions(self, batch: Batch) -> dict[str, str]:
        return {"sacrebleu": version("sacrebleu"), **super()._versions(batch)}


class _Others:
    """BLEU statistics of a row against all picked rows but itself, without going through them again for every row.

    BLEU clips the count of an n-gram at its highest count in one reference. The highest two counts and the row of the first are
    enough to know the highest count among the *other* rows.
    """

    def __init__(self, lines: Sequence[str], picked: Sequence[int]) -> None:
        self._highest: dict[Ngram, tuple[int, int, int]] = {}
        self._rows = np.array([row for row in picked if lines[row]], dtype=np.int64)
        lengths = []
        for row in self._rows:
            counts, length = _ngram_counts(lines[row])
            lengths.append(length)
            for ngram, count in counts.items():
                first, holder, second = self._highest.get(ngram, (0, -1, 0))
                if count > first:
                    self._highest[ngram] = (count, int(row), first)
                elif count > second:
                    self._highest[ngram] = (first, holder, count)
        self._lengths = np.array(lengths, dtype=np.int64)

    def statistics(self, row: int, line: str) -> list[int]:
        """Return the row's statistics in the columns of :class:`xeric.metrics.bleu.Bleu`."""
        counts, length = _ngram_counts(line)
        correct, total = [0] * 4, [0] * 4
        for ngram, count in counts.items():
            first, holder, second = self._highest.get(ngram, (0, -1, 0))
            total[len(ngram) - 1] += count
            correct[len(ngram) - 1] += min(count, second if holder == row else first)
        return [length, self._closest(row, length), *correct, *total]

    def _closest(self, row: int, length: int) -> int:
        """Return the length of another row that is closest, the shorter of two, as sacrebleu has it."""
        lengths = self._lengths[self._rows != row]
        if not lengths.size:
            return 0
        distances = np.abs(lengths - length)
        return int(lengths[distances == distances.min()].min())


def _ngram_counts(line: str) -> tuple[dict[Ngram, int], int]:
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    return extract_all_word_ngrams(line, 1, 4)


def _picked(batch: Batch, most: int) -> list[int]:
    """Return the rows that serve as references: all, or the ``most`` with the smallest hash of input and references."""
    rows = range(len(batch.predictions))
    if len(rows) <= most:
        return list(rows)

    def draw(row: int) -> tuple[bytes, str]:
        content = "\0".join([batch.inputs[row], *batch.references[row]])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest(), batch.predictions[row]

    return sorted(rows, key=draw)[:most]
