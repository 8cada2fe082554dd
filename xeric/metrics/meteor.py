"""METEOR (Banerjee & Lavie 2005, with the parameters of Lavie & Agarwal 2007) by nltk, on Xeric's words and stems.

nltk's function has traps that this module keeps away from: its stemmer is English whatever the language; it asks for WordNet data
as soon as one word is left over; its two arguments exchanged give another score, silently. METEOR 1.5 (Java) has other
parameters, paraphrase tables and another search for the alignment; its scores cannot be compared with these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xeric.errors import UserError
from xeric.languages import Language
from xeric.metrics.base import Batch, MeanMetric, version, word_tokenizer
from xeric.text import NormalForm, stemmer

__all__ = ["Meteor", "meteor_exact"]

_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5


@dataclass(frozen=True)
class _Stemmer:
    """The stemmer interface that nltk asks for."""

    stem: Callable[[str], str]


class _NoSynonyms:
    """Stands where nltk expects WordNet; without it nltk would look for the corpus and fail."""

    def synsets(self, word: str) -> list[Any]:
        return []


class Meteor(MeanMetric):
    """METEOR: F-mean of matched words, less a penalty for scattered matches; mean of rows, 0-100, higher is better.

    Words match when they are the same or, after that, when their Snowball stems are. A language without a Snowball stemmer is
    scored on exact matches only, and the signature says ``stem:none``. The Hindi stemmer joins function words, so read
    ``meteor_exact`` beside it. The alignment is nltk's greedy one and the best reference counts. An identical pair of m words
    scores ``100 (1 - 0.5 / m^3)`` by definition.

    Args:
        stem: match stems too; without it the metric is called ``meteor_exact``.
        wordnet: match WordNet synonyms too, in English. The corpus must be installed. nltk looks up what *stemming* left over
            ("alway" for "always"), so with ``stem`` few synonyms are found.
        normalize: Unicode normal form.
    """

    def __init__(self, *, stem: bool = True, wordnet: bool = False, normalize: NormalForm = "nfc") -> None:
        super().__init__(normalize=normalize)
        self.name, self.title = ("meteor", "METEOR") if stem else ("meteor_exact", "METEOR, exact")
        self.quality = stem
        self.stem = stem
        self.wordnet = wordnet

    def _count(self, batch: Batch) -> Iterator[tuple[float, float]]:
        from nltk.translate.meteor_score import meteor_score

        algorithm = self._algorithm(batch.language)
        stems = _Stemmer(stemmer(algorithm) if algorithm else str)
        synonyms = _wordnet() if self._synonyms(batch.language) else _NoSynonyms()
        for prediction, references in zip(batch.predictions, batch.references, strict=True):
            score = meteor_score(
                [batch.words_or_signs(reference) for reference in references],
                batch.words_or_signs(prediction),
                preprocess=str,  # the words are lower-cased already
                stemmer=stems,
                wordnet=synonyms,
                alpha=_ALPHA,
                beta=_BETA,
                gamma=_GAMMA,
            )
            yield score, 1.0

    def _choices(self, batch: Batch) -> dict[str, str]:
        algorithm = self._algorithm(batch.language)
        return {
            "tok": word_tokenizer(self.normalize, batch.language),
            "stem": f"snowball-{algorithm}" if algorithm else "none",
            "a": f"{_ALPHA:g}",
            "b": f"{_BETA:g}",
            "g": f"{_GAMMA:g}",
            "wordnet": "yes" if self._synonyms(batch.language) else "no",
            "refs": batch.reference_count,
        }

    def _versions(self, batch: Batch) -> dict[str, str]:
        packages = ["nltk", "snowballstemmer"] if self._algorithm(batch.language) else ["nltk"]
        return {**{package: version(package) for package in packages}, **super()._versions(batch)}

    def _algorithm(self, language: Language) -> str | None:
        return language.stemmer if self.stem else None

    def _synonyms(self, language: Language) -> bool:
        return self.wordnet and language.code == "en"


meteor_exact = functools.partial(Meteor, stem=False)
"""METEOR on exact matches only, the same definition for every language."""


def _wordnet() -> Any:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise UserError(
            "METEOR with synonyms needs the WordNet corpus, which nltk cannot find",
            hint="install it with 'python -m nltk.downloader wordnet', or leave synonyms out",
        ) from None
    return wordnet
