"""Whether predictions stay with the task: of the length asked for, not copied from the input, in the script of the language."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xeric.metrics.base import Batch, MeanMetric, Metric, word_ngrams, word_tokenizer
from xeric.statistics.arrays import FloatArray
from xeric.text import NormalForm, script_shares

__all__ = ["CopyRate", "LengthRatio", "WrongScriptRate"]


class LengthRatio(Metric):
    """Words of the predictions for every 100 words of the references; 100 is the references' length, neither direction is better.

    The closest reference of each row counts, the shorter of two, as in BLEU. Words are summed before they are divided, so that a
    short reference weighs no more than its words; references without any word count as one word.

    Args:
        normalize: Unicode normal form.
    """

    columns = ("prediction_words", "reference_words")
    better = None

    def __init__(self, *, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = "length_ratio"
        self.title = "length ratio"

    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return 100 times the ratio of the sums; see :meth:`Metric.score_sums`."""
        return np.asarray(100.0 * sums[..., 0] / np.maximum(sums[..., 1], 1.0))

    def _count(self, batch: Batch) -> Iterator[tuple[int, int]]:
        for prediction, references in zip(batch.predictions, batch.references, strict=True):
            length = len(batch.words(prediction))
            lengths = [len(batch.words(reference)) for reference in references]
            yield length, min(lengths, key=lambda other: (abs(other - length), other))

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"tok": word_tokenizer(self.normalize, batch.language), "best": "closest", "refs": batch.reference_count}


class CopyRate(MeanMetric):
    """Share of a prediction's word n-grams that stand in its input; mean of rows, 0-100, neither direction is better.

    Four words (the longest n-gram of BLEU): shorter ones are shared by chance, through names and function words. A prediction of
    fewer words, such as a title, is taken as one n-gram, so it counts as copied only if all of it stands in the input in a row. A
    prediction without words copies nothing.

    Args:
        n: words in an n-gram.
        normalize: Unicode normal form.
    """

    better = None

    def __init__(self, *, n: int = 4, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = "copy_rate"
        self.title = "copy rate"
        self.n = n

    def _count(self, batch: Batch) -> Iterator[tuple[float, float]]:
        for prediction, source in zip(batch.predictions, batch.inputs, strict=True):
            words = batch.words(prediction)
            n = min(self.n, len(words))
            ngrams = word_ngrams(words, n) if words else []
            source_ngrams = set(word_ngrams(batch.words(source), n)) if words else set()
            yield sum(ngram in source_ngrams for ngram in ngrams) / max(len(ngrams), 1), 1.0

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"n": str(self.n), "tok": word_tokenizer(self.normalize, batch.language)}


class WrongScriptRate(MeanMetric):
    """Share of predictions of whose letters more than half are in scripts that the language does not use; 0-100, lower is better.

    A prediction without letters is in no script, so in no wrong one. A wrong language in the right script is not detected.

    Args:
        normalize: Unicode normal form.
    """

    better = "lower"

    def __init__(self, *, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name = "wrong_script_rate"
        self.title = "wrong-script rate"

    def _count(self, batch: Batch) -> Iterator[tuple[float, float]]:
        own = batch.language.scripts
        for prediction in batch.predictions:
            shares = script_shares(prediction)
            foreign = sum(share for script, share in shares.items() if script not in own)
            yield float(foreign > 0.5), 1.0

    def _says(self, batch: Batch) -> tuple[bool, str]:
        has_scripts = bool(batch.language.scripts)
        return has_scripts, "" if has_scripts else f"no script is known for {batch.language.name}"

    def _choices(self, batch: Batch) -> dict[str, str]:
        return {"scripts": "+".join(sorted(batch.language.scripts)), "over": "50%"}
