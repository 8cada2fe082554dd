"""What a search found: the definitions that were decoded with their scores, the controls beside them, and the task made of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import regex
from pydantic import Field

from xeric.config import Config
from xeric.data.tasks import Example, Task
from xeric.data.text_form import one_form
from xeric.instructing.candidates import Candidate, Origin

__all__ = ["Difference", "InstructOutcome", "ScoredPrompt", "differences", "searched_task", "shown_pairs"]


class ScoredPrompt(Config):
    """A definition with its demonstrations, and what it is worth on held-out instances.

    Attributes:
        origin: how it came about.
        definition: its text; empty for the control without one.
        demonstrations: inputs and outputs, in their order.
        loss: - log P of the references in nats per token; None where it leaves them no room in the base's context.
        chrf: chrF++ of the decoded texts.
    """

    origin: Origin
    definition: str
    demonstrations: tuple[tuple[str, str], ...]
    loss: float | None
    chrf: float


class Difference(Config):
    """Difference in chrF++ of the found prompt to the task's own, with its 95% interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class InstructOutcome(Config):
    """The result of a search.

    Attributes:
        task: the task's name.
        base: as it was named.
        template: ``plain`` or ``chat``.
        search: what was searched.
        seed: of the search.
        scored: number of candidates whose likelihood was computed.
        limit: on that number.
        proposer: its address; None where there was none.
        instances: number of instances that candidates were scored on, which no number of this result is about except these.
        split: where they come from: ``dev``, or ``train`` where the task is too small for a dev set.
        chosen: the prompt of the highest chrF++, of the lower loss where two are alike.
        own: the task's own prompt.
        finalists: what was decoded, the chosen and the own prompt among them, the best first.
        controls: the own prompt without a definition, with another task's, with its words shuffled, with demonstrations' outputs
            exchanged.
        difference: of the chosen prompt to the own one. It flatters: the prompt was chosen on these instances.
    """

    task: str
    base: str
    template: Literal["plain", "chat"]
    search: str
    seed: int
    scored: int
    limit: int
    proposer: str | None
    instances: int
    split: str
    chosen: ScoredPrompt
    own: ScoredPrompt
    finalists: tuple[ScoredPrompt, ...]
    controls: tuple[ScoredPrompt, ...]
    difference: Difference = Field(default=Difference(value=0.0))

    @property
    def is_new(self) -> bool:
        """Whether a prompt was found that is better than the task's own."""
        return (self.chosen.definition, self.chosen.demonstrations) != (self.own.definition, self.own.demonstrations)


def searched_task(task: Task, own: Candidate, chosen: Candidate) -> Task:
    """Return a task with another definition, which keeps its own as an alternative, and other demonstrations first.

    Args:
        task: as it was read.
        own: its own prompt.
        chosen: what takes its place.
    """
    alternatives = task.alternative_definitions
    if chosen.definition != own.definition:
        task = replace(task, definition=chosen.definition, alternative_definitions=(task.definition, *alternatives))
    if chosen.demonstrations != own.demonstrations:
        shown = {_texts(example) for example in chosen.demonstrations}
        rest = [example for example in task.positive_examples if _texts(example) not in shown]
        task = replace(task, positive_examples=(*chosen.demonstrations, *rest))
    return task


def _texts(example: Example) -> tuple[str, str]:
    """Return an example's texts in the one form, which a candidate's have and a task's as read need not."""
    return one_form(example.input), one_form(example.output)


def differences(before: str, after: str) -> Iterator[tuple[Literal["same", "removed", "added"], str]]:
    """Yield the stretches of two texts that are the same, removed or added, word by word.

    >>> list(differences("Write a short title.", "Write a title."))
    [('same', 'Write a '), ('removed', 'short '), ('same', 'title.')]
    """
    left, right = (regex.findall(r"\s*\S+?(?=\s|\p{P}*(?:\s|$))\p{P}*\s?|\s+", text) for text in (before, after))
    if "".join(left) != before or "".join(right) != after:
        left, right = (regex.findall(r"\S+\s*|\s+", text) for text in (before, after))
    for kind, i, j, k, m in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield "same", "".join(left[i:j])
            continue
        if i < j:
            yield "removed", "".join(left[i:j])
        if k < m:
            yield "added", "".join(right[k:m])


def shown_pairs(examples: Sequence[Example]) -> tuple[tuple[str, str], ...]:
    """Return demonstrations as pairs of input and output."""
    return tuple((example.input, example.output) for example in examples)
