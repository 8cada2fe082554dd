"""Asking an exported model as its users do, and the run itself."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from xeric.run.adapted import open_adapted

INPUTS = ("the red boats at dawn", "a quiet dog 12 near our town", "नदी की नाव")


def ids_of(folder: Path, tokenizer: Any, text: str, task: str = "words") -> list[int]:
    """The tokens of a prompt, as ``prompt.json`` says."""
    layout = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))["tasks"][task]
    ids = list(layout["begin"])
    for part in layout["segments"]:
        written = part["text"] + (text if part["input"] else "")
        ids += tokenizer(written, add_special_tokens=False, split_special_tokens=not part["special"])["input_ids"]
    return ids


def texts_of(folder: Path, tokenizer: Any, model: Any, task: str = "words", new: int = 12) -> list[str]:
    """The greedy texts of an exported model."""
    texts = []
    for text in INPUTS:
        ids = torch.tensor([ids_of(folder, tokenizer, text, task)])
        with torch.no_grad():
            answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
        texts.append(tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return texts


def run_texts(run: Path, task: str = "words") -> list[str]:
    """The greedy texts of the run's own model."""
    return open_adapted(run, device="cpu", precision="fp32").generate(INPUTS, task=task)


def run_text(run: Path, task: str = "words") -> str:
    """The greedy text of the run's own model for the input of every example."""
    return open_adapted(run, device="cpu", precision="fp32").generate(["Put an input here."], task=task)[0]


def printed_by_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the example of an export's card, as written, in its folder; return what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert len(code.splitlines()) <= 17
    return printed.getvalue().strip()
