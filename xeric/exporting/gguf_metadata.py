"""The metadata of a GGUF file: of the file that the base came from where there is one, else of the base's config and tokenizer.

The second way writes what llama.cpp's converter (``convert_hf_to_gguf.py``) would write for the families of
:data:`xeric.exporting.gguf_tensors.FAMILIES`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gguf import GGUFValueType

from xeric.bases.base import Base
from xeric.bases.gguf_header import HEADER_FILE, KeyValue, read_header
from xeric.bases.store import source_of
from xeric.errors import UserError
from xeric.exporting.gguf_tensors import Family, Quantisation, family_of
from xeric.exporting.gguf_vocabulary import vocabulary_keys

__all__ = ["model_metadata", "number", "text"]

# Values of llama.cpp's enum llama_ftype.
_FILE_TYPES: dict[Quantisation, int] = {"f16": 1, "q8_0": 7}
# What describes the file that the values come from, not the model.
_OF_THE_FILE = ("quantize.", "split.", "general.file_type", "general.quantization_version", "general.quantized_by")
_QUANTIZATION_VERSION = 2


def text(value: str) -> KeyValue:
    """Return a text as a value of the metadata."""
    return KeyValue(value, GGUFValueType.STRING)


def number(value: float) -> KeyValue:
    """Return a number as a value of the metadata: a whole one as uint32, another as float32."""
    return KeyValue(value, GGUFValueType.UINT32 if isinstance(value, int) else GGUFValueType.FLOAT32)


def model_metadata(base: Base, name: str, quantisation: Quantisation) -> tuple[dict[str, KeyValue], str]:
    """Return the metadata of a file that holds a model made of a base, and where they are from, in words.

    Args:
        base: that the model was made of.
        name: of the model.
        quantisation: of the file.

    Raises:
        UserError: there is no GGUF file that the base came from, and what its config or tokenizer say cannot be written.
    """
    family = family_of(base.model.config)
    header = _header(base)
    if header is not None and header["general.architecture"].value == family.architecture:
        origin = "metadata and tokenizer are those of the GGUF file that the base came from"
        kept = {key: value for key, value in header.items() if not key.startswith(_OF_THE_FILE)}
    else:
        origin = "metadata and tokenizer are made of the base's config and tokenizer"
        kept = {**_of_config(base, family), **vocabulary_keys(base)}
    kept |= {"general.type": text("model"), "general.name": text(name)}
    kept["general.file_type"] = number(_FILE_TYPES[quantisation])
    kept["general.quantization_version"] = number(_QUANTIZATION_VERSION)
    return kept, origin


def _header(base: Base) -> dict[str, KeyValue] | None:
    """Return the metadata of the GGUF file that the base came from; None where it came from none, or that is not at hand."""
    if (base.source / HEADER_FILE).is_file():
        return read_header(base.source / HEADER_FILE)
    # Converted by an earlier version, which kept no copy: the file itself may be where it was.
    path, source = Path(base.name).expanduser(), source_of(base.source)
    if source is None or path.suffix.lower() != ".gguf" or not path.is_file():
        return None
    with path.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == source.get("gguf_sha256")
    return read_header(path) if same else None


def _of_config(base: Base, family: Family) -> dict[str, KeyValue]:
    config: Any = base.model.config
    architecture = family.architecture
    keys = {
        "general.architecture": text(architecture),
        f"{architecture}.context_length": number(config.max_position_embeddings),
        f"{architecture}.embedding_length": number(config.hidden_size),
        f"{architecture}.block_count": number(config.num_hidden_layers),
        f"{architecture}.feed_forward_length": number(config.intermediate_size),
        f"{architecture}.attention.head_count": number(config.num_attention_heads),
        f"{architecture}.attention.head_count_kv": number(config.num_key_value_heads),
        f"{architecture}.attention.key_length": number(config.head_dim),
        f"{architecture}.attention.value_length": number(config.head_dim),
        f"{architecture}.attention.layer_norm_rms_epsilon": number(float(config.rms_norm_eps)),
        f"{architecture}.vocab_size": number(config.vocab_size),
    }
    if architecture == "llama":
        keys["llama.rope.dimension_count"] = number(config.head_dim)
    if architecture == "gemma3":
        keys["gemma3.attention.sliding_window"] = number(config.sliding_window)
    return keys | _rope_keys(base, architecture)


def _rope_keys(base: Base, architecture: str) -> dict[str, KeyValue]:
    config: Any = base.model.config
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    keys = {f"{architecture}.rope.freq_base": number(float(rope["rope_theta"]))}
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        keys[f"{architecture}.rope.scaling.type"] = text("linear")
        keys[f"{architecture}.rope.scaling.factor"] = number(float(rope["factor"]))
    elif kind not in ("default", "llama3"):  # Llama 3's factors are a tensor of the file
        raise UserError(f"rotary embeddings that are scaled by {kind!r} cannot be written as GGUF here", hint="use --to merged")
    return keys
