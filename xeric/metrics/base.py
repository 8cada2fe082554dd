"""What a metric is: counts on every row, a formula over their sums, and a signature.

The flow is sacrebleu's (Post 2018, "A Call for Clarity in Reporting BLEU Scores"): statistics -> score -> signature ->
significance. Texts are tokenised once, in :meth:`Metric.statistics`. Everything after that (the corpus score, scores of single
rows, intervals, tests) adds up rows of numbers, so a thousand resamples are one matrix product. Nothing here knows which metrics
there are.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import ClassVar, Literal

import numpy as np

from xeric import __version__, text
from xeric.errors import DataError
from xeric.invisible import without_invisible
from xeric.languages import Language, language_or_unknown
from xeric.statistics.arrays import FloatArray
from xeric.text import NormalForm

__all__ = [
    "Batch",
    "Better",
    "MeanMetric",
    "Metric",
    "Signature",
    "Statistics",
    "version",
    "word_ngrams",
    "word_tokenizer",
    "word_tokens",
]

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Signature:
    """Every choice that can move a number, in the form ``bleu|tok:13a|smooth:exp|...``.

    Scores with different signatures are scores of different measures. What stands from ``ci`` on concerns the interval only.
    """

    name: str
    choices: Mapping[str, str]

    def __str__(self) -> str:
        return "|".join([self.name, *(f"{key}:{value}" for key, value in self.choices.items())])

    def extended(self, choices: Mapping[str, object]) -> Signature:
        """Return this signature with further choices at its end."""
        return Signature(self.name, {**self.choices, **{key: str(value) for key, value in choices.items()}})

    @staticmethod
    def merged(signatures: Sequence[Signature]) -> Signature:
        """Return the signature of a mean over sets scored apart: where choices differ it names them all (``tok:13a+intl``)."""
        values: dict[str, set[str]] = {}
        for signature in signatures:
            for key, value in signature.choices.items():
                values.setdefault(key, set()).update(value.split("+"))
        return Signature(signatures[0].name, {key: "+".join(sorted(chosen)) for key, chosen in values.items()})


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a metric counted, one line of numbers for every row.

    Attributes:
        rows: ``[n_rows, n_columns]``; the sum over any choice of rows is all that the metric's formula needs.
        columns: what each column counts.
        signature: how it was counted.
        defined: whether a score says anything. That depends on references and language alone, so it is the same for every system.
        note: what a reader of the score must know, or why there is none.
    """

    rows: FloatArray
    columns: tuple[str, ...]
    signature: Signature
    defined: bool = True
    note: str = ""

    def column(self, name: str) -> FloatArray:
        """Return one column, ``[n_rows]``."""
        return self.rows[:, self.columns.index(name)]


@dataclass(frozen=True)
class Batch:
    """Texts in one normal form and one language, one entry of each list for every row; metrics of this form share it.

    Make one with :meth:`of`.
    """

    predictions: list[str]
    references: list[list[str]]
    inputs: list[str]
    language: Language
    _words: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        inputs: Sequence[str],
        language: str,
        normalize: NormalForm,
    ) -> Batch:
        """Return texts in a normal form; for the arguments see :meth:`Metric.statistics`.

        Raises:
            DataError: there are no rows, the lists differ in length, or a row has no reference.
        """
        _check(predictions, references, inputs)

        def normal(raw: str) -> str:
            return raw if normalize == "none" else text.normalize(without_invisible(raw, boundaries=False))

        return cls(
            [normal(prediction) for prediction in predictions],
            [[normal(reference) for reference in row] for row in references],
            [normal(source) for source in inputs],
            language_or_unknown(language),
        )

    @property
    def texts(self) -> list[list[str]]:
        """The prediction and the references of each row."""
        return [[prediction, *row] for prediction, row in zip(self.predictions, self.references, strict=True)]

    def words(self, normal_text: str) -> list[str]:
        """Return the words of one of the texts (:func:`word_tokens`), which are looked for once."""
        if normal_text not in self._words:
            self._words[normal_text] = word_tokens(normal_text, self.language)
        return self._words[normal_text]

    def words_or_signs(self, normal_text: str) -> list[str]:
        """Return the words of one of the texts or, where it has none, such as emoji, what is written instead.

        A text is so always the same as itself.
        """
        return self.words(normal_text) or [sign for sign in text.graphemes(normal_text) if not sign.isspace()]

    @property
    def reference_count(self) -> str:
        """The number of references that every row has, or ``var`` where it varies."""
        counts = {len(references) for references in self.references}
        return str(counts.pop()) if len(counts) == 1 else "var"


