"""Trivial baselines: what a person would answer without a model, and so what a method has to beat before it has learned anything.

They answer the very instances that a run answers, and are written as its predictions are.

=========================== ==================================================================================================
``copy_input``              the input as it is
``cut_input``               the beginning of the input, as long as a training target; the whole input of a task whose targets are
                            as long as its inputs (:attr:`xeric.data.preparing.TargetLength.as_input`)
``first_sentences``         the first sentences of the input that together are no longer than a training target: the lead
                            baseline of summarization. A first sentence that is longer by itself is cut
``copy_demonstration``      the output of the task's first demonstration, whatever the input; nothing where there is none
``random_training_output``  the output of a training instance drawn by seed, for each instance anew
=========================== ==================================================================================================

"As long as a training target" is :attr:`xeric.data.preparing.TargetLength.words`, cut at words (at graphemes in scripts without
spaces). chrF++ and METEOR weigh recall, so a text five times as long as asked for scores higher the longer it is, and nobody
would hand it in as a summary. So ``copy_input`` is computed and shown, and methods are judged against it only where the targets
of every task are as long as its inputs (:func:`baselines_of`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Literal

import regex

from xeric.config import digest
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.tasks import Instance
from xeric.records import Prediction
from xeric.text import words

__all__ = [
    "BASELINES",
    "SEEDED",
    "baseline_label",
    "baseline_predictions",
    "baselines_of",
    "first_sentences",
    "first_words",
]

# Ends of sentences: Latin, Devanagari (danda, double danda), Arabic, Urdu, Armenian, Ethiopic, Burmese, Khmer, Tibetan, CJK.
# A Latin full stop ends a sentence only before white space and something that may begin one, and not after a single capital
# letter or an abbreviation; the others do wherever they stand.
_CLOSING = r"[\"'”’»)\]」』】]*"
_ALWAYS = r"[।॥؟۔։።၊။៖។༎།。！？｡]+"
_BEFORE_SPACE = r"(?:[!?…]+|(?<!\b\p{Lu})(?<!\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Sra|Jr|vs|etc|No|núm|pág))\.+)"
_END = regex.compile(rf"(?:{_ALWAYS}{_CLOSING}|{_BEFORE_SPACE}{_CLOSING}(?=\s+[\p{{Lu}}\p{{Lo}}\p{{N}}¿¡\"'“‘«(\[—-]|\s*$))")
_CHUNK = regex.compile(r"\S+")


def first_words(text: str, count: int) -> str:
    """Return the beginning of a text up to its word number ``count``, with the punctuation that stands at that word.

    >>> first_words("Rain, wind and snow.", 2)
    'Rain, wind'
    """
    text = text.strip()
    taken, end = 0, 0
    for chunk in _CHUNK.finditer(text):
        if taken >= count:
            break
        own = words(chunk.group())
        end = chunk.end()
        if taken + len(own) > count:
            end = chunk.start()
            for word in own[: count - taken]:
                end = text.index(word, end) + len(word)
        taken += len(own)
    return text[:end]


def first_sentences(text: str, count: int | None = None) -> str:
    """Return the first sentences of a text in any script; a line break that follows text ends a sentence too.

    Args:
        text: any text.
        count: as many whole sentences as have no more than ``count`` words together, and of the first one no more than that; None
            is one sentence, however long.
    """
    text = text.strip()
    ends = _sentence_ends(text)
    first = text[: next(ends, 0)]
    if count is None:
        return first
    if len(words(first)) > count:
        return first_words(first, count)
    fitting = first
    for end in ends:
        if len(words(text[:end])) > count:
            break
        fitting = text[:end]
    return fitting


def _sentence_ends(text: str) -> Iterator[int]:
    start = 0
    for line in text.split("\n"):
        last = 0
        for match in _END.finditer(line):
            last = match.end()
            yield start + last
        if line[last:].strip():
            yield start + len(line.rstrip())
        start += len(line) + 1


def _copy_input(task: PreparedTask, instance: Instance, seed: int) -> str:
    return instance.input


def _cut_input(task: PreparedTask, instance: Instance, seed: int) -> str:
    length = task.target_length
    if length is None:
        return first_sentences(instance.input)
    return instance.input if length.as_input else first_words(instance.input, length.words)


def _first_sentences(task: PreparedTask, instance: Instance, seed: int) -> str:
    return first_sentences(instance.input, task.target_length.words if task.target_length else None)


def _copy_demonstration(task: PreparedTask, instance: Instance, seed: int) -> str:
    return task.demonstrations[0].output if task.demonstrations else ""


def _random_training_output(task: PreparedTask, instance: Instance, seed: int) -> str:
    # What was spent on training, dev included; an instance of dev does not answer itself.
    pool = [other for other in (*task.train, *task.dev) if other.id != instance.id]
    # Seeded for each instance, so that another instance's draw does not move this one.
    source = random.Random(digest([seed, task.name, instance.id]))
    return task.training_output(source.choice(pool), seed) if pool else ""


BASELINES: dict[str, Callable[[PreparedTask, Instance, int], str]] = {
    "copy_input": _copy_input,
    "cut_input": _cut_input,
    "first_sentences": _first_sentences,
    "copy_demonstration": _copy_demonstration,
    "random_training_output": _random_training_output,
}
SEEDED = frozenset({"random_training_output"})
"""Baselines that are drawn anew for each seed; the others are the same under all of them."""


def baseline_label(name: str) -> str:
    """Return how people read the name of a baseline."""
    return name.replace("_", " ")


def baselines_of(data: Prepared) -> dict[str, bool]:
    """Return the baselines of some tasks, and whether methods are judged against each (else it is shown and no more).

    Left out are those that say nothing: ``cut_input`` where it would be ``copy_input`` in every task, or no length is known;
    demonstrations and training outputs where no task has any.
    """
    lengths = [task.target_length for task in data.tasks]
    all_as_input = all(length is not None and length.as_input for length in lengths)
    judged = {"copy_input": all_as_input}
    if any(lengths) and not all_as_input:
        judged["cut_input"] = True
    judged["first_sentences"] = True
    if any(task.demonstrations for task in data.tasks):
        judged["copy_demonstration"] = True
    if any(lengths):
        judged["random_training_output"] = True
    return judged


def baseline_predictions(name: str, data: Prepared, part: Literal["test", "dev"], seed: int) -> list[Prediction]:
    """Return a baseline's answers to the instances of one part, in the order of a run's predictions."""
    answer = BASELINES[name]
    return [
        Prediction(
            id=instance.id,
            task=task.name,
            language=task.language,
            input=instance.input,
            prediction=answer(task, instance, seed),
            references=instance.outputs,
            group=instance.group,
        )
        for task in data.tasks
        for instance in (task.test if part == "test" else task.dev)
    ]
