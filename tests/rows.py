"""Rows of the tiny tasks, as the tests of models and training use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests import drawn, tiny
from xeric.bases.base import Base
from xeric.data.demonstrations import choose_demonstrations
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import Prompt, build_prompt
from xeric.data.rows import SEGMENT_KINDS, EncodedTask, Openings
from xeric.data.tasks import Instance, Task, parse_task


def task(name: str, **options: object) -> Task:
    return parse_task(tiny.task_data(name, **options), name=name)  # type: ignore[arg-type]


def prompt(of: Task, demonstrations: int = 1, *, definition: bool = True) -> Prompt:
    chosen, _ = choose_demonstrations(of, [], demonstrations, None)
    return build_prompt(of, chosen, PromptOptions(demonstrations=demonstrations, definition=definition))


def training_rows(base: Base, of: Task, count: int = 8, *, demonstrations: int = 1, definition: bool = True) -> EncodedTask:
    chosen = of.instances[:count]
    pairs = [(i.id, i.input, i.outputs[0]) for i in chosen]
    layout = prompt(of, demonstrations, definition=definition)
    return base.encoder(of.name).training_rows(layout, pairs, openings(base, chosen))


def decoding_rows(
    base: Base, of: Task, count: int = 12, *, reserve: int = 12, demonstrations: int = 1, definition: bool = True
) -> EncodedTask:
    chosen = of.instances[-count:]
    layout = prompt(of, demonstrations, definition=definition)
    inputs = [(i.id, i.input) for i in chosen]
    return base.encoder(of.name).decoding_rows(layout, inputs, reserve, openings(base, chosen))


def openings(base: Base, instances: Sequence[Instance]) -> Openings:
    """What a method that looks at pictures puts in front of the instances: each has a picture of its own."""
    if base.instance_vectors is None:
        return {}
    shown = {i.id: drawn.picture(i.key) for i in instances}
    base.instance_vectors.standardise(list(shown.values()))  # as a run does with those that it trains on
    return base.openings(shown)


def with_tokens_for_vectors(of: EncodedTask, vocabulary: int, tokens: tuple[int, ...]) -> EncodedTask:
    """The same rows, with tokens in the places of vectors of instances."""

    def told(ids: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(id_ if id_ < vocabulary else tokens[(id_ - vocabulary) % len(tokens)] for id_ in ids)

    return replace(of, rows=tuple(replace(row, ids=told(row.ids)) for row in of.rows))


def begun_with(of: EncodedTask, tokens: tuple[int, ...]) -> EncodedTask:
    """The same rows after these tokens."""
    kinds = (SEGMENT_KINDS.index("instruction"),) * len(tokens)
    return replace(of, prefixes=tuple(replace(p, ids=(*tokens, *p.ids), kinds=(*kinds, *p.kinds)) for p in of.prefixes))


def over_several_prefixes(of: EncodedTask) -> EncodedTask:
    """The same rows, spread over all prefix rows of the task, as truncation would do it."""
    spread = tuple(replace(row, prefix=number % len(of.prefixes)) for number, row in enumerate(of.rows))
    return replace(of, rows=spread)
