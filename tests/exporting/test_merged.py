"""``--to merged``: what plain transformers opens gives the run's greedy texts; what cannot be merged is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import xeric
from tests import tiny
from tests.exporting.asking import ids_of, printed_by_example, run_text, run_texts, texts_of
from tests.exporting.conftest import MakeRun, SaveRun
from xeric.bases.loading import load_base
from xeric.errors import UserError

BaseFolder = Callable[[str], Path]


def opened(folder: Path) -> tuple[Any, Any]:
    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("shape", "method"),
    [("llama", "lora"), ("gemma3", "lora"), ("gpt2", "lora"), ("bloom", "full"), ("llama", "full"), ("qwen3", "peft:dora")],
)
def test_a_merged_model_gives_the_runs_texts(
    shape: str, method: str, save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder(shape), method, scale=0.05)
    export = xeric.export(run, "merged", tmp_path / "out", device="cpu")
    assert export.description["difference"]["logit"] < 1e-3
    tokenizer, model = opened(tmp_path / "out")
    assert texts_of(tmp_path / "out", tokenizer, model) == run_texts(run)
    assert model.dtype == torch.float32
    assert load_base(str(tmp_path / "out"), device="cpu", precision="fp32").eos == (2,)


def test_weights_that_the_base_shares_are_apart_where_one_of_them_was_adapted(save_run: SaveRun, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "tied", "llama", tie_word_embeddings=True)
    run = save_run(base, "lora", targets=["embed_tokens"])
    xeric.export(run, "merged", tmp_path / "out", device="cpu")
    tokenizer, model = opened(tmp_path / "out")
    assert texts_of(tmp_path / "out", tokenizer, model) == run_texts(run)
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight


def test_stages_before_the_run_are_in_the_weights(make_run: MakeRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    stage = {"tasks": ["shabd"], "method": "full", "train": {"max_steps": 2, "lr": 1e-2}}
    run = make_run(base_folder("llama"), "lora", stages=[stage])
    xeric.export(run, "merged", tmp_path / "out", device="cpu")
    tokenizer, model = opened(tmp_path / "out")
    assert texts_of(tmp_path / "out", tokenizer, model) == run_texts(run)


def test_the_example_of_the_card_prints_the_runs_text(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a chat template, two tasks, and stop texts: an untrained run ends its texts by them."""
    base = tiny.write_base(tmp_path / "chat", "llama", chat_template=tiny.chat_template())
    run = make_run(base, "none", ("words", "shabd"), prompt={"setting": "few-shot", "template": "chat"})
    xeric.export(run, "merged", tmp_path / "out", device="cpu")
    assert printed_by_example(tmp_path / "out", monkeypatch) == run_text(run)
    layout = json.loads((tmp_path / "out" / "prompt.json").read_text(encoding="utf-8"))["tasks"]
    assert list(layout) == ["words", "shabd"]
    assert layout["words"]["begin"] == []  # the template writes BOS
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ids_of(tmp_path / "out", tokenizer, "</s>").count(2) == 5  # one for each turn, none for the text
    assert "{input}" in layout["words"]["text"]
    assert "language:\n- en\n- hi\n" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_half_the_bytes_cost_what_is_measured(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "lora", scale=0.05)
    sizes = {}
    for precision, dtype in (("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")):
        export = xeric.export(run, "merged", tmp_path / precision, precision=precision, device="cpu")
        sizes[precision] = (tmp_path / precision / "model.safetensors").stat().st_size, export.description["difference"]["logit"]
        assert json.loads((tmp_path / precision / "config.json").read_text(encoding="utf-8"))["dtype"] == dtype
        assert f"logits differ by {'less' if precision == 'fp32' else '0.0'}" in " ".join(export.notes)
    assert max(sizes["bf16"][0], sizes["fp16"][0]) < 0.6 * sizes["fp32"][0]
    assert sizes["fp32"][1] < sizes["fp16"][1] < sizes["bf16"][1]


def test_gemma_in_float16_is_not_computed_in_it(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("gemma3"), "lora", scale=0.05)
    export = xeric.export(run, "merged", tmp_path / "out", precision="fp16", device="cpu")
    assert opened(tmp_path / "out")[1].dtype == torch.float32
    assert "activations overflow float16" in " ".join(export.notes)


def test_a_weight_beyond_float16_is_refused(save_run: SaveRun, tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path / "large", "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.norm.weight.data.fill_(70_000.0)
    model.save_pretrained(folder)
    run = save_run(folder, "lora")
    with pytest.raises(UserError, match="a weight of 70000 does not fit fp16") as caught:
        xeric.export(run, "merged", tmp_path / "out", precision="fp16", device="cpu")
    assert "--precision bf16" in str(caught.value.hint)


@pytest.mark.parametrize("to", ["merged", "gguf"])
@pytest.mark.parametrize(
    ("method", "complaint", "hint"),
    [
        ("prefix", "prefix cannot be merged into the base's weights: a learned prefix is no change", "--to peft"),
        ("bottleneck", "bottleneck cannot be merged into the base's weights: .* non-linear", "xeric generate"),
        ("embedding", "embedding cannot be merged into the base's weights: .* where a token stands", "xeric generate"),
        ("peft:lily", "peft:lily cannot be merged into the base's weights: PEFT cannot merge", "--to peft"),
        ("combined", "prefix and embedding cannot be merged", "--without prefix --without embedding"),
    ],
)
def test_methods_that_are_no_change_of_the_weights_are_refused(
    method: str, complaint: str, hint: str, to: Any, save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder("llama"), method)
    with pytest.raises(UserError, match=complaint) as caught:
        xeric.export(run, to, tmp_path / "out", device="cpu")
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_of_a_combined_method_what_can_be_is_folded_in(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "combined", scale=0.05)
    export = xeric.export(run, "merged", tmp_path / "out", without=["prefix", "embedding"], device="cpu")
    assert (export.description["folded"], export.description["left_out"]) == (["lora"], ["prefix", "embedding"])
    assert "this is not the model of the run" in " ".join(export.notes)
    layout = json.loads((tmp_path / "out" / "prompt.json").read_text(encoding="utf-8"))["tasks"]["words"]
    assert layout["begin"] == [1]  # the prefix that stood for it is gone
