"""Controls for what an instruction and its demonstrations contribute: the same rows with a wrong definition or wrong outputs.

A picture that helps must help less where it is another instance's (``shuffled``), or where all its features are 0 (``blank``:
as many learned vectors, and nothing seen).

If tuning gains as much under another task's definition, or under the own one with its words shuffled, the gain comes from tuning
and not from the instruction (Min et al. 2022, arXiv 2202.12837, for demonstrations; Webson & Pavlick 2022, arXiv 2109.01247, for
instructions). Instances, splits and references stay the same, so that arms with and without a control can be compared.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from xeric.config import digest
from xeric.data.pictures import BLANK
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import ConfigError

__all__ = ["DefinitionControl", "PictureControl", "control_definitions", "control_pictures", "is_control", "swapped_outputs"]

DefinitionControl = Literal["other", "shuffled"]

PictureControl = Literal["shuffled", "blank"]


def is_control(prompt: Mapping[str, Any]) -> bool:
    """Return whether settings under ``prompt`` show something wrong on purpose."""
    wrong = {
        "definition": get_args(DefinitionControl),
        "demonstration_outputs": ("swapped",),
        "pictures": get_args(PictureControl),
    }
    return any(prompt.get(name) in values for name, values in wrong.items())


def control_definitions(tasks: Sequence[Task], control: DefinitionControl) -> dict[str, str]:
    """Return what stands in the place of each task's definition, by its name.

    Args:
        tasks: of one run.
        control: ``other``: the definition of the run's next task in the same output language (of the next task at all, where
            there is no other in that language); ``shuffled``: the own definition, its words in an order drawn by the task's name.

    Raises:
        ConfigError: the run has one task, so there is no other definition.
    """
    if control == "shuffled":
        return {task.name: _shuffled(task) for task in tasks}
    if len(tasks) < 2:
        raise ConfigError(
            "takes another task's definition, and the run has one task",
            where="prompt.definition",
            hint="train on several tasks, or use prompt.definition=shuffled",
        )
    groups: defaultdict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        groups[task.language].append(task)
    following: dict[str, str] = {}
    for number, task in enumerate(tasks):
        group = groups[task.language]
        others = group if len(group) > 1 else list(tasks)
        position = group.index(task) if len(group) > 1 else number
        following[task.name] = others[(position + 1) % len(others)].definition
    return following


def _shuffled(task: Task) -> str:
    words = task.definition.split()
    random.Random(digest(["shuffled definition", task.name])).shuffle(words)
    return " ".join(words)


def swapped_outputs(demonstrations: Sequence[Example]) -> list[Example]:
    """Return demonstrations each with the output of the next, the last with that of the first.

    Raises:
        ConfigError: there are fewer than two, so nothing can be swapped.
    """
    if len(demonstrations) < 2:
        raise ConfigError(
            "swaps outputs among demonstrations, and there are fewer than two",
            where="prompt.demonstration_outputs",
            hint="ask for two demonstrations or more",
        )
    outputs = [example.output for example in demonstrations]
    moved = [*outputs[1:], outputs[0]]
    return [replace(example, output=output) for example, output in zip(demonstrations, moved, strict=True)]


def control_pictures(instances: Sequence[Instance], control: PictureControl, seed: int) -> tuple[Instance, ...]:
    """Return instances with pictures that tell nothing about them.

    Args:
        instances: of one side of a task's split; those without a picture stay as they are.
        control: ``shuffled``: each has the picture of another, none its own (unless it is the only one); ``blank``:
            :data:`~xeric.data.pictures.BLANK`.
        seed: of the order.
    """
    pictured = [i for i in instances if i.picture]
    if control == "blank":
        shown = dict.fromkeys((i.id for i in pictured), BLANK)
    else:
        # Each takes the next one's in a drawn order.
        random.Random(digest(["shuffled pictures", seed])).shuffle(pictured)
        following = [*pictured[1:], *pictured[:1]]
        shown = {i.id: other.picture for i, other in zip(pictured, following, strict=True) if other.picture}
    return tuple(replace(i, picture=shown.get(i.id)) for i in instances)
