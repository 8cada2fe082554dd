"""Controls change the instruction and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.data.samples import task, unlike
from xeric.config import build
from xeric.data.controls import control_definitions, swapped_outputs
from xeric.data.preparing import prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.tasks import Example, Task
from xeric.errors import ConfigError

EXAMPLES = [Example("a dry day", "rain", ""), Example("a wet day", "sun", "")]


def tasks() -> list[Task]:
    made = []
    for name, language, definition in (
        ("poem", "English", "Write a short poem about it."),
        ("verso", "Spanish", "Escribe un verso."),
        ("mail", "English", "Finish the mail."),
        ("titre", "French", "Donne un titre."),
    ):
        own = task(
            unlike(60, seed=len(made)), [Example("a dry day", "rain", ""), Example("a wet day", "sun", "")], language, name
        )
        made.append(replace(own, definition=definition))
    return made


def test_another_definition_comes_from_a_task_in_the_same_language() -> None:
    definitions = control_definitions(tasks(), "other")
    assert definitions["poem"] == "Finish the mail."
    assert definitions["mail"] == "Write a short poem about it."
    # Of a language with one task, the next task of all.
    assert definitions["verso"] == "Finish the mail."
    assert definitions["titre"] == "Write a short poem about it."
    with pytest.raises(ConfigError, match="the run has one task"):
        control_definitions(tasks()[:1], "other")


def test_shuffling_keeps_the_words_and_moves_them_the_same_way_every_time() -> None:
    first, again = control_definitions(tasks(), "shuffled"), control_definitions(tasks(), "shuffled")
    assert first == again
    assert first["poem"] != "Write a short poem about it."
    assert sorted(first["poem"].split()) == sorted(["Write", "a", "short", "poem", "about", "it."])


def test_given_definitions_stand_in_the_place_of_tasks_own() -> None:
    given = build(PromptOptions, {"definitions": {"poem": "Write  four lines. "}})
    own, other = prepare(tasks()), prepare(tasks(), None, given)
    assert other.definitions == {**own.definitions, "poem": "Write four lines."}
    assert [t.test for t in other.tasks] == [t.test for t in own.tasks]
    assert other.fingerprint != own.fingerprint
    with pytest.raises(ConfigError, match="names 'peom', which is none of the tasks"):
        prepare(tasks(), None, build(PromptOptions, {"definitions": {"peom": "Write four lines."}}))
    with pytest.raises(ConfigError, match="does not show them"):
        build(PromptOptions, {"definitions": {"poem": "Write."}, "definition": False})


def test_outputs_are_swapped_among_demonstrations() -> None:
    examples = [Example("a", "1", ""), Example("b", "2", ""), Example("c", "3", "")]
    assert [(example.input, example.output) for example in swapped_outputs(examples)] == [("a", "2"), ("b", "3"), ("c", "1")]
    with pytest.raises(ConfigError, match="fewer than two"):
        swapped_outputs(examples[:1])


@pytest.mark.parametrize("setting", [{"definition": "other"}, {"definition": "shuffled"}, {"demonstration_outputs": "swapped"}])
def test_a_control_leaves_instances_splits_and_references_alone(setting: dict[str, str]) -> None:
    own, control = prepare(tasks()), prepare(tasks(), None, build(PromptOptions, setting))
    for before, after in zip(own.tasks, control.tasks, strict=True):
        assert (before.train, before.dev, before.test) == (after.train, after.dev, after.test)
        assert [demonstration.input for demonstration in before.demonstrations] == [
            demonstration.input for demonstration in after.demonstrations
        ]
        swapped = [demonstration.output for demonstration in before.demonstrations] != [
            demonstration.output for demonstration in after.demonstrations
        ]
        assert swapped == ("demonstration_outputs" in setting)
        assert (before.task.definition != after.task.definition) == ("definition" in setting)
        prompt = build_prompt(after.task, after.demonstrations, control.prompt)
        assert after.task.definition in "".join(segment.text for segment in prompt.prefixes[-1])
    assert own.fingerprint != control.fingerprint
