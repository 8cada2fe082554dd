"""BLEU and chrF++: our formulas over arrays are sacrebleu's, and so is what is counted."""

from __future__ import annotations

import random
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from xeric.languages import language
from xeric.metrics import ngrams
from xeric.metrics.bleu import Bleu, BleuTokenizer, Chrf, Smoothing, bleu_from_sums, bleu_tokenizer, chrf_from_sums

sentences = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "aa", "bb,", ".", "été"]), max_size=9).map(" ".join)
corpora = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("English", "13a"),
        ("Finnish", "13a"),
        ("Vietnamese", "13a"),
        ("Hindi", "intl"),
        ("Russian", "intl"),
        ("Serbian", "intl"),
        ("Korean", "intl"),
        ("Tibetan", "intl"),
        ("Chinese", "zh"),
        ("Japanese", "char"),
        ("Thai", "char"),
        ("Khmer", "char"),
        ("Burmese", "char"),
    ],
)
def test_tokenizer_of_a_language(name: str, tokenizer: str) -> None:
    assert bleu_tokenizer(language(name)) == tokenizer


@given(corpora, st.sampled_from(["exp", "none"]))
@settings(max_examples=100, deadline=None)
def test_bleu_equals_sacrebleu(corpus: list[tuple[str, list[str]]], smooth: Smoothing) -> None:
    predictions, references = [row[0] for row in corpus], [row[1] for row in corpus]
    metric = Bleu(smooth=smooth)
    statistics = metric.statistics(predictions, references, predictions, "en")
    padded = [[several[min(i, len(several) - 1)] for several in references] for i in range(3)]
    whole = BLEU(smooth_method=smooth, force=True).corpus_score(predictions, padded)
    assert metric.score(statistics) == pytest.approx(whole.score, abs=1e-9)
    single = BLEU(smooth_method=smooth, effective_order=True)
    expected = [single.sentence_score(prediction, several).score for prediction, several in corpus]
    assert metric.per_example(statistics) == pytest.approx(expected, abs=1e-9)


@given(corpora, st.booleans(), st.sampled_from([0, 2]))
@example(corpus=[("a", ["a"]), ("", ["a a", "b"])], eps_smoothing=True, word_order=0)  # scores of 1e-14 that differ
@settings(max_examples=100, deadline=None)
def test_chrf_equals_sacrebleu(corpus: list[tuple[str, list[str]]], eps_smoothing: bool, word_order: int) -> None:
    predictions, references = [row[0] for row in corpus], [row[1] for row in corpus]
    metric = Chrf(word_order=word_order, eps_smoothing=eps_smoothing)
    statistics = metric.statistics(predictions, references, predictions, "en")
    in_order = [sorted(several) for several in references]
    padded = [[several[min(i, len(several) - 1)] for several in in_order] for i in range(3)]
    scorer = CHRF(word_order=word_order, eps_smoothing=eps_smoothing)
    assert metric.score(statistics) == pytest.approx(scorer.corpus_score(predictions, padded).score, abs=1e-9)
    pairs = zip(predictions, in_order, strict=True)
    expected = [scorer.sentence_score(prediction, several).score for prediction, several in pairs]
    assert metric.per_example(statistics) == pytest.approx(expected, abs=1e-9)


