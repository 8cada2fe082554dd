"""Tiny GGUF files written as llama.cpp's converter writes them, with the ``gguf`` package and the rules of that converter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tests import tiny

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "gemma3": gguf.MODEL_ARCH.GEMMA3, "qwen2": gguf.MODEL_ARCH.QWEN2}


def gemma_pieces() -> list[tuple[str, float, int]]:
    """A SentencePiece vocabulary with Gemma's habits: line breaks and runs of spaces are user-defined."""
    rows = [("<pad>", -1000.0, CONTROL), ("<bos>", -1000.0, CONTROL), ("<eos>", -1000.0, CONTROL)]
    rows += [("<unk>", -1000.0, UNKNOWN), ("\n", -1000.0, USER_DEFINED), ("\n\n", -1000.0, USER_DEFINED)]
    rows += [(" " * count, -1000.0, USER_DEFINED) for count in (2, 3)]
    rows += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    merged = ["he", "ll", "hell", "hello", "▁w", "or", "▁wor", "ld", "▁world", "▁h", "न", "म", "नम", "é"]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyzH1234", "ñ"]
    return rows + [(text, -float(rank), NORMAL) for rank, text in enumerate([*merged, *letters])]


def random_model(shape: str, *, vocabulary: int | None = None, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model of a family; weights wide enough that its texts differ, norms away from their initial ones."""
    settings = {**tiny.SHAPES["llama" if shape == "qwen2" else shape], **changes}
    settings["model_type"] = "qwen2" if shape == "qwen2" else settings["model_type"]
    vocabulary = vocabulary or (len(gemma_pieces()) if shape == "gemma3" else tiny.VOCABULARY)
    config = AutoConfig.for_model(
        settings.pop("model_type"), vocab_size=vocabulary, pad_token_id=0, bos_token_id=1, eos_token_id=2, **settings
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.mul_(4.0) if parameter.ndim > 1 else parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def _stored(name: str, tensor: torch.Tensor, shape: str, config: Any) -> np.ndarray[Any, Any]:
    """Return a weight as the converter stores it."""
    weight = tensor.detach().float()
    if shape == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        # llama.cpp rotates neighbours in pairs, transformers the two halves of a head.
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        weight = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)
    if shape == "gemma3" and name.endswith("norm.weight"):
        weight = weight + 1
    return weight.numpy()


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    shape: str,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    pre: str | None = "gpt-2",
    quantization: gguf.GGMLQuantizationType | None = None,
    extra: Mapping[str, Any] | None = None,
    factors: np.ndarray[Any, Any] | None = None,
) -> Path:
    """Write a model and a tokenizer.

    Args:
        path: the file.
        model: the model.
        shape: its family.
        tokenizer: a byte-level BPE; None is that of :mod:`tests.tiny`. Gemma has :func:`gemma_pieces` instead.
        pre: name of the way in which that splits text.
        quantization: of the matrices.
        extra: further values of the header.
        factors: of scaled rotary embeddings, as Llama 3.1 has them.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, {"llama": "llama", "gemma3": "gemma3", "qwen2": "qwen2"}[shape])
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if shape == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if shape == "gemma3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
    if shape == "gemma3":
        _add_pieces(writer, gemma_pieces())
    else:
        _add_bpe(writer, tokenizer or tiny.tokenizer(), pre, config.vocab_size)
    for key, value in (extra or {}).items():
        add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)]
        add(key, value)
    names = gguf.get_tensor_name_map(_ARCHITECTURES[shape], config.num_hidden_layers)
    for name, tensor in model.named_parameters():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        data = _stored(name, tensor, shape, config)
        if quantization is not None and data.ndim > 1:
            writer.add_tensor(stored, gguf.quants.quantize(data, quantization), raw_dtype=quantization)
        else:
            writer.add_tensor(stored, data)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_special(writer: gguf.GGUFWriter) -> None:
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)


def _add_pieces(writer: gguf.GGUFWriter, pieces: list[tuple[str, float, int]]) -> None:
    _add_special(writer)
    writer.add_tokenizer_model("llama")
    writer.add_unk_token_id(3)
    writer.add_add_space_prefix(False)
    writer.add_token_list([text for text, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])


def _add_bpe(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, pre: str | None, size: int) -> None:
    _add_special(writer)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    backend: Tokenizer = tokenizer.backend_tokenizer
    by_id = {number: text for text, number in backend.get_vocab().items()}
    special = {token.content for token in backend.get_added_tokens_decoder().values()}
    # The converter fills up to the rows of the embedding.
    writer.add_token_list([by_id.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types([CONTROL if by_id.get(n) in special else NORMAL if n in by_id else UNUSED for n in range(size)])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]])
    writer.add_chat_template("{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}")
