"""Every number that a user can set has its range, and is refused with it before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from xeric.config import build
from xeric.errors import ConfigError
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.refusals import _annotated
from xeric.run.config import RunConfig, run_config
from xeric.search_space import Range
from xeric.studies.config import StudyConfig

SETTINGS: dict[str, Any] = {"tasks": ["one"], "base": "nowhere", "method": "lora"}


def _models() -> list[type[BaseModel]]:
    own = [METHODS.get(entry.name).Options for entry in METHODS if not entry.name.startswith("peft:")]
    todo: list[type[BaseModel]] = [RunConfig, StudyConfig, Range, *own]
    models: list[type[BaseModel]] = []
    while todo:
        model = todo.pop()
        if model not in models:
            models.append(model)
            todo += [inner for field in model.model_fields.values() for inner in _inner(field.annotation)]
    return models


def _inner(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner(argument)


def _holds_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(_holds_number(argument) for argument in get_args(annotation))


def test_every_number_has_a_lower_and_an_upper_limit() -> None:
    seen, open_ended = 0, []
    for model in _models():
        for name, field in model.model_fields.items():
            if not _holds_number(field.annotation):
                continue
            seen += 1
            limits = [*field.metadata, *_annotated(field.annotation)]
            sides = {side for side in ("ge", "gt", "le", "lt") for limit in limits if hasattr(limit, side)}
            if not (sides & {"ge", "gt"} and sides & {"le", "lt"}):
                open_ended.append(f"{model.__name__}.{name}")
    assert open_ended == []
    assert seen > 50


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", 99999999999999999999, "expected a whole number from 0 to 9223372036854775807, found 99999999999999999999"),
        ("seed", -1, "expected a whole number from 0 to 9223372036854775807, found -1"),
        ("seeds.decode", 2**63, "expected a whole number from 0 to 9223372036854775807"),
        ("data.split_seed", -3, "expected a whole number from 0 to"),
        ("train.batch_size", 10**30, "expected a whole number from 1 to 1000000"),
        ("train.epochs", 10**400, "expected a whole number from 1 to 1000000"),
        ("train.warmup", 2, "expected a number from 0 to 1, found 2"),
        ("train.warmup", 1.5, "expected a number from 0 to 1, found 1.5"),
        ("train.lr", 0, "expected a number above 0 and at most 1e+30, found 0"),
        ("method.rank", 5000, "expected a whole number from 1 to 4096, found 5000"),
        ("decode.length_penalty", 1e300, "expected a number from -100 to 100"),
        ("stages", [{"tasks": ["two"], "seed": -1}], "expected a whole number from 0 to"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(path: str, value: Any, message: str) -> None:
    first, _, second = path.partition(".")
    name = {"name": "lora"} if first == "method" else {}
    settings = {**SETTINGS, first: {**name, second: value} if second else value}
    with pytest.raises(ConfigError) as refused:
        run_config(settings)
    assert message in refused.value.what
    assert str(refused.value.where).startswith(path)


def test_the_number_that_is_out_of_range_is_named_in_a_list_too() -> None:
    with pytest.raises(ConfigError) as refused:
        build(StudyConfig, {"name": "x", "title": "x", "seeds": [0, -1]})
    assert str(refused.value) == "seeds.1: expected a whole number from 0 to 9223372036854775807, found -1"


@pytest.mark.parametrize("tuner", ["peft:dora", "peft:vera"])
def test_a_number_of_a_peft_tuner_has_a_range_too(tuner: str) -> None:
    with pytest.raises(ConfigError, match="expected a number from -1000000000 to 1000000000") as refused:
        method_options({"name": tuner, "options": {"r": 10**30}})
    assert refused.value.where == "method.options.r"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": []}, "tasks: expected at least 1 entry, found []"),
        ({"tasks": "one"}, "tasks: expected a list, found 'one'"),
        ({"tasks": [1]}, "tasks.0: expected text, found 1"),
        ({"train": 3}, "train: expected a group of settings, found 3"),
        ({"train": {"shared_prefix": 1}}, "train.shared_prefix: expected true or false, found 1"),
        ({"train": {"epochs": 1.5}}, "train.epochs: expected a whole number, found 1.5"),
        ({"predict": []}, "predict: expected at least 1 entry, found []"),
        ({"method": {"name": "lora", "targets": []}}, "method.targets: expected 'all-linear' or at least 1 entry, found []"),
    ],
)
def test_what_is_expected_is_said_in_plain_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run_config({**SETTINGS, **settings})
    assert str(refused.value) == message


def test_an_error_of_another_origin_is_not_taken_for_a_wrong_layer(
    open_base: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("something else")

    base = open_base("llama")
    options = method_options({"name": "lora", "targets": ["input_layernorm"]})
    with pytest.raises(ConfigError, match=r"input_layernorm of .*: LoRA adapts linear layers"):
        METHODS.get("lora").attach(base, options, seed=0)
    monkeypatch.setattr("xeric.methods.peft_adapter.get_peft_model", broken)
    with pytest.raises(ValueError, match="something else"):
        METHODS.get("lora").attach(base, method_options("lora"), seed=0)
