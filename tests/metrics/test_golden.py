"""Scores equal those of other programs, within the tolerance that their output allows. Each test counts what it compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xeric.metrics.base import Metric, Statistics
from xeric.metrics.bleu import Bleu, BleuTokenizer, Chrf, Smoothing
from xeric.metrics.meteor import Meteor
from xeric.metrics.rouge import Rouge, RougeType
from xeric.statistics.arrays import FloatArray
from xeric.text import NormalForm

Cases = dict[str, dict[str, Any]]
LANGUAGES = ("en", "es", "hi", "fi")
MODES: list[tuple[str, NormalForm]] = [("word_nfc", "nfc"), ("word_raw", "none")]


def by_language(cases: Cases) -> dict[str, list[str]]:
    return {code: [name for name, case in cases.items() if case["language"] == code] for code in LANGUAGES}


def count(metric: Metric, cases: Cases, ids: list[str]) -> Statistics:
    picked = [cases[name] for name in ids]
    return metric.statistics(
        [case["hypothesis"] for case in picked],
        [case["references"] for case in picked],
        [""] * len(picked),
        picked[0]["language"],
    )


def each(metric: Metric, cases: Cases, ids: list[str]) -> tuple[list[str], FloatArray]:
    """Return ids, and their per-example scores in that order."""
    groups = [own for own in by_language({name: cases[name] for name in ids}).values() if own]
    return [name for own in groups for name in own], np.concatenate(
        [metric.per_example(count(metric, cases, own)) for own in groups]
    )


def compare(values: FloatArray, expected: list[Any], run: dict[str, Any], scale: float = 1.0) -> int:
    """Compare on the scale of the run and return how many numbers were compared."""
    wanted = np.array([0.0 if value is None else value for value in expected], dtype=np.float64)
    np.testing.assert_allclose(values / scale, wanted, rtol=0, atol=run["tolerance"])
    return wanted.size


@pytest.mark.parametrize(("run", "tokenizer"), [("bleu_mteval_v14", "13a"), ("bleu_mteval_v14_intl", "intl")])
def test_sentence_bleu_smoothed(cases: Cases, runs: Cases, run: str, tokenizer: BleuTokenizer) -> None:
    ids, values = each(Bleu(tokenize=tokenizer, normalize="none"), cases, list(runs[run]["cases"]))
    assert compare(values, [runs[run]["cases"][name] for name in ids], runs[run], 100) == 54


@pytest.mark.parametrize(("run", "tokenizer"), [("bleu_mteval_v14_nosmooth", "13a"), ("bleu_mteval_v14_intl_nosmooth", "intl")])
def test_sentence_bleu_unsmoothed(cases: Cases, runs: Cases, run: str, tokenizer: BleuTokenizer) -> None:
    metric = Bleu(tokenize=tokenizer, smooth="none", normalize="none")
    ids = list(cases)
    score = metric.score_sums(count(metric, cases, ids).rows)  # each row as a corpus: no effective order
    assert compare(score, [runs[run]["cases"][name] for name in ids], runs[run], 100) == 72


@pytest.mark.parametrize("tokenizer", ["13a", "intl"])
@pytest.mark.parametrize("smooth", ["exp", "none"])
def test_corpus_bleu(cases: Cases, runs: Cases, tokenizer: BleuTokenizer, smooth: Smoothing) -> None:
    name = "bleu_mteval_v14" + ("_intl" if tokenizer == "intl" else "") + ("_nosmooth" if smooth == "none" else "")
    metric = Bleu(tokenize=tokenizer, smooth=smooth, normalize="none")
    scores = np.array([metric.score(count(metric, cases, ids)) for ids in by_language(cases).values()])
    assert compare(scores, [runs[name]["corpora"][code] for code in LANGUAGES], runs[name], 100) == 4


@pytest.mark.parametrize("mode", ["word_nfc", "ws_lower"])
def test_bleu_on_given_tokens(cases: Cases, runs: Cases, tokens: dict[str, dict[str, list[str]]], mode: str) -> None:
    run = runs[f"bleu_multibleu_{mode}"]
    given = {
        name: {"language": case["language"], "hypothesis": tokens[mode][name][0], "references": tokens[mode][name][1:]}
        for name, case in cases.items()
    }
    metric = Bleu(tokenize="none", smooth="none", normalize="none")
    score = metric.score_sums(count(metric, given, list(given)).rows)
    assert compare(score, [run["cases"][name] for name in given], run) == 72
    corpora = np.array([metric.score(count(metric, given, ids)) for ids in by_language(given).values()])
    assert compare(corpora, [run["corpora"][code] for code in LANGUAGES], run) == 4


@pytest.mark.parametrize(("run", "word_order"), [("chrfpp_popovic_counts_avgPR", 2), ("chrf_popovic_counts_avgPR", 0)])
def test_chrf(cases: Cases, runs: Cases, run: str, word_order: int) -> None:
    metric = Chrf(word_order=word_order, normalize="none")
    ids, values = each(metric, cases, list(cases))
    assert compare(values, [runs[run]["cases"][name] for name in ids], runs[run]) == 72
    corpora = np.array([metric.score(count(metric, cases, ids)) for ids in by_language(cases).values()])
    assert compare(corpora, [runs[run]["corpora"][code] for code in LANGUAGES], runs[run]) == 4


@pytest.mark.parametrize(("run", "word_order"), [("chrfpp_popovic", 2), ("chrf_popovic", 0)])
def test_chrf_as_its_author_averages(cases: Cases, runs: Cases, run: str, word_order: int) -> None:
    metric = Chrf(word_order=word_order, eps_smoothing=True, normalize="none")
    ids, scores = each(metric, cases, list(cases))
    assert compare(scores, [runs[run]["cases"][name] for name in ids], runs[run]) == 72
    corpora = [runs[run]["corpora"][code] for code in LANGUAGES]
    scores = np.array([metric.score(count(metric, cases, corpus["ids"])) for corpus in corpora])
    assert compare(scores, [corpus["score"] for corpus in corpora], runs[run]) == 4


@pytest.mark.parametrize(("mode", "normalize"), MODES)
@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge(cases: Cases, runs: Cases, mode: str, normalize: NormalForm, kind: RougeType) -> None:
    run = runs[f"rouge155_ids_{mode}_pairs_maxF"]
    statistics = count(Rouge(kind=kind, normalize=normalize), cases, list(cases))
    values = np.stack([statistics.column(name) for name in ("precision", "recall", "f")], axis=1)
    assert compare(values, [run["cases"][name][kind.lower()] for name in cases], run) == 72 * 3


@pytest.mark.parametrize(("mode", "normalize"), MODES)
def test_summary_level_rouge(cases: Cases, runs: Cases, mode: str, normalize: NormalForm) -> None:
    run = runs[f"rouge155_ids_lines_{mode}_best"]
    statistics = count(Rouge(kind="rougeLsum", normalize=normalize), cases, list(run["cases"]))
    values = np.stack([statistics.column(name) for name in ("precision", "recall", "f")], axis=1)
    assert compare(values, list(run["cases"].values()), run) == 66 * 3


@pytest.mark.parametrize(("tool", "cases_compared"), [("java_nltkparams", 54), ("nltk", 72)])
@pytest.mark.parametrize(("mode", "normalize"), MODES)
@pytest.mark.parametrize("stem", [True, False])
def test_meteor(cases: Cases, runs: Cases, tool: str, cases_compared: int, mode: str, normalize: NormalForm, stem: bool) -> None:
    run = runs[f"meteor_{tool}_{mode}_{'snowpy' if stem else 'none'}"]
    ids, values = each(Meteor(stem=stem, normalize=normalize), cases, list(run["cases"]))
    assert compare(values, [run["cases"][name] for name in ids], run, 100) == cases_compared


@pytest.mark.parametrize("tokenizer", ["13a", "intl"])
def test_sentence_bleu_is_sacrebleus(cases: Cases, runs: Cases, tokenizer: BleuTokenizer) -> None:
    run = runs[f"sacrebleu_sentence_{tokenizer}"]
    ids, values = each(Bleu(tokenize=tokenizer, normalize="none"), cases, list(cases))
    assert compare(values, [run["cases"][name] for name in ids], run) == 72
