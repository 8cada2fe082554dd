"""What counting costs, metric by metric, and ROUGE-L against rouge-score on the same texts.

    python bench/scoring.py [--outputs 300] [--sentences 4] [--repeats 5]

A reference is so many outputs of a bundled task, one behind the other; its prediction has a share of the words replaced by others
of the task. All ways run in turn in one process; what counts is the ratio of the medians of processor time.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from timeit import timeit

from rouge_score.rouge_scorer import RougeScorer

from xeric.data.catalog import Catalog
from xeric.data.tasks import Task
from xeric.metrics import METRICS, quality_metrics
from xeric.metrics.base import Metric, word_tokens

Rows = tuple[list[str], list[tuple[str, ...]], list[str], str]
TASKS = ("summarization_en", "summarization_es", "summarization_hi")


class Words:
    """Our words, as rouge-score wants them."""

    def tokenize(self, text: str) -> list[str]:
        return word_tokens(text)


def rows_of(task: Task, count: int, sentences: int, *, kept: float = 0.6) -> Rows:
    rng = random.Random(task.name)
    outputs = [instance.outputs[0] for instance in task.instances]
    words = [word for output in outputs for word in output.split()]
    references = [" ".join(rng.choices(outputs, k=sentences)) for _ in range(count)]
    predictions = [" ".join(word if rng.random() < kept else rng.choice(words) for word in text.split()) for text in references]
    inputs = [rng.choice(task.instances).input for _ in range(count)]
    return predictions, [(reference,) for reference in references], inputs, task.language


def counted(metric: Metric, sets: Sequence[Rows]) -> list[float]:
    return [value for rows in sets for value in metric.per_example(metric.statistics(*rows)).tolist()]


def by_library(sets: Sequence[Rows]) -> list[float]:
    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    return [
        100 * scorer.score_multi(references, prediction)["rougeL"].fmeasure
        for predictions, several, _, _ in sets
        for prediction, references in zip(predictions, several, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=300, help="predictions per task")
    parser.add_argument("--sentences", type=int, default=4, help="outputs a reference is made of")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    sets = [rows_of(Catalog.of().load(task), options.outputs, options.sentences) for task in TASKS]
    total = sum(len(rows[0]) for rows in sets)
    lengths = [len(word_tokens(prediction)) for rows in sets for prediction in rows[0]]
    print(f"{total} predictions of {statistics.mean(lengths):.0f} words (at most {max(lengths)}), {len(TASKS)} languages")
    assert counted(METRICS.get("rouge_l")(), sets) == by_library(sets)
    ways: dict[str, Callable[[], object]] = {
        name: functools.partial(counted, METRICS.get(name)(), sets) for name in METRICS.names()
    }
    ways["rouge_l by rouge-score"] = functools.partial(by_library, sets)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.repeats + 1):
        for name, work in ways.items():
            taken = timeit(work, timer=time.process_time, number=1)
            if number:  # the first loads libraries
                times[name].append(taken)
    quality = quality_metrics()
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in sorted(medians.items(), key=lambda item: -item[1]):
        print(
            f"{name:24} {1e6 * taken / total:8.1f} us a prediction" + (", of the default comparison" if name in quality else "")
        )
    print(f"ROUGE-L: {medians['rouge_l by rouge-score'] / medians['rouge_l']:.1f} times as fast as by rouge-score, equal scores")
    before = sum(medians[name] for name in quality) - medians["rouge_l"] + medians["rouge_l by rouge-score"]
    print(f"{', '.join(quality)} together: {before / sum(medians[name] for name in quality):.2f} times as fast")


if __name__ == "__main__":
    main()
