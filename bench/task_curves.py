"""Real learning curves that cost seconds: three simple learners on nested subsets of task files, scored by chrF++.

    python bench/task_curves.py TASKS_DIR -o FOLDER [--tasks 99] [--orders 3]

Each file in FOLDER holds one task: the statistics of chrF++ of every test row after training on the first n of a random order of
the rest, for each learner, order and size. What is finished is not computed again. The learners are no language models, but their
scores rise with n as those of real ones do, by their own law on each task:

nearest   the output of the training example whose input is most similar (tf-idf over words, pairs of words and 4-grams of
          characters)
keep      the words of the input that a logistic regression on the word and its surroundings keeps
generate  words in the order of a bigram model of the outputs, drawn to what the input's words go with (IBM model 1)
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse
import scipy.special

from xeric.data.tasks import Instance, load_task
from xeric.errors import DataError
from xeric.metrics.bleu import Chrf
from xeric.statistics.arrays import FloatArray

SIZES = (12, 25, 50, 100, 200, 400, 800)
TEST_ROWS = 250
_HASHED = 1 << 18
_LONGEST = 500  # characters of an input that are looked at

Learner = Callable[[Sequence[Instance], Sequence[str]], list[str]]


# --- nearest --------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _features(text: str) -> dict[int, float]:
    words = text[:_LONGEST].lower().split()
    flat = " ".join(words)
    parts = [*words, *map(" ".join, itertools.pairwise(words)), *(flat[i : i + 4] for i in range(len(flat) - 3))]
    counted = Counter(_hash(part) for part in parts)
    return {key: 1 + math.log(times) for key, times in counted.items()}


def _hash(part: str) -> int:
    return zlib.crc32(part.encode()) % _HASHED


def _matrix(rows: Sequence[dict[int, float]], width: int = _HASHED) -> scipy.sparse.csr_matrix:
    values = [value for row in rows for value in row.values()]
    ends = np.cumsum([0, *map(len, rows)])
    return scipy.sparse.csr_matrix((values, [key for row in rows for key in row], ends), shape=(len(rows), width))


def nearest(train: Sequence[Instance], inputs: Sequence[str]) -> list[str]:
    """Answer with the output of the most similar training example."""
    seen, asked = _matrix([_features(row.input) for row in train]), _matrix([_features(text) for text in inputs])
    held = np.bincount(seen.indices, minlength=_HASHED)
    weights = scipy.sparse.diags(np.log((1 + len(train)) / (1 + held)) + 1)
    seen, asked = seen @ weights, asked @ weights
    lengths = np.sqrt(np.asarray(seen.multiply(seen).sum(axis=1)).ravel())
    alike = (asked @ seen.T).toarray() / np.maximum(lengths, 1e-9)
    return [train[index].outputs[0] for index in alike.argmax(axis=1)]


# --- keep -----------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _word_features(text: str) -> FloatArray:
    """Return hashed features of each word of a text and of its surroundings, ``[words, features]``."""
    words = text[:_LONGEST].split() or [""]
    lowered = ["<", *(word.lower() for word in words), ">"]
    rows = [
        (
            f"word {lowered[number]}",
            f"pair {lowered[number - 1]} {lowered[number]}",
            f"next {lowered[number + 1]}",
            f"before {lowered[number - 1]}",
            f"from start {min(number, 12)}",
            f"to end {min(len(words) - number, 6)}",
            f"part {10 * number // len(words)}",
            f"capital {word[:1].isupper()}",
            f"letters {min(len(word), 10)}",
        )
        for number, word in enumerate(words, 1)
    ]
    return np.array([[_hash(part) for part in row] for row in rows])


def keep(train: Sequence[Instance], inputs: Sequence[str]) -> list[str]:
    """Answer with those words of the input that a logistic regression keeps (AdaGrad); at least the likeliest."""
    index = np.concatenate([_word_features(row.input) for row in train])
    target = np.array(
        [
            float(word.lower() in wanted)
            for row in train
            for wanted in [set(row.outputs[0].lower().split())]
            for word in row.input[:_LONGEST].split() or [""]
        ]
    )
    weights, bias, squares = np.zeros(_HASHED), 0.0, np.full(_HASHED, 1e-8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        for batch in np.array_split(rng.permutation(len(index)), max(1, len(index) // 128)):
            error = target[batch] - scipy.special.expit(weights[index[batch]].sum(axis=1) + bias)
            touched, where = np.unique(index[batch], return_inverse=True)
            gradient = np.bincount(where.ravel(), np.repeat(error, index.shape[1])) - 0.05 * weights[touched]
            squares[touched] += gradient**2
            weights[touched] += 0.2 * gradient / np.sqrt(squares[touched])
            bias += 0.05 * float(error.mean())
    answers = []
    for text in inputs:
        logits = weights[_word_features(text)].sum(axis=1) + bias
        chosen = logits >= min(0.0, float(logits.max()))
        answers.append(" ".join(word for word, is_kept in zip(text[:_LONGEST].split(), chosen, strict=False) if is_kept))
    return answers


# --- generate -------------------------------------------------------------------------------------------------------------------

_MOST_WORDS = 40


def generate(train: Sequence[Instance], inputs: Sequence[str]) -> list[str]:
    """Write word by word: a bigram model of the outputs, drawn to the words that go with the input's words."""
    outputs = [row.outputs[0].split()[:_MOST_WORDS] for row in train]
    following: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for output in outputs:
        for first, second in itertools.pairwise(["<", *output, ">"]):
            following[first][second] += 1
    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for output in outputs for word in output))}
    seen = _words_matrix([row.input for row in train])
    written = _matrix([dict.fromkeys((numbers[word] for word in output), 1.0) for output in outputs], len(numbers))
    together = (seen.T @ written).tocoo()
    expected = np.asarray(seen.sum(axis=0)).ravel()[together.row] * np.asarray(written.sum(axis=0)).ravel()[together.col]
    worth = np.maximum(np.log(together.data * len(train) / expected), 0) * (1 - 1 / (1 + together.data))
    drawn = (_words_matrix(inputs) @ scipy.sparse.csr_matrix((worth, (together.row, together.col)), together.shape)).tocsr()
    length = max(1, round(sum(map(len, outputs)) / len(outputs)))
    return [_written(dict(zip(row.indices, row.data, strict=True)), following, numbers, length) for row in drawn]


