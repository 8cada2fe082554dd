"""Rows of the tiny tasks, as the tests of models and training use them."""

from __future__ import annotations

from tests import tiny
from xeric.bases.base import Base
from xeric.data.encoding import EncodedTask
from xeric.data.prompts import Prompt, PromptOptions, build_prompt, choose_demonstrations
from xeric.data.tasks import Task, parse_task


def task(name: str, **options: object) -> Task:
    return parse_task(tiny.task_data(name, **options), name=name)  # type: ignore[arg-type]


def prompt(of: Task, demonstrations: int = 1) -> Prompt:
    chosen, _ = choose_demonstrations(of, [], demonstrations, None)
    return build_prompt(of, chosen, PromptOptions(demonstrations=demonstrations))


def training_rows(base: Base, of: Task, count: int = 8, *, demonstrations: int = 1) -> EncodedTask:
    pairs = [(i.id, i.input, i.outputs[0]) for i in of.instances[:count]]
    return base.encoder(of.name).training_rows(prompt(of, demonstrations), pairs)


def decoding_rows(base: Base, of: Task, count: int = 12, *, reserve: int = 12, demonstrations: int = 1) -> EncodedTask:
    return base.encoder(of.name).decoding_rows(
        prompt(of, demonstrations), [(i.id, i.input) for i in of.instances[-count:]], reserve
    )
