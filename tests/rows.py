"""Rows of the tiny tasks, as the tests of models and training use them."""

from __future__ import annotations

from dataclasses import replace

from tests import tiny
from xeric.bases.base import Base
from xeric.data.demonstrations import choose_demonstrations
from xeric.data.encoding import EncodedTask
from xeric.data.prompts import SEGMENT_KINDS, Prompt, PromptOptions, build_prompt
from xeric.data.tasks import Task, parse_task


def task(name: str, **options: object) -> Task:
    return parse_task(tiny.task_data(name, **options), name=name)  # type: ignore[arg-type]


def prompt(of: Task, demonstrations: int = 1, *, definition: bool = True) -> Prompt:
    chosen, _ = choose_demonstrations(of, [], demonstrations, None)
    return build_prompt(of, chosen, PromptOptions(demonstrations=demonstrations, definition=definition))


def training_rows(base: Base, of: Task, count: int = 8, *, demonstrations: int = 1, definition: bool = True) -> EncodedTask:
    pairs = [(i.id, i.input, i.outputs[0]) for i in of.instances[:count]]
    return base.encoder(of.name).training_rows(prompt(of, demonstrations, definition=definition), pairs)


def decoding_rows(
    base: Base, of: Task, count: int = 12, *, reserve: int = 12, demonstrations: int = 1, definition: bool = True
) -> EncodedTask:
    return base.encoder(of.name).decoding_rows(
        prompt(of, demonstrations, definition=definition), [(i.id, i.input) for i in of.instances[-count:]], reserve
    )


def begun_with(of: EncodedTask, tokens: tuple[int, ...]) -> EncodedTask:
    """The same rows after these tokens."""
    kinds = (SEGMENT_KINDS.index("instruction"),) * len(tokens)
    return replace(of, prefixes=tuple(replace(p, ids=(*tokens, *p.ids), kinds=(*kinds, *p.kinds)) for p in of.prefixes))


def over_several_prefixes(of: EncodedTask) -> EncodedTask:
    """The same rows, spread over all prefix rows of the task, as truncation would do it."""
    spread = tuple(replace(row, prefix=number % len(of.prefixes)) for number, row in enumerate(of.rows))
    return replace(of, rows=spread)