class Metric(ABC):
    """One measure of predictions in one language.

    Attributes:
        name: as registered; the key under which scores stand.
        title: as the field writes it; what reports call the metric. Without one they write its name, with spaces.
        columns: what :meth:`statistics` counts.
        upper: the highest score that there can be, where intervals end; None where there is none. The lowest is 0.
        better: which direction is better; None for a measure that only describes.
        quality: whether systems are compared on it unless told otherwise (:func:`xeric.metrics.quality_metrics`).
        resampled: whether rows may be drawn with replacement. Not so for measures of how predictions differ from *each other*: a
            row drawn twice would count as a repetition that the system never made, so such a measure has no interval and no test.
        normalize: the Unicode normal form that texts are brought to first; with it goes what nobody sees, such as marks of
            direction (:mod:`xeric.invisible`). ``none`` counts texts as they are.
    """

    name: str
    title: str = ""
    columns: tuple[str, ...]
    upper: ClassVar[float | None] = None
    better: ClassVar[Better | None] = "higher"
    quality: bool = False
    resampled: ClassVar[bool] = True

    def __init__(self, *, normalize: NormalForm = "nfc") -> None:
        self.normalize: NormalForm = normalize

    def statistics(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], inputs: Sequence[str], language: str
    ) -> Statistics:
        """Return what the metric counts on each row; the one place where texts are tokenised.

        Args:
            predictions: one text for each row; an empty one counts as a prediction.
            references: the references of each row, at least one; rows may have different numbers of them.
            inputs: what the system was given in each row.
            language: name or code of the language that all rows should be in; an unknown one has no scripts and no stemmer.

        Raises:
            DataError: there are no rows, the lists differ in length, or a row has no reference.
        """
        return self.statistics_of(Batch.of(predictions, references, inputs, language, self.normalize))

    def statistics_of(self, batch: Batch) -> Statistics:
        """Return the same of texts that are in the metric's normal form already."""
        rows = np.array([list(row) for row in self._count(batch)], dtype=np.float64)
        signature = Signature(self.name, {**self._choices(batch), **self._form(), **self._versions(batch)})
        return Statistics(rows, self.columns, signature, *self._says(batch))

    def score(self, statistics: Statistics) -> float:
        """Return the score of all rows together."""
        return float(self.score_sums(statistics.rows.sum(axis=0)))

    def per_example(self, statistics: Statistics) -> FloatArray:
        """Return the score of each row by itself, ``[n_rows]``."""
        return self.score_sums(statistics.rows)

    @abstractmethod
    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return scores from sums of rows: ``[..., n_columns]`` -> ``[...]``. Finite whatever the sums, and not below 0."""

    def score_draws(self, sums: FloatArray) -> FloatArray:
        """Return scores from sums of rows that were drawn with replacement; only what is defined by chance differs."""
        return self.score_sums(sums)

    @abstractmethod
    def _count(self, batch: Batch) -> Iterable[Sequence[float]]:
        """Return the numbers of each row, in the order of :attr:`columns`."""

    @abstractmethod
    def _choices(self, batch: Batch) -> dict[str, str]:
        """Return the part of the signature that stands before the normal form."""

    def _says(self, batch: Batch) -> tuple[bool, str]:
        """Return whether a score on these references in this language says anything, and what its reader must know."""
        return True, ""

    def _versions(self, batch: Batch) -> dict[str, str]:
        """Return the versions of the code that counts."""
        return {"xeric": version("xeric")}

    def _form(self) -> dict[str, str]:
        """Return the part of the signature that says what was done to the texts before they were counted."""
        return {"norm": self.normalize, "invisible": "yes" if self.normalize == "none" else "no"}


class MeanMetric(Metric):
    """A metric whose score is the mean, times 100, of one value between 0 and 1 for each row.

    The first column holds the value and the last one 1, so that sums are enough here too.
    """

    columns: tuple[str, ...] = ("value", "rows")
    upper = 100.0

    def score_sums(self, sums: FloatArray) -> FloatArray:
        """Return the mean of the summed rows' values, times 100; see :meth:`Metric.score_sums`."""
        return np.asarray(100.0 * sums[..., 0] / np.maximum(sums[..., -1], 1.0))


def _check(predictions: Sequence[str], references: Sequence[Sequence[str]], inputs: Sequence[str]) -> None:
    if not len(predictions):
        raise DataError("there are no predictions to score")
    if not len(predictions) == len(references) == len(inputs):
        raise DataError(
            f"{len(predictions)} predictions stand beside {len(references)} lists of references and {len(inputs)} inputs"
        )
    for number, several in enumerate(references, 1):
        if isinstance(several, str):
            raise DataError(f"the references of row {number} are one text, not a list of texts", hint="put it into a list")
        if not len(several):
            raise DataError(f"row {number} has no reference")


@functools.cache
def version(package: str) -> str:
    """Return the version of a package; Xeric's own also where it runs from a folder, without being installed."""
    return __version__ if package == "xeric" else metadata.version(package)


def word_tokens(normal_text: str, language: Language | None = None) -> list[str]:
    """Return the lower-cased words of a text that is already in normal form; see :func:`xeric.text.words`.

    Args:
        normal_text: the text.
        language: of the text; Turkish and its relatives have a dotted and a dotless i, each with a capital letter of its own.
    """
    if language is not None and language.dotted:
        normal_text = normal_text.replace("İ", "i").replace("I", "ı")
    return text.words(normal_text.lower())


def word_ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return the n-grams of a list of words in order; none where it has fewer than n."""
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def word_tokenizer(normalize: NormalForm, language: Language | None = None) -> str:
    """Return the name that :func:`word_tokens` goes by in signatures."""
    name = "word_nfc" if normalize == "nfc" else "word_raw"
    return f"{name}_dotted" if language is not None and language.dotted else name
