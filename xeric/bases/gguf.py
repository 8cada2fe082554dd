"""Opens a GGUF file, the format that llama.cpp serves models in, as an ordinary model and tokenizer (Gerganov et al., GGUF v3).

transformers reads the file: weights are dequantised, the tokenizer is rebuilt of the file's vocabulary. Two settings of
the file that the reader drops are restored here, since a model converted without them is silently wrong: scaled rotary
embeddings, and how a byte-level tokenizer splits text before it merges (:mod:`xeric.bases.gguf_tokenizer`). Files whose settings
cannot be restored are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.gguf.reader import read_gguf_metadata

from xeric.bases.gguf_tokenizer import with_splitting
from xeric.errors import DataError
from xeric.files import read_error

__all__ = ["GgufFile", "read_gguf", "read_model", "read_tokenizer"]

_ELSEWHERE = "take the original weights (a folder or a hub id), or another GGUF of the model"
# Of every Llama 3.1, 3.2 and 3.3; the file holds only the factors that follow from them (llama.cpp, convert_hf_to_gguf.py).
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file whose header has been read.

    Attributes:
        path: where it is.
        metadata: the header's keys and values; for arrays of texts, the lengths only.
        tensors: names of its tensors.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: frozenset[str]

    @property
    def architecture(self) -> str:
        """The architecture as llama.cpp calls it: ``llama``, ``gemma3`` ..."""
        return str(self.metadata["general.architecture"])

    @property
    def title(self) -> str:
        """The model's name, as the file states it."""
        return str(self.metadata.get("general.name") or self.path.stem)

    @property
    def dtype(self) -> torch.dtype:
        """The smallest type that holds the weights: their own where the file does not quantise them, else float16."""
        types = {0: torch.float32, 32: torch.bfloat16}  # values of llama.cpp's enum llama_ftype
        stated = self.metadata.get("general.file_type")
        return types.get(stated, torch.float16) if isinstance(stated, int) else torch.float16

    @property
    def license(self) -> str | None:
        """The licence, as the file states it."""
        stated = self.metadata.get("general.license")
        return stated if isinstance(stated, str) else None


def read_gguf(path: Path) -> GgufFile:
    """Read a file's header.

    Raises:
        DataError: it is no GGUF file, or of a version that cannot be read.
    """
    try:
        metadata, tensors = read_gguf_metadata(str(path))
    except OSError as error:
        raise read_error(error, path) from None
    except Exception as error:  # noqa: BLE001 - the reader raises whatever a broken file provokes
        raise DataError(f"cannot be read as a GGUF file: {_reason(error, path)}", where=str(path), hint=_ELSEWHERE) from None
    if not tensors:
        raise DataError("holds no weights", where=str(path), hint=_ELSEWHERE)
    return GgufFile(path, metadata, frozenset(tensors))


