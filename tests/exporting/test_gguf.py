"""``--to gguf`` and ``gguf-adapter``: what other readers open gives the run's greedy texts, by its own tokenizer and template."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

import xeric
from tests import ggufs, tiny
from tests.bases.test_gguf import TEXTS
from tests.exporting.asking import INPUTS, ids_of, run_texts, texts_of
from tests.exporting.conftest import SaveRun
from xeric.bases.finding import find_folder
from xeric.bases.gguf_header import HEADER_FILE, read_header
from xeric.bases.loading import load_base
from xeric.errors import UserError
from xeric.run.adapted import open_adapted

BaseFolder = Callable[[str], Path]
F16, Q8_0, F32 = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
SHAPES = ["llama", "gemma3"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))


@pytest.fixture(params=SHAPES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    # The head size of every Gemma 3 up to 12B, which transformers takes for granted where it reads one from GGUF.
    changes = {"head_dim": 256} if request.param == "gemma3" else {}
    return ggufs.write_gguf(tmp_path / f"{request.param}.gguf", ggufs.random_model(request.param, **changes), request.param)


def opened(folder: Path) -> tuple[Any, Any]:
    dequantised = {"gguf_file": "model.gguf", "dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    return AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf"), AutoModelForCausalLM.from_pretrained(
        folder, **dequantised
    )


def tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def types(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors}


def test_transformers_reads_back_the_runs_texts(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    run = save_run(file, "lora", scale=0.05)
    export = xeric.export(run, "gguf", tmp_path / "out", device="cpu")
    assert export.description["difference"]["logit"] < 0.02 * export.description["difference"]["spread"]
    tokenizer, model = opened(tmp_path / "out")
    assert texts_of(tmp_path / "out", tokenizer, model) == run_texts(run)


def test_metadata_and_tokenizer_are_those_of_the_file_that_the_base_came_from(
    file: Path, save_run: SaveRun, tmp_path: Path
) -> None:
    export = xeric.export(save_run(file, "lora", scale=0.05), "gguf", tmp_path / "out", device="cpu")
    assert "those of the GGUF file that the base came from" in " ".join(export.notes)
    written, source = read_header(tmp_path / "out" / "model.gguf"), read_header(file)
    changed = {"general.name", "general.type", "general.file_type", "general.quantization_version"}
    assert {key: value for key, value in written.items() if key not in changed} == {
        key: value for key, value in source.items() if key not in changed
    }
    assert {key: written[key].value for key in changed - {"general.name"}} == {
        "general.type": "model",
        "general.file_type": 1,
        "general.quantization_version": 2,
    }


def test_a_base_without_a_gguf_file_gives_the_same_metadata_and_tokens(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    """As if it had come from the hub: written from config and tokenizer, and compared with what the converter wrote."""
    folder, source = find_folder(str(file)), read_header(file)
    (folder / HEADER_FILE).unlink()
    export = xeric.export(save_run(folder, "lora", scale=0.05), "gguf", tmp_path / "out", device="cpu")
    assert "made of the base's config and tokenizer" in " ".join(export.notes)
    written = read_header(tmp_path / "out" / "model.gguf")
    # Scores say the same where they order the merges in the same way: the tokens below.
    left = set(source) - {"general.name", "general.license", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"}
    assert {key: written[key] for key in left if written.get(key) != source[key]} == {}
    kinds, expected = (header["tokenizer.ggml.token_type"].value for header in (written, source))
    assert [kind for kind in zip(kinds, expected, strict=True) if kind[0] != kind[1]] in (
        [],  # transformers keeps no unknown token apart from the special ones
        [(ggufs.CONTROL, ggufs.UNKNOWN)],
    )
    assert ("tokenizer.chat_template" in written) == (file.stem == "llama")
    ours, theirs = AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file="model.gguf"), AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS, *INPUTS, "hello   world\n\n\nworld "):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    assert ours("a")["input_ids"][0] == ours.bos_token_id == 1
    assert ours.eos_token_id == 2
    assert ours.chat_template == theirs.chat_template


def test_an_earlier_conversion_takes_the_metadata_from_the_file_itself(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    run = save_run(file, "lora", scale=0.05)
    (find_folder(str(file)) / HEADER_FILE).unlink()
    export = xeric.export(run, "gguf", tmp_path / "out", device="cpu")
    assert "those of the GGUF file" in " ".join(export.notes)


def test_weights_are_stored_as_the_converter_stores_them(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    """Llama's query and key rows, Gemma's norms: against the writer of the tests, which follows the converter's rules."""
    run = save_run(file, "full", scale=0.01)
    xeric.export(run, "merged", tmp_path / "merged", device="cpu")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    xeric.export(run, "gguf", tmp_path / "out", device="cpu")
    expected = tensors(ggufs.write_gguf(tmp_path / "expected.gguf", merged, file.stem))
    written = tensors(tmp_path / "out" / "model.gguf")
    assert set(written) == set(expected)
    for name, content in expected.items():
        assert np.allclose(written[name], content, rtol=2**-10, atol=1e-6), name