def many_rows() -> tuple[list[str], list[list[str]]]:
    """More rows than are counted at once, in several scripts, empty and long ones among them, with one or three references."""
    rng = random.Random(0)
    words = ["the", "rain,", "(in)", "Spain", "llovió", "¡ya!", "12.5", "बारिश", "हुई।", "雨が降る", "ฝนตก", "🌧️", "á", "�"]
    texts = [" ".join(rng.choices(words, k=rng.choice([0, 1, 3, 12, 12, 60]))) for _ in range(1200)]
    return texts, [rng.choices([*texts[:50], text[: len(text) // 2]], k=rng.choice([1, 1, 3])) for text in texts]


@pytest.mark.parametrize("name", ["English", "Hindi", "Chinese", "Thai"])
def test_every_count_is_sacrebleus(name: str) -> None:
    predictions, references = many_rows()
    assert sum(map(len, predictions)) > 2 * ngrams._TOKENS_AT_ONCE, "else all is counted at once"
    bleu = Bleu(normalize="none").statistics(predictions, references, predictions, name)
    lines = [[" ".join(text.split()) for text in row] for row in references]
    scorer = BLEU(tokenize=bleu_tokenizer(language(name)), force=True)
    flat = [" ".join(text.split()) for text in predictions]
    assert bleu.rows[:, :-1].tolist() == scorer._extract_corpus_statistics(flat, list(zip_longest(*lines)))
    chrf = Chrf(normalize="none").statistics(predictions, references, predictions, name)
    in_order = list(zip_longest(*map(sorted, references)))
    assert chrf.rows.tolist() == CHRF(word_order=2)._extract_corpus_statistics(predictions, in_order)


@pytest.mark.parametrize("smooth", ["exp", "none"])
@pytest.mark.parametrize("effective_order", [True, False])
def test_bleu_formula_on_random_counts(smooth: Smoothing, effective_order: bool) -> None:
    rng = np.random.default_rng(0)
    total = np.sort(rng.integers(0, 12, (500, 4)), axis=1)[:, ::-1]
    correct = rng.integers(0, total + 1)
    sums = np.hstack([total[:, :1], rng.integers(0, 15, (500, 1)), correct, total]).astype(np.float64)
    scorer = BLEU(smooth_method=smooth, effective_order=effective_order)
    expected = [scorer._compute_score_from_stats([int(x) for x in row]).score for row in sums]
    scores = bleu_from_sums(sums.reshape(5, 100, 10), smooth=smooth, effective_order=effective_order)
    assert scores.shape == (5, 100)
    np.testing.assert_allclose(scores.ravel(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eps_smoothing", [True, False])
def test_chrf_formula_on_random_counts(eps_smoothing: bool) -> None:
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 12, (500, 8, 2))
    sums = np.concatenate([sides, rng.integers(0, sides.min(axis=2, keepdims=True) + 1)], axis=2).reshape(500, 24)
    scorer = CHRF(word_order=2, eps_smoothing=eps_smoothing)
    expected = [scorer._compute_f_score([int(x) for x in row]) for row in sums]
    scores = chrf_from_sums(sums.astype(np.float64).reshape(5, 100, 24), eps_smoothing=eps_smoothing)
    np.testing.assert_allclose(scores.ravel(), expected, rtol=0, atol=1e-9)


def test_short_rows_score_0_together_and_by_effective_order_alone() -> None:
    metric = Bleu()
    statistics = metric.statistics(["one two"], [["one two"]], [""], "en")
    assert metric.score(statistics) == 0
    assert list(metric.per_example(statistics)) == pytest.approx([100])


def test_a_poems_line_ends_are_spaces() -> None:
    metric = Bleu()
    poem, line = "the sea -\nthe sky, the\tgrey\r\nhill", "the sea - the sky, the grey hill"
    assert metric.score(metric.statistics([poem], [[line]], [""], "en")) == pytest.approx(100)


@pytest.mark.parametrize(("tokenizer", "score"), [("13a", 23.4), ("intl", 23.4)])
def test_without_normal_form_decomposed_text_is_other_text(
    cases: dict[str, dict[str, list[str]]], tokenizer: BleuTokenizer, score: float
) -> None:
    case = cases["en-026"]
    raw, same = Bleu(tokenize=tokenizer, normalize="none"), Bleu(tokenize=tokenizer)
    texts = ([case["hypothesis"]], [case["references"]], [""], "en")
    assert raw.per_example(raw.statistics(*texts))[0] == pytest.approx(score, abs=0.05)  # type: ignore[arg-type]
    assert same.per_example(same.statistics(*texts))[0] == pytest.approx(100)  # type: ignore[arg-type]