def read_tokenizer(file: GgufFile) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """Rebuild the tokenizer.

    Returns:
        The tokenizer, and remarks that belong into the model's card.

    Raises:
        DataError: it cannot be rebuilt, or splits text in an unknown way.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            file.path.parent, gguf_file=file.path.name, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001 - the reader raises whatever a broken file provokes
        raise _unreadable("tokenizer", error, file) from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    remarks = []
    if file.metadata.get("tokenizer.ggml.model") == "gpt2":
        remarks = with_splitting(tokenizer, file.metadata.get("tokenizer.ggml.pre"), where=str(file.path))
    return tokenizer, remarks


def read_model(file: GgufFile) -> PreTrainedModel:
    """Read and dequantise the weights.

    Returns:
        The model in float32 without attributes of quantisation, so that it can be saved like any other.

    Raises:
        DataError: the architecture or the kind of quantisation is not known, or rotary embeddings are scaled in an unknown way.
    """
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.path.parent,
            gguf_file=file.path.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 - the reader raises whatever a broken file provokes
        raise _unreadable("weights", error, file) from None
    model, report = loaded
    assert isinstance(model, PreTrainedModel)
    if missing := sorted(map(str, report["missing_keys"])):
        raise DataError(f"lacks {len(missing)} tensors, {missing[0]!r} among them", where=str(file.path), hint=_ELSEWHERE)
    _scale_rope(model, file)
    _set_ends(model, file)
    # The library refuses to save a model that it considers quantised; these three attributes tell it so.
    marked: Any = model
    marked.hf_quantizer, marked.is_quantized = None, False
    for holder, mark in ((marked, "quantization_method"), (marked.config, "quantization_config")):
        if hasattr(holder, mark):
            delattr(holder, mark)
    return model


def _set_ends(model: PreTrainedModel, file: GgufFile) -> None:
    """Add a chat's ends of turn and of message to the end tokens, where the file names any beside the end of text."""
    config = model.generation_config
    stated = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    named = [file.metadata.get(f"tokenizer.ggml.{end}_token_id") for end in ("eot", "eom")]
    ends = list(dict.fromkeys(end for end in [*stated, *named] if isinstance(end, int)))
    if len(ends) > 1:
        config.eos_token_id = ends


def _scale_rope(model: PreTrainedModel, file: GgufFile) -> None:
    """Write scaled rotary embeddings, which the file states and the reader drops, into the model's config."""
    config: Any = model.config
    stated = getattr(config, "rope_parameters", None)
    if not isinstance(stated, dict):
        return
    # Families with sliding windows keep one entry per kind of layer, and scale those of full attention only.
    rope = stated.get("full_attention", stated)
    if rope.get("rope_type", "default") != "default":
        return
    scaling = _stated_scaling(file)
    if _FACTORS in file.tensors:
        scaling = _llama3_scaling(file, float(rope["rope_theta"]))
    rope.update(scaling)
    config.rope_parameters = stated


def _stated_scaling(file: GgufFile) -> dict[str, Any]:
    prefix = f"{file.architecture}.rope.scaling."
    kind = file.metadata.get(f"{prefix}type", "none")
    if kind == "none":
        return {}
    factor = file.metadata.get(f"{prefix}factor")
    if kind not in ("linear", "yarn") or not isinstance(factor, float):
        raise DataError(
            f"its rotary embeddings are scaled in a way not known here ({kind})", where=str(file.path), hint=_ELSEWHERE
        )
    original = file.metadata.get(f"{prefix}original_context_length")
    return {"rope_type": kind, "factor": factor, **({"original_max_position_embeddings": original} if original else {})}


def _llama3_scaling(file: GgufFile, theta: float) -> dict[str, Any]:
    """Return Llama 3's scaling, after checking that it gives the factors of the frequencies that the file holds."""
    reader = gguf.GGUFReader(file.path)
    factors = torch.tensor(next(tensor.data for tensor in reader.tensors if tensor.name == _FACTORS).copy()).float()
    scale = float(factors.max())
    inverse = theta ** -(torch.arange(len(factors), dtype=torch.float64) / len(factors))
    length = _LLAMA3_ROPE["original_max_position_embeddings"]
    low, high = _LLAMA3_ROPE["low_freq_factor"], _LLAMA3_ROPE["high_freq_factor"]
    turns = length * inverse / (2 * math.pi)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    if not torch.allclose(1 / ((1 - smooth) / scale + smooth), factors.double(), rtol=1e-3):
        raise DataError("its rotary embeddings are scaled in a way not known here", where=str(file.path), hint=_ELSEWHERE)
    return {"rope_type": "llama3", "factor": scale, **_LLAMA3_ROPE}


def _unreadable(what: str, error: Exception, file: GgufFile) -> DataError:
    return DataError(f"its {what} cannot be read: {_reason(error, file.path)}", where=str(file.path), hint=_ELSEWHERE)


def _reason(error: Exception, path: Path) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first.replace(str(path), "it")[:200].rstrip(".")