def test_matrices_are_quantised_where_asked_and_vectors_never(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    run = save_run(file, "lora", scale=0.05)
    logit = {}
    for quantisation, kind in (("f16", F16), ("q8_0", Q8_0)):
        out = tmp_path / quantisation
        export = xeric.export(run, "gguf", out, quantisation=quantisation, device="cpu")
        logit[quantisation] = export.description["difference"]["logit"]
        stored = types(out / "model.gguf")
        assert {stored[name] for name in stored if "norm" in name} == {F32}
        assert {stored[name] for name in stored if "norm" not in name} == {kind}
    assert logit["f16"] < logit["q8_0"]
    assert read_header(tmp_path / "q8_0" / "model.gguf")["general.file_type"].value == 7


def test_rows_that_blocks_do_not_fill_are_kept_in_float16(save_run: SaveRun, tmp_path: Path) -> None:
    model = ggufs.random_model("llama", hidden_size=48, head_dim=12)
    run = save_run(ggufs.write_gguf(tmp_path / "m.gguf", model, "llama"), "lora", scale=0.05)
    xeric.export(run, "gguf", tmp_path / "out", quantisation="q8_0", device="cpu")
    stored = types(tmp_path / "out" / "model.gguf")
    assert (stored["blk.0.attn_q.weight"], stored["blk.0.ffn_down.weight"]) == (F16, Q8_0)


def test_frequencies_scaled_as_in_llama_3_are_a_tensor_of_the_file(save_run: SaveRun, tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 8192
    base = tiny.write_base(tmp_path / "base", "llama", rope_parameters=rope, head_dim=64, max_position_embeddings=131072)
    run = save_run(base, "lora", scale=0.05)
    xeric.export(run, "gguf", tmp_path / "out", device="cpu")
    again = load_base(str(tmp_path / "out" / "model.gguf"), device="cpu", precision="fp32")
    frequencies = load_base(str(base), device="cpu", precision="fp32").model.model.rotary_emb.inv_freq
    assert torch.allclose(again.model.model.rotary_emb.inv_freq, frequencies, rtol=1e-4)


def test_an_adapter_added_as_llama_cpp_adds_it_gives_the_merged_file(file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    run = save_run(file, "lora", scale=0.05, rank=4, alpha=6.0)
    xeric.export(run, "gguf-adapter", tmp_path / "adapter", with_base=True, device="cpu")
    xeric.export(run, "gguf", tmp_path / "merged", device="cpu")
    header = read_header(tmp_path / "adapter" / "adapter.gguf")
    stated = ("general.type", "adapter.type", "adapter.lora.alpha", "general.architecture")
    assert [header[key].value for key in stated] == ["adapter", "lora", 6.0, file.stem]
    factors, base = tensors(tmp_path / "adapter" / "adapter.gguf"), tensors(tmp_path / "adapter" / "base.gguf")
    merged = tensors(tmp_path / "merged" / "model.gguf")
    assert len(factors) == 2 * 7 * (2 if file.stem == "llama" else 7)
    for name, weight in base.items():
        if f"{name}.lora_a" in factors:
            first, second = factors[f"{name}.lora_a"], factors[f"{name}.lora_b"]
            weight = weight + 6.0 / len(first) * second @ first
        assert np.allclose(merged[name], weight, rtol=2**-9, atol=2e-3), name


def test_a_third_end_token_ends_texts_of_the_file_too(save_run: SaveRun, tmp_path: Path) -> None:
    """As Llama 3's instruction-tuned bases have: ends of text, of turn and of message."""
    base = tiny.write_base(tmp_path / "base", "llama")
    GenerationConfig(bos_token_id=1, eos_token_id=[2, 5, 6], pad_token_id=0).save_pretrained(base)
    xeric.export(save_run(base, "lora", scale=0.05), "gguf", tmp_path / "out", device="cpu")
    header = read_header(tmp_path / "out" / "model.gguf")
    assert [header[f"tokenizer.ggml.{end}_token_id"].value for end in ("eos", "eot", "eom")] == [2, 5, 6]


def test_factors_of_an_output_layer_need_weights_of_its_own_in_the_file(save_run: SaveRun, tmp_path: Path) -> None:
    """A file of a base whose output layer shares the embedding's weights has no tensor that they could fit."""
    for tied in (True, False):
        base = tiny.write_base(tmp_path / f"base-{tied}", "llama", tie_word_embeddings=tied)
        run = save_run(base, "lora", scale=0.05, targets=["lm_head", "q_proj"])
        out = tmp_path / f"out-{tied}"
        if tied:
            with pytest.raises(UserError, match=r"has no output\.weight for an adapter to fit: lm_head shares") as caught:
                xeric.export(run, "gguf-adapter", out, with_base=True, device="cpu")
            assert "--to gguf" in str(caught.value.hint)
            assert not out.exists()
        else:
            xeric.export(run, "gguf-adapter", out, with_base=True, device="cpu")
            fitted = {name.removesuffix(".lora_a").removesuffix(".lora_b") for name in tensors(out / "adapter.gguf")}
            assert "output.weight" in fitted
            assert fitted <= tensors(out / "base.gguf").keys()


def test_what_the_formats_cannot_hold_is_refused(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    cases: list[tuple[str, str, dict[str, Any], Any, str, str]] = [
        ("gpt2", "lora", {}, "gguf", "a 'gpt2' model cannot be written as GGUF here", "--to merged"),
        ("llama", "full", {}, "gguf-adapter", "holds LoRA and nothing else, not full", "--to gguf"),
        ("llama", "peft:dora", {}, "gguf-adapter", "holds LoRA and nothing else, not peft:dora", "--to gguf"),
        ("llama", "combined", {}, "gguf-adapter", "not prefix and embedding", "--without prefix --without embedding"),
        (
            "llama",
            "lora",
            {"targets": ["embed_tokens"]},
            "gguf-adapter",
            "linear layers, not .*embed_tokens",
            "--to gguf",
        ),
    ]
    for shape, method, options, to, complaint, hint in cases:
        run = save_run(base_folder(shape), method, **options)
        with pytest.raises(UserError, match=complaint) as caught:
            xeric.export(run, to, tmp_path / "out", device="cpu")
        assert hint in str(caught.value.hint)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"query_pre_attn_scalar": 64}, "a Gemma 3 whose attention is scaled"),
        (
            {"layer_types": ["sliding_attention", "full_attention"] * 3 + ["sliding_attention"]},
            "a Gemma 3 in which other layers than every sixth have full attention",
        ),
    ],
)
def test_a_gemma_that_llama_cpp_would_compute_otherwise_is_refused(
    changes: dict[str, Any], complaint: str, save_run: SaveRun, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base", "gemma3", **changes)
    run = save_run(base, "lora", scale=0.05)
    with pytest.raises(UserError, match=rf"llama\.cpp does not compute {complaint}"):
        xeric.export(run, "gguf", tmp_path / "out", device="cpu")


@pytest.mark.parametrize("to", ["gguf", "gguf-adapter"])
def test_llama_cpp_gives_the_runs_tokens(to: Any, file: Path, save_run: SaveRun, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    run = save_run(file, "lora", scale=0.05)
    out = tmp_path / "out"
    xeric.export(run, to, out, with_base=True, device="cpu")
    files = {"model_path": str(out / "model.gguf")}
    if to == "gguf-adapter":
        files = {"model_path": str(out / "base.gguf"), "lora_path": str(out / "adapter.gguf")}
    llm = llama_cpp.Llama(**files, n_ctx=256, verbose=False)

    def tokenizer(text: str, add_special_tokens: bool, split_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": llm.tokenize(text.encode(), add_bos=add_special_tokens, special=not split_special_tokens)}

    adapted = open_adapted(run, device="cpu", precision="fp32")
    for text in INPUTS:
        ids = ids_of(out, tokenizer, text)
        assert ids == ids_of(out, adapted.base.tokenizer, text)
        asked = torch.tensor([ids])
        expected = adapted.base.model.generate(
            input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=12, do_sample=False
        )[0, len(ids) :].tolist()
        llm.reset()
        assert list(itertools.islice(llm.generate(ids, temp=0.0), len(expected))) == expected
