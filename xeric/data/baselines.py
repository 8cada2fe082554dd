"""Trivial baselines: what a method has to beat before it can be said to have learned anything.

They answer the very instances that a run answers, and are written as its predictions are.

=========================== ==================================================================================================
``copy_input``              the input as it is
``copy_demonstration``      the output of the task's first demonstration, whatever the input; nothing where there is none
``first_sentence``          the first sentence of the input (its first line, where a line holds no end of sentence)
``random_training_output``  the output of a training instance drawn by seed, for each instance anew
=========================== ==================================================================================================
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

import regex

from xeric.config import digest
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.tasks import Instance
from xeric.records import Prediction

__all__ = ["BASELINES", "SEEDED", "baseline_predictions", "first_sentence"]

# Ends of sentences: Latin, Devanagari (danda, double danda), Arabic, Urdu, Armenian, Ethiopic, Burmese, Khmer, Tibetan, CJK.
# A Latin full stop ends a sentence only before white space and something that may begin one, and not after a single capital
# letter or an abbreviation; the others do wherever they stand.
_CLOSING = r"[\"'”’»)\]」』】]*"
_ALWAYS = r"[।॥؟۔։።၊။៖។༎།。！？｡]+"
_BEFORE_SPACE = r"(?:[!?…]+|(?<!\b\p{Lu})(?<!\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Sra|Jr|vs|etc|No|núm|pág))\.+)"
_END = regex.compile(rf"(?:{_ALWAYS}{_CLOSING}|{_BEFORE_SPACE}{_CLOSING}(?=\s+[\p{{Lu}}\p{{Lo}}\p{{N}}¿¡\"'“‘«(\[—-]|\s*$))")


def first_sentence(text: str) -> str:
    """Return the first sentence of a text in any script; a line break that follows text ends a sentence too."""
    text = text.strip()
    line = text.partition("\n")[0].strip()
    found = _END.search(line)
    return line[: found.end()].strip() if found else line


def _copy_input(task: PreparedTask, instance: Instance, seed: int) -> str:
    return instance.input


def _copy_demonstration(task: PreparedTask, instance: Instance, seed: int) -> str:
    return task.demonstrations[0].output if task.demonstrations else ""


def _first_sentence(task: PreparedTask, instance: Instance, seed: int) -> str:
    return first_sentence(instance.input)


def _random_training_output(task: PreparedTask, instance: Instance, seed: int) -> str:
    # What was spent on training, dev included; an instance of dev does not answer itself.
    pool = [one for one in (*task.train, *task.dev) if one.id != instance.id]
    # Seeded for each instance, so that another instance's draw does not move this one.
    source = random.Random(digest([seed, task.name, instance.id]))
    return task.training_output(source.choice(pool), seed) if pool else ""


BASELINES: dict[str, Callable[[PreparedTask, Instance, int], str]] = {
    "copy_input": _copy_input,
    "copy_demonstration": _copy_demonstration,
    "first_sentence": _first_sentence,
    "random_training_output": _random_training_output,
}
SEEDED = frozenset({"random_training_output"})
"""Baselines that are drawn anew for each seed; the others are the same under all of them."""


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
        )
        for task in data.tasks
        for instance in (task.test if part == "test" else task.dev)
    ]
