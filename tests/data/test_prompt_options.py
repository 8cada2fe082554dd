"""Settings of prompts: what contradicts itself is refused, and the identities of older runs hold."""

from __future__ import annotations

from typing import Any

import pytest

from xeric.config import build
from xeric.data.prompt_options import PromptOptions
from xeric.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "count", "untrained"),
    [
        ({"setting": "zero-shot"}, 0, True),
        ({"setting": "few-shot"}, 2, True),
        ({"setting": "instruction"}, 2, False),
        ({"setting": "few-shot", "demonstrations": 5}, 5, True),
        ({"setting": "instruction", "demonstrations": 0}, 0, False),
        ({"setting": "zero-shot", "demonstrations": 0}, 0, True),
        ({}, 2, False),
    ],
)
def test_each_setting_has_its_number_of_demonstrations(options: dict[str, object], count: int, untrained: bool) -> None:
    built = build(PromptOptions, options)
    assert (built.demonstration_count, built.untrained) == (count, untrained)


def test_zero_shot_with_demonstrations_is_a_contradiction() -> None:
    with pytest.raises(ConfigError, match=r"zero-shot has no demonstrations; use prompt\.setting=few-shot"):
        build(PromptOptions, {"setting": "zero-shot", "demonstrations": 1})


def test_few_shot_without_demonstrations_is_zero_shot() -> None:
    with pytest.raises(ConfigError, match=r"few-shot without demonstrations is zero-shot; use prompt\.setting=zero-shot"):
        build(PromptOptions, {"setting": "few-shot", "demonstrations": 0})


OLDER = {"setting", "template", "definition", "demonstrations", "demonstration_seed", "demonstration_outputs"}


@pytest.mark.parametrize("unused", [{}, {"picture_seed": 3}, {"setting": "zero-shot", "demonstration_choice": "nearest"}])
def test_a_run_that_uses_no_newer_setting_keeps_its_identity(unused: dict[str, Any]) -> None:
    assert set(PromptOptions.model_validate(unused).deciding) == OLDER


@pytest.mark.parametrize(
    ("used", "newer"),
    [
        ({"demonstration_choice": "nearest"}, {"demonstration_choice": "nearest", "demonstration_similarity": "ngrams"}),
        ({"definitions": {"one": "Do it."}}, {"definitions": {"one": "Do it."}}),
        ({"pictures": "shuffled", "picture_seed": 3}, {"pictures": "shuffled", "picture_seed": 3}),
    ],
)
def test_a_newer_setting_that_is_used_is_part_of_the_identity(used: dict[str, Any], newer: dict[str, Any]) -> None:
    deciding = PromptOptions.model_validate(used).deciding
    assert {name: value for name, value in deciding.items() if name not in OLDER} == newer
