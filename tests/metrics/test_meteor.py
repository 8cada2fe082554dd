"""METEOR: stemmers by language, synonyms only on request."""

from __future__ import annotations

from types import SimpleNamespace

import nltk
import pytest

from xeric.errors import UserError
from xeric.metrics import meteor
from xeric.metrics.meteor import Meteor, meteor_exact


def score(metric: Meteor, prediction: str, references: list[str], language: str) -> float:
    return metric.score(metric.statistics([prediction], [references], [""], language))


def test_stems_are_those_of_the_language() -> None:
    assert score(Meteor(), "running dogs", ["run dog"], "en") > 90
    assert score(Meteor(), "running dogs", ["run dog"], "sw") == 0  # no stemmer: exact only, never English by default
    assert score(meteor_exact(), "running dogs", ["run dog"], "en") == 0


def test_hindi_stemmer_joins_function_words_and_exact_shows_it() -> None:
    stemmed, exact = score(Meteor(), "राम का घर", ["राम की घर"], "hi"), score(meteor_exact(), "राम का घर", ["राम की घर"], "hi")
    assert stemmed > 98
    assert exact < 60


def test_arguments_are_not_exchanged() -> None:
    # Recall weighs nine times as much as precision: half of a reference is worse than twice its length.
    assert score(meteor_exact(), "a b", ["a b c d"], "en") < score(meteor_exact(), "a b c d", ["a b"], "en")


def test_best_reference_counts() -> None:
    assert score(Meteor(), "a b c", ["x", "a b c", "a b"], "en") == score(Meteor(), "a b c", ["a b c"], "en")


def test_without_the_corpus_synonyms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(UserError, match="WordNet") as caught:
        score(Meteor(wordnet=True), "a car", ["an automobile"], "en")
    assert "downloader" in str(caught.value.hint)
    assert caught.value.__cause__ is None


def test_synonyms_of_english_words_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    lemmas = {"car": ["automobile"]}

    def synsets(word: str) -> list[SimpleNamespace]:
        names = [SimpleNamespace(name=lambda lemma=lemma: lemma) for lemma in lemmas.get(word, [])]
        return [SimpleNamespace(lemmas=lambda: names)]

    monkeypatch.setattr(meteor, "_wordnet", lambda: SimpleNamespace(synsets=synsets))
    with_synonyms = Meteor(stem=False, wordnet=True)
    assert score(with_synonyms, "car", ["automobile"], "en") == 50
    assert score(with_synonyms, "car", ["automobile"], "es") == 0
    assert score(Meteor(stem=False), "car", ["automobile"], "en") == 0
    for language, expected in (("en", "wordnet:yes"), ("es", "wordnet:no")):
        assert expected in str(with_synonyms.statistics(["a"], [["a"]], [""], language).signature)
