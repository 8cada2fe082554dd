"""The example of an export's card: about ten lines of Python that use it without Xeric, run from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xeric.exporting.prompt_layout import LAYOUT_FILE

__all__ = ["llama_cpp_example", "python_example"]

_ENCODE = "tokenizer(text, add_special_tokens=False, split_special_tokens=not special)['input_ids']"


def python_example(layout: Mapping[str, Any], imports: str, opening: str) -> str:
    """Return an example for transformers or PEFT.

    Args:
        layout: content of ``prompt.json``.
        imports: lines that import what ``opening`` uses.
        opening: lines that make ``tokenizer`` and ``model``.
    """
    task, stop = _task(layout)
    ends = 'max_new_tokens=task["max_new_tokens"], eos_token_id=task["end_tokens"]'
    new = f"model.generate(input_ids=ids, {ends}, do_sample=False)[0, ids.shape[1] :]"
    lines = [
        "import json",
        "import torch",
        imports,
        "",
        opening,
        "model.generation_config = type(model.generation_config)()  # no penalties that the base's own file may name",
        *_asked(task),
        f"ids = [i for text, special in segments for i in {_ENCODE}]".replace("'", '"'),
        'ids = torch.tensor([task["begin"] + ids])',
        f"new = {new}",
        f"print(tokenizer.decode(new, skip_special_tokens=True){stop}.strip())",
    ]
    return "\n".join(lines)


def llama_cpp_example(layout: Mapping[str, Any], opening: str) -> str:
    """Return an example for llama.cpp through ``llama-cpp-python``.

    Args:
        layout: content of ``prompt.json``.
        opening: the line that makes ``llm``.
    """
    task, stop = _task(layout)
    lines = [
        "import json",
        "from llama_cpp import Llama",
        "",
        opening,
        *_asked(task),
        "ids = [i for text, special in segments for i in llm.tokenize(text.encode(), add_bos=False, special=special)]",
        'answer = llm.create_completion(task["begin"] + ids, max_tokens=task["max_new_tokens"], temperature=0)',
        f'print(answer["choices"][0]["text"]{stop}.strip())',
    ]
    return "\n".join(lines)


def _task(layout: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first task's name, and code that cuts its text at a stop text."""
    name, task = next(iter(layout["tasks"].items()))
    return name, "".join(f".split({json.dumps(stop)})[0]" for stop in task["stop"])


def _asked(task: str) -> list[str]:
    return [
        f'task = json.load(open("{LAYOUT_FILE}", encoding="utf-8"))["tasks"][{json.dumps(task, ensure_ascii=False)}]',
        'text = "Put an input here."',  # none of the run's: a card is published, its data need not be
        'segments = [(part["text"] + text * part["input"], part["special"]) for part in task["segments"]]',
    ]
