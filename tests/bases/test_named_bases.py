"""The bases that have names, as they are: tokens, bits per character and texts against tools that we did not write.

``token_ids.json`` holds the ids of SentencePiece (Gemma) and of the ``tokenizers`` library with SmolLM2's published way of
splitting text, both over the vocabulary in the file itself.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.named import NAMED_BASES
from xeric.bases.passages import PASSAGES
from xeric.bases.store import kept
from xeric.data.catalog import Catalog
from xeric.data.preparing import DataOptions, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.decoding import DecodeOptions, decode

pytestmark = pytest.mark.bases
GOLDEN = json.loads((Path(__file__).parent / "token_ids.json").read_text(encoding="utf-8"))


def folder(name: str) -> Path:
    stored = kept(NAMED_BASES.get(name))
    if stored is None:
        pytest.skip(f"{name} is not here: `xeric bases fetch {name}`")
    return stored


@cache
def opened(name: str) -> Base:
    return load_base(str(folder(name)), device="cpu", precision="fp32")


@pytest.mark.parametrize("name", NAMED_BASES.names())
@pytest.mark.parametrize("row", GOLDEN, ids=[row["text"][:12] for row in GOLDEN])
def test_tokens(name: str, row: dict[str, Any]) -> None:
    tokenizer = opened(name).tokenizer
    assert tokenizer(row["text"], add_special_tokens=False, split_special_tokens=True)["input_ids"] == row[name]
    assert tokenizer.decode(row[name], clean_up_tokenization_spaces=False) == row["text"]


@pytest.mark.parametrize("name", NAMED_BASES.names())
def test_bits_per_character_with_plain_transformers(name: str) -> None:
    model, tokenizer = (loader.from_pretrained(folder(name)) for loader in (AutoModelForCausalLM, AutoTokenizer))
    for language, text in PASSAGES.items():
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            nats = model(ids, labels=ids).loss * (ids.shape[1] - 1)
        stated = NAMED_BASES.get(name).bits_per_character[language]
        assert float(nats) / math.log(2) / len(text) == pytest.approx(stated, abs=0.01), language


@pytest.mark.parametrize(("name", "template"), [("gemma-3-270m", "plain"), ("smollm2-135m", "chat")])
def test_texts_are_those_of_generate(name: str, template: str) -> None:
    """Greedy texts of a task's prompt, several rows of unequal length at once, against one row at a time."""
    base = opened(name)
    options = PromptOptions(setting="few-shot", demonstrations=1, template=template)
    data = prepare([Catalog.of(()).load("summarization_es")], DataOptions(max_test=4), options)
    task = data.tasks[0]
    prompt = build_prompt(task.task, task.demonstrations, options, render_chat=base.render_chat)
    rows = base.encoder(task.name).decoding_rows(prompt, [(instance.id, instance.input) for instance in task.test], 16)
    texts = decode(base, rows, DecodeOptions(), max_new_tokens=16)
    for row, text in zip(rows.rows, texts, strict=True):
        ids = torch.tensor([[*rows.prefix_of(row).ids, *row.ids]])
        with torch.no_grad():
            output = base.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
        assert text == base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert any(texts)


def test_what_ends_a_text() -> None:
    assert opened("gemma-3-270m").eos == (1,)
    assert (opened("gemma-3-270m").bos, opened("gemma-3-270m").context) == (2, 32768)
    assert opened("smollm2-135m").tokenizer.convert_ids_to_tokens(list(opened("smollm2-135m").eos)) == ["<|im_end|>"]
    assert opened("smollm2-135m").has_chat_template
    assert not opened("gemma-3-270m").has_chat_template
