"""Scoring pairs with 95% intervals: ours, and the calls that people write with sacrebleu, rouge-score and nltk.

``plain`` uses what these libraries resample themselves, from counts kept of each row; ``rescoring`` calls every metric again on
each resample, as general resampling functions do. It would take hours, so a few resamples are timed and the time is multiplied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sacrebleu
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

import xeric
from bench.scoring import rows_of
from bench.speed.jobs import Job, Result
from xeric.metrics import score_predictions
from xeric.records import Prediction

METRICS = ("bleu", "chrf", "rouge_l", "meteor")
RESAMPLES = 1000
_TIMED_RESAMPLES = 2


class NoSynonyms:
    """Stands for WordNet, whose corpus need not be there."""

    def synsets(self, word: str) -> list[Any]:
        return []


def score(job: Job) -> Result:
    task = xeric.load_task(job["task"], tasks_dir=job["tasks_dir"])
    texts, references, inputs, language = rows_of(task, job["pairs"], 1)
    predictions = [
        Prediction(id=str(number), task=task.name, language=language, input=given, prediction=text, references=tuple(several))
        for number, (text, several, given) in enumerate(zip(texts, references, inputs, strict=True))
    ]
    firsts = [several[0] for several in references]
    engines: dict[str, Callable[[], Result]] = {
        "ours": lambda: ours(predictions),
        "plain": lambda: plain(texts, firsts),
        "rescoring": lambda: rescoring(texts, firsts),
    }
    return engines[job["engine"]]()


def ours(predictions: Sequence[Prediction]) -> Result:
    start = time.perf_counter()
    scores = score_predictions(predictions, METRICS, resamples=RESAMPLES).scores
    return {"seconds": time.perf_counter() - start, "scores": {name: scores[name].score for name in METRICS}}


def plain(texts: Sequence[str], references: Sequence[str]) -> Result:
    start = time.perf_counter()
    scores = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF(word_order=2))):
        scores[name] = metric.corpus_score(texts, [references], n_bootstrap=RESAMPLES).score
    scorer, aggregator = RougeScorer(["rougeL"]), BootstrapAggregator(n_samples=RESAMPLES)
    for text, reference in zip(texts, references, strict=True):
        aggregator.add_scores(scorer.score(reference, text))
    scores["rouge_l"] = 100 * aggregator.aggregate()["rougeL"].mid.fmeasure
    rows = np.array([meteor(text, reference) for text, reference in zip(texts, references, strict=True)])
    rng = np.random.default_rng(0)
    means = [rows[rng.integers(0, len(rows), len(rows))].mean() for _ in range(RESAMPLES)]
    np.percentile(means, [2.5, 97.5])
    scores["meteor"] = 100 * float(rows.mean())
    return {"seconds": time.perf_counter() - start, "scores": scores}


def rescoring(texts: Sequence[str], references: Sequence[str]) -> Result:
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    scores = scored_once(texts, references)
    once = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(_TIMED_RESAMPLES):
        drawn = rng.integers(0, len(texts), len(texts))
        scored_once([texts[row] for row in drawn], [references[row] for row in drawn])
    again = (time.perf_counter() - start) / _TIMED_RESAMPLES
    return {"seconds": once + RESAMPLES * again, "scores": scores, "extrapolated_from": _TIMED_RESAMPLES}


def scored_once(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    scorer = RougeScorer(["rougeL"])
    pairs = list(zip(texts, references, strict=True))
    return {
        "bleu": sacrebleu.corpus_bleu(texts, [references]).score,
        "chrf": sacrebleu.corpus_chrf(texts, [references], word_order=2).score,
        "rouge_l": 100 * float(np.mean([scorer.score(reference, text)["rougeL"].fmeasure for text, reference in pairs])),
        "meteor": 100 * float(np.mean([meteor(text, reference) for text, reference in pairs])),
    }


def meteor(text: str, reference: str) -> float:
    return float(single_meteor_score(reference.split(), text.split(), wordnet=NoSynonyms()))