def _words_matrix(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    return _matrix([dict.fromkeys(map(_hash, text[:_LONGEST].lower().split()), 1.0) for text in texts])


def _written(drawn: dict[int, float], following: dict[str, Counter[str]], numbers: dict[str, int], length: int) -> str:
    words, used = ["<"], Counter[str]()
    while len(words) <= min(2 * length + 2, _MOST_WORDS) and words[-1] != ">":
        options = following[words[-1]]

        def worth(word: str, options: Counter[str] = options) -> float:
            if word == ">":
                return math.log(options[word]) + 0.4 * (len(words) - 1 - length)
            return math.log(options[word]) + 0.3 * drawn.get(numbers[word], 0.0) - 1.5 * used[word]

        words.append(max(options, key=worth))
        used[words[-1]] += 1
    return " ".join(word for word in words[1:] if word != ">")


LEARNERS: dict[str, Learner] = {"nearest": nearest, "keep": keep, "generate": generate}


# --- curves ---------------------------------------------------------------------------------------------------------------------


def usable(path: Path) -> list[Instance]:
    """Return a task's instances without repetitions and empty texts; none where outputs are long or it has too few."""
    try:
        instances = load_task(path).instances
    except DataError:
        return []
    different = list({row.input: row for row in instances if row.input.strip() and row.outputs[0].strip()}.values())
    mean_length = sum(len(row.outputs[0]) for row in different) / max(len(different), 1)
    varied = len({row.outputs[0] for row in different}) > 0.3 * len(different)
    return different if varied and mean_length <= 160 and len(different) >= SIZES[-1] + TEST_ROWS else []


def curves(instances: Sequence[Instance], language: str, orders: int) -> dict[str, FloatArray]:
    """Return chrF++'s statistics, ``[orders, sizes, test rows, columns]``, by learner."""
    shuffled = random.Random(0).sample(list(instances), len(instances))
    test, pool = shuffled[:TEST_ROWS], shuffled[TEST_ROWS:]
    metric, inputs = Chrf(), [row.input for row in test]
    references = [list(row.outputs) for row in test]
    made = {}
    for name, learner in LEARNERS.items():
        rows = []
        for order in range(orders):
            ordered = random.Random(order + 1).sample(pool, len(pool))
            answers = [learner(ordered[:size], inputs) for size in SIZES]
            rows.append([metric.statistics(answer, references, inputs, language).rows for answer in answers])
        made[name] = np.array(rows, dtype=np.float32)
    return made


def main() -> None:
    """Write the curves of the first tasks that are fit for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks_dir", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=99)
    parser.add_argument("--orders", type=int, default=3)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    paths = sorted(given.tasks_dir.glob("*.json"), key=lambda path: zlib.crc32(path.stem.encode()))
    done = 0
    for path in paths:
        if done == given.tasks:
            break
        file = given.output / f"{path.stem}.npz"
        if not file.is_file():
            instances = usable(path)
            if not instances:
                continue
            np.savez_compressed(file, **curves(instances, load_task(path).language, given.orders))
        done += 1
        print(done, path.stem, flush=True)


if __name__ == "__main__":
    main()
