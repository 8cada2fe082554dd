"""Names and layouts of a model's weights in a GGUF file, as llama.cpp's converter (``convert_hf_to_gguf.py``) writes them.

Two families differ from transformers in more than names. llama.cpp rotates neighbouring channels of a head in pairs where
transformers rotates its two halves, so the rows of Llama's query and key projections are stored in another order; and Gemma's
norms, which multiply by 1 + w, are stored as 1 + w.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gguf
import numpy as np
import torch
from transformers import PreTrainedModel

from xeric.errors import UserError

__all__ = ["FAMILIES", "Family", "Quantisation", "family_of", "model_tensors", "permuted", "stored_name", "type_of"]

Quantisation = Literal["f16", "q8_0"]

_TYPES: dict[Quantisation, gguf.GGMLQuantizationType] = {
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}


@dataclass(frozen=True)
class Family:
    """An architecture that can be written.

    Attributes:
        architecture: as llama.cpp calls it.
        number: in the ``gguf`` package's tables.
        permutes: whether the rows of query and key projections are stored in another order.
        norm_plus_one: whether norms are stored as 1 + w.
    """

    architecture: str
    number: gguf.MODEL_ARCH
    permutes: bool = False
    norm_plus_one: bool = False


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", gguf.MODEL_ARCH.LLAMA, permutes=True),
    "gemma3_text": Family("gemma3", gguf.MODEL_ARCH.GEMMA3, norm_plus_one=True),
}
"""By transformers' ``model_type``."""


def family_of(config: Any) -> Family:
    """Return how the weights of a model are stored.

    Args:
        config: the model's.

    Raises:
        UserError: its family, or what its config says, cannot be written.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UserError(
            f"a {config.model_type!r} model cannot be written as GGUF here; {' and '.join(FAMILIES)} can",
            hint="use --to merged, and llama.cpp's convert_hf_to_gguf.py on what that writes",
        )
    if reason := _unwritable(config):
        raise UserError(f"llama.cpp does not compute {reason}", hint="use --to merged, and transformers or vLLM to serve it")
    return family


def _unwritable(config: Any) -> str | None:
    """Return what of a config is not as llama.cpp's code of the family takes for granted."""
    if config.model_type != "gemma3_text":
        return None
    pattern = ["full_attention" if number % 6 == 5 else "sliding_attention" for number in range(config.num_hidden_layers)]
    if list(config.layer_types) != pattern:
        return "a Gemma 3 in which other layers than every sixth have full attention"
    if config.query_pre_attn_scalar != config.head_dim:
        return "a Gemma 3 whose attention is scaled by something else than its head size"
    if config.rope_parameters["sliding_attention"]["rope_theta"] != 10_000:
        return "a Gemma 3 whose sliding-window layers rotate at another rate than 10,000"
    if config.final_logit_softcapping is not None or config.attn_logit_softcapping is not None:
        return "a Gemma 3 with capped logits"
    return None


def stored_name(family: Family, layers: int, name: str) -> str | None:
    """Return the name of a weight in a GGUF file, or None where it has none.

    Args:
        family: of the model.
        layers: number of its layers.
        name: of the weight in the transformers model.
    """
    return gguf.get_tensor_name_map(family.number, layers).get_name(name, try_suffixes=(".weight", ".bias"))


def permuted(family: Family, name: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """Return a weight whose first dimension is the outputs of a projection with its rows in the order of the file.

    Args:
        family: of the model.
        name: of the projection, or of its weight.
        weight: ``[outputs, ...]``.
        config: the model's.
    """
    module = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    if not family.permutes or module not in ("q_proj", "k_proj"):
        return weight
    heads = config.num_attention_heads if module == "q_proj" else config.num_key_value_heads
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def type_of(shape: tuple[int, ...], quantisation: Quantisation) -> gguf.GGMLQuantizationType:
    """Return the type that a weight is stored in: vectors in float32, matrices that Q8_0's blocks do not fill in float16."""
    if len(shape) < 2:
        return gguf.GGMLQuantizationType.F32
    kind = _TYPES[quantisation]
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return kind if shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def model_tensors(
    model: PreTrainedModel, quantisation: Quantisation
) -> Iterator[tuple[str, np.ndarray[Any, Any], gguf.GGMLQuantizationType]]:
    """Yield name, content and type of every weight of a model, as the file holds it.

    Args:
        model: in float32.
        quantisation: of the matrices.

    Raises:
        UserError: the model's family cannot be written, or has a weight that the format has no name for.
    """
    config: Any = model.config
    family = family_of(config)
    # Where embedding and output layer share their weights, only the embedding is written; llama.cpp uses it for both.
    for name, parameter in model.named_parameters():
        stored = stored_name(family, config.num_hidden_layers, name)
        if stored is None:
            raise UserError(f"the GGUF format has no name for the weight {name} of {config.model_type}", hint="use --to merged")
        weight = permuted(family, name, parameter.detach().float().cpu(), config)
        if family.norm_plus_one and name.endswith("norm.weight"):
            weight = weight + 1
        kind = type_of(tuple(weight.shape), quantisation)
        yield stored, gguf.quants.quantize(np.ascontiguousarray(weight.numpy()), kind), kind
    if (factors := _rope_factors(model)) is not None:
        yield "rope_freqs.weight", factors, gguf.GGMLQuantizationType.F32


def _rope_factors(model: PreTrainedModel) -> np.ndarray[Any, Any] | None:
    """Return the factors of Llama 3's scaled frequencies, which are a tensor of the file; None where they are not scaled so."""
    config: Any = model.config
    rope = config.rope_parameters
    if rope.get("rope_type") != "llama3":
        return None
    embedding = next(module for module in model.modules() if hasattr(module, "inv_freq"))
    scaled: torch.Tensor = embedding.inv_freq  # type: ignore[assignment]
    plain = float(rope["rope_theta"]) ** -(torch.arange(len(scaled), dtype=torch.float64) / len(scaled))
    return (plain / scaled.double().cpu()).float().numpy()
