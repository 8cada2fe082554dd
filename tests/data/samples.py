"""Small tasks made for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from xeric.data.tasks import Example, Instance, Task

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "or")]

# Chat templates as models bring them.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim"
    " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def sentence(rng: random.Random, words: int = 24) -> str:
    """Random words of two or three syllables: two such sentences are never alike."""
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3)))) for _ in range(words))


def unlike(count: int, seed: int = 0, words: int = 24) -> list[Instance]:
    """Instances that have nothing to do with each other."""
    rng = random.Random(seed)
    return [Instance(f"i{k}", sentence(rng, words), (sentence(rng, words // 2),)) for k in range(count)]


def varied(rng: random.Random, instance: Instance, id_: str) -> Instance:
    """The instance again with one word of the input changed."""
    words = instance.input.split()
    words[rng.randrange(len(words))] = sentence(rng, 1)
    return Instance(id_, " ".join(words), instance.outputs)


def task(instances: Iterable[Instance], examples: Iterable[Example] = (), language: str = "English", name: str = "made") -> Task:
    return Task(
        name,
        "Write the second part.",
        tuple(instances),
        positive_examples=tuple(examples),
        input_languages=(language,),
        output_languages=(language,),
    )


def pairs(*rows: tuple[str, str], language: str = "English") -> Task:
    return task([Instance(f"i{k}", x, (y,)) for k, (x, y) in enumerate(rows)], language=language)


def bad_instance(output: str, text: str = "What is it that you would like to say here?", id_: str = "bad") -> Instance:
    """An instance among good ones, for an output that is noise."""
    return Instance(id_, text, (output,))


def niv2(**changes: Any) -> dict[str, Any]:
    """What a well-formed task file holds."""
    return {
        "Contributors": ["A. Writer"],
        "Source": ["written for tests"],
        "URL": [float("nan")],
        "Categories": ["Text Completion"],
        "Reasoning": [],
        "Definition": ["Finish the sentence."],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Instruction_language": ["English"],
        "Domains": ["Stories"],
        "Positive Examples": [{"input": "The cat", "output": "sleeps.", "explanation": "It does."}],
        "Negative Examples": [{"input": "The cat", "output": "reads.", "explanation": "It does not."}],
        "Instances": [
            {"id": "a-1", "input": "The dog", "output": ["barks.", "runs."]},
            {"id": "a-2", "input": "The bird", "output": ["sings."], "group": "birds"},
        ],
        "Instance License": ["CC0-1.0"],
        **changes,
    }
