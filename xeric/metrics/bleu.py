"""BLEU (Papineni et al. 2002) and chrF++ (Popović 2015, 2017) as sacrebleu (Post 2018) has them.

sacrebleu tokenises. What it counts and its formulas stand here once more, over arrays: counting row by row took most of the time
of scoring, and intervals and tests need the score of thousands of sums at once. The tests hold every count equal to sacrebleu's
own, and every score to 1e-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from xeric.languages import Language
from xeric.metrics.base import Batch, Metric, Statistics, version
from xeric.metrics.ngrams import code_points, matched_ngrams, ngram_totals, numbered
from xeric.statistics.arrays import FloatArray, IntArray
from xeric.text import NormalForm

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

__all__ = [
    "Bleu",
    "BleuTokenizer",
    "Chrf",
    "Smoothing",
    "bleu_from_sums",
    "bleu_scorer",
    "bleu_tokenizer",
    "chrf_from_sums",
    "one_line",
]

BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
Smoothing = Literal["exp", "none"]

_ORDERS = range(1, 5)
_ALIKE = 1e-9
"""Scores that differ by a smaller part of them are the same, computed in another order."""

_UNSPACED = {"Thai", "Lao", "Khmer", "Myanmar", "Han", "Hiragana", "Katakana"}


def bleu_tokenizer(language: Language) -> BleuTokenizer:
    """Return the sacrebleu tokenizer for a language.

    ``13a`` (the usual one) knows ASCII punctuation only, so it serves languages in Latin script. ``intl`` goes by Unicode
    categories and takes the danda off a Hindi word. A language that writes no spaces would be one long word to both: Chinese goes
    by sacrebleu's ``zh``, the convention of WMT; the others by ``char``, because sacrebleu has nothing for them, or (Japanese)
    only what needs a dictionary of its own, and its ``zh`` does not cut kana.
    """
    if language.latin:
        return "13a"
    if language.scripts == ("Han",):
        return "zh"
    if language.scripts and language.scripts[0] in _UNSPACED:
        return "char"
    return "intl"


def bleu_scorer(tokenizer: BleuTokenizer) -> BLEU:
    """Return sacrebleu's BLEU for counting; ``force`` keeps it from warning about texts that look tokenised."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, force=True)


def one_line(text: str) -> str:
    """Return a text with every stretch of white space as one space.

    sacrebleu's tokenizers expect one line; ``13a`` would join "sea -" and "the" across a line end of a poem, as if hyphenated.
    """
    return " ".join(text.split())


class Bleu(Metric):
    """BLEU: the geometric mean of clipped 1- to 4-gram precisions, times a penalty for brevity; 0-100, higher is better.

    The corpus score is sacrebleu's ``corpus_bleu`` (exponential smoothing where an order has no match). A single row is scored as
    ``sentence_bleu`` does it, over the orders that the row is long enough for (``effective_order``). The closest reference gives
    the length. Where no row has a reference of four words even a right answer would score 0: there is no score then. Never
    compare or pool scores of different tokenizers.

    Args:
        tokenize: the sacrebleu tokenizer; None picks it by language, see :func:`bleu_tokenizer`.
        smooth: ``exp``, or ``none`` as in the original paper.
        normalize: Unicode normal form; sacrebleu itself does not normalise, so ``none`` is what it would give on the same text.
    """

    columns = (
        *("prediction_length", "reference_length", *(f"correct_{n}" for n in _ORDERS), *(f"total_{n}" for n in _ORDERS)),
        "long_reference",  # 1 where a right answer has four words
    )
    upper = 100.0
    quality = True

    def __init__(
        self, *, tokenize: BleuTokenizer | None = None, smooth: Smoothing = "exp", normalize: NormalForm = "nfc"
    ) -> None:
        super().__init__(normalize=normalize)
        self.name = "bleu"
        self.title = "BLEU"
        self.tokenize = tokenize
        self.smooth: Smoothing = smooth

    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return corpus BLEU of summed rows; see :func:`bleu_from_sums`."""
        return bleu_from_sums(sums, smooth=self.smooth, effective_order=False)

    def score_draws(self, sums: FloatArray) -> FloatArray:
        """Return the same of rows drawn with replacement; by effective order where none of them has a reference of four words.

        Such a draw would score 0 whatever was predicted, and say that of the system.
        """
        return np.where(sums[..., -1] > 0, self.score_sums(sums), bleu_from_sums(sums, smooth=self.smooth, effective_order=True))

    def per_example(self, statistics: Statistics) -> FloatArray:
        """Return sentence BLEU with effective order, ``[n_rows]``."""
        return bleu_from_sums(statistics.rows, smooth=self.smooth, effective_order=True)

    def _count(self, batch: Batch) -> list[list[int]]:
        scorer = bleu_scorer(self._tokenizer(batch.language))

        def tokens(text: str) -> list[str]:
            return scorer._preprocess_segment(one_line(text)).split()

        rows = [[tokens(text) for text in texts] for texts in batch.texts]
        lengths = [[len(words) for words in row] for row in rows]
        closest = [min((abs(other - own), other) for other in others)[1] for own, *others in lengths]
        correct = matched_ngrams(numbered(rows), len(_ORDERS), pooled=True)[:, 0]
        predicted = np.array([own for own, *_ in lengths])
        columns = [predicted[:, None], np.array(closest)[:, None], correct, ngram_totals(predicted, len(_ORDERS))]
        counted: list[list[int]] = np.hstack([*columns, np.array(self._long(batch))[:, None]]).tolist()
        return counted

    def _long(self, batch: Batch) -> list[bool]:
        """Return whether each row has a reference of four words."""
        scorer = bleu_scorer(self._tokenizer(batch.language))
        longest = len(_ORDERS)

        def long(reference: str) -> bool:
            # No tokenizer makes fewer tokens than there are words.
            return len(reference.split()) >= longest or len(scorer._preprocess_segment(one_line(reference)).split()) >= longest

        return [any(map(long, row)) for row in batch.references]

    def _choices(self, batch: Batch) -> dict[str, str]:
        tokenizer = self._tokenizer(batch.language)
        return {
            "tok": tokenizer,
            "smooth": self.smooth,
            "eff": "no",
            "case": "mixed",
            "space": "flat",
            "refs": batch.reference_count,
        }

    def _says(self, batch: Batch) -> tuple[bool, str]:
        rows, count = sum(self._long(batch)), len(batch.references)
        if not rows:
            return False, "no reference has the four words that BLEU counts, so that a right answer would score 0"
        few = rows < count / 2
        return True, f"BLEU rests on the {rows} of {count} rows that have a reference of four words or more" if few else ""

    def _versions(self, batch: Batch) -> dict[str, str]:
        return {"sacrebleu": version("sacrebleu")}

    def _tokenizer(self, language: Language) -> BleuTokenizer:
        return bleu_tokenizer(language) if self.tokenize is None else self.tokenize


def bleu_from_sums(sums: FloatArray, *, smooth: Smoothing, effective_order: bool) -> FloatArray:
    """Return BLEU, 0-100, from sums of statistics, ``[..., 10 or more]`` -> ``[...]``: sacrebleu's ``compute_bleu`` over arrays.

    Args:
        sums: in the columns of :class:`Bleu`.
        smooth: ``exp`` takes the k-th order without a match for one of 1/2^k matches (NIST's rule), ``none`` for none.
        effective_order: leave out the orders that no prediction is long enough for; otherwise they make the score 0.
    """
    predicted, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2:6], sums[..., 6:10]
    missed = (correct == 0) & (total > 0)
    matches = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), correct) if smooth == "exp" else correct
    used = total > 0 if effective_order else np.ones_like(total, dtype=bool)
    with np.errstate(divide="ignore"):  # log 0 = -inf makes the score 0, as it should be
        logs = np.where(used, np.log(matches / np.maximum(total, 1.0)), 0.0)
    mean_log = logs.sum(axis=-1) / np.maximum(used.sum(axis=-1), 1)
    brevity = np.minimum(0.0, 1.0 - reference / np.maximum(predicted, 1.0))
    return np.where(correct.any(axis=-1), 100.0 * np.exp(mean_log + brevity), 0.0)


class Chrf(Metric):
    """chrF++: F2 of character 1- to 6-grams and word 1- and 2-grams; 0-100, higher is better.

    Needs no tokenizer, so it serves every script and morphology alike. Precision and recall are averaged over the orders that
    occur on both sides, then combined (sacrebleu's default); the best reference of each row counts, the first by code points of
    equals.

    Args:
        word_order: 2 for chrF++, 0 for plain chrF.
        eps_smoothing: average F over all orders instead, as Popović's own ``chrF++.py`` does: short texts lose, so that one
            identical word scores 50.
        normalize: Unicode normal form.
    """

    upper = 100.0
    quality = True

    def __init__(self, *, word_order: int = 2, eps_smoothing: bool = False, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = "chrf"
        self.title = "chrF++" if word_order else "chrF"
        self.word_order = word_order
        self.eps_smoothing = eps_smoothing
        orders = [f"char_{n}" for n in range(1, 7)] + [f"word_{n}" for n in range(1, word_order + 1)]
        self.columns = tuple(f"{order}_{what}" for order in orders for what in ("prediction", "reference", "match"))

    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return chrF of summed rows; see :func:`chrf_from_sums`."""
        return chrf_from_sums(sums, eps_smoothing=self.eps_smoothing)

    def _count(self, batch: Batch) -> list[list[int]]:
        from sacrebleu.metrics.chrf import CHRF

        words_of = CHRF(word_order=self.word_order)._remove_punctuation
        # Of references with equal scores, 0 among them, the first counts: in one order here, whatever the file's is.
        texts = [[prediction, *sorted(references)] for prediction, *references in batch.texts]
        characters = [[code_points("".join(text.split())) for text in row] for row in texts]
        words = numbered([[words_of(text) for text in row] for row in texts])
        triples = np.concatenate([_triples(characters, 6), _triples(words, self.word_order)], axis=2)
        candidates = triples.reshape(*triples.shape[:2], -1)
        scores = chrf_from_sums(candidates, eps_smoothing=self.eps_smoothing)
        scores[np.arange(scores.shape[1]) >= np.array([len(row) - 1 for row in texts])[:, None]] = -1.0
        best = (scores >= scores.max(axis=1, keepdims=True) * (1 - _ALIKE)).argmax(axis=1)
        counted: list[list[int]] = candidates[np.arange(len(texts)), best].tolist()
        return counted

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {
            "nc": "6",
            "nw": str(self.word_order),
            "beta": "2",
            "eff": "no" if self.eps_smoothing else "yes",
            "case": "mixed",
            "space": "no",
            "refs": batch.reference_count,
        }

    def _versions(self, batch: Batch) -> dict[str, str]:
        return {"sacrebleu": version("sacrebleu")}


def chrf_from_sums(sums: FloatArray, *, eps_smoothing: bool = False) -> FloatArray:
    """Return chrF, 0-100, from sums of statistics, ``[..., 3 * n_orders]`` -> ``[...]``: sacrebleu's formula over arrays.

    Args:
        sums: for each order the n-grams of the prediction, of the reference, and those that match.
        eps_smoothing: see :class:`Chrf`.
    """
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    predicted, reference, matched = counts[..., 0], counts[..., 1], counts[..., 2]
    epsilon = 1e-16 if eps_smoothing else 0.0
    precision = np.where(predicted > 0, matched / np.maximum(predicted, 1.0), epsilon)
    recall = np.where(reference > 0, matched / np.maximum(reference, 1.0), epsilon)
    if eps_smoothing:
        return np.asarray(100.0 * _f2(precision, recall, where_zero=epsilon).mean(axis=-1))
    orders = ((predicted > 0) & (reference > 0)).astype(np.float64)
    effective = np.maximum(orders.sum(axis=-1), 1.0)
    return 100.0 * _f2((precision * orders).sum(axis=-1) / effective, (recall * orders).sum(axis=-1) / effective, where_zero=0.0)


def _f2(precision: FloatArray, recall: FloatArray, *, where_zero: float) -> FloatArray:
    denominator = 4.0 * precision + recall
    return np.where(denominator > 0, 5.0 * precision * recall / np.where(denominator > 0, denominator, 1.0), where_zero)


def _triples(rows: Sequence[Sequence[IntArray]], highest: int) -> IntArray:
    """Return the n-grams of prediction and reference and those that match: ``[n_rows, most references, highest, 3]``.

    As in sacrebleu, those of the prediction do not count where the reference has none of their length.
    """
    matched = matched_ngrams(rows, highest)
    lengths = np.zeros((len(rows), 1 + matched.shape[1]), dtype=np.int64)
    for row, sequences in enumerate(rows):
        lengths[row, : len(sequences)] = [len(tokens) for tokens in sequences]
    totals = ngram_totals(lengths, highest)
    predicted, reference = np.broadcast_arrays(totals[:, :1], totals[:, 1:])
    return np.stack([np.where(reference > 0, predicted, 0), reference, matched], axis=-1)
