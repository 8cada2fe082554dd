"""Writes a base with some of its tokens as a Hugging Face folder: weights, configs, tokenizer.

Which tensors have a row for each token follows from the model itself: of two models without weights, one with the old and one
with the new size of the vocabulary, the tensors of different shapes are those to select from.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig

from xeric.bases.base import Base
from xeric.bases.trimmed_tokenizer import trimmed
from xeric.errors import DataError, UserError
from xeric.files import is_of_other_programs, write_atomically

__all__ = ["named_tokens", "stored_type", "write_model", "write_tokenizer"]

# What other tokenizer libraries read; tokenizer.json has all that these files say.
_OTHER_TOKENIZER_FILES = ("vocab.json", "merges.txt", "vocab.txt", "added_tokens.json", "*.model")
_TOKENS = ("_token_id", "_token_ids", "_token_index")
_SUPPRESSED = ("suppress_tokens", "begin_suppress_tokens")
_SUPPRESSED_SEQUENCES = "bad_words_ids"


def stored_type(folder: Path) -> torch.dtype:
    """Return the type that a folder's weights are kept in; float32, which holds all of them, where there are several."""
    types = set()
    for path in folder.glob("*.safetensors"):
        if not is_of_other_programs(path.name):
            with safe_open(path, framework="pt") as file:
                types |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - no mapping
    by_name = {"F16": torch.float16, "BF16": torch.bfloat16}
    return by_name.get(types.pop(), torch.float32) if len(types) == 1 else torch.float32


def named_tokens(base: Base) -> set[int]:
    """Return the ids of all tokens that the base's configs name."""
    values = [
        value
        for config in (_config_values(base), _generation_config(base.source))
        for key, value in config.items()
        if key.endswith(_TOKENS)
    ]
    numbers = [number for value in values for number in (value if isinstance(value, list) else [value])]
    return {number for number in numbers if isinstance(number, int) and 0 <= number < base.vocabulary}


def write_model(base: Base, kept: Sequence[int], folder: Path) -> None:
    """Write the model with the rows of some tokens, its config and its generation config.

    Args:
        base: computed in float32.
        kept: ids of the tokens, ascending.
        folder: to write into.

    Raises:
        UserError: its config does not say how many tokens it has, or has parts with configs of their own.
    """
    config = _smaller(base, kept)
    selected = _selected(base, config, kept)
    model: Any = type(base.model)(config)
    model.load_state_dict(selected)
    model.tie_weights()
    stored = stored_type(base.source)
    model.to(stored).save_pretrained(folder)
    raw = json.loads((base.source / "config.json").read_text(encoding="utf-8"))
    dtype = raw.get("dtype", raw.get("torch_dtype", str(stored).removeprefix("torch.")))
    _edit(folder / "config.json", lambda values: values | {"dtype": dtype})
    if generation := _generation_config(base.source):
        _write_json(folder / "generation_config.json", _renumbered(generation, _new_ids(kept)))


def write_tokenizer(base: Base, described: Mapping[str, Any], kept: Sequence[int], folder: Path) -> None:
    """Write the base's tokenizer with some of its tokens.

    Args:
        base: whose settings, such as its chat template, are kept.
        described: its tokenizer as JSON.
        kept: ids of the tokens, ascending.
        folder: to write into.
    """
    base.tokenizer.save_pretrained(folder)
    write_atomically(folder / "tokenizer.json", json.dumps(trimmed(described, kept), ensure_ascii=False))
    for pattern in _OTHER_TOKENIZER_FILES:
        for path in folder.glob(pattern):
            path.unlink()
    new = _new_ids(kept)

    def settings(values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(added := values.get("added_tokens_decoder"), dict):
            numbered = {str(new[int(number)]): token for number, token in added.items() if int(number) in new}
            values = values | {"added_tokens_decoder": numbered}
        return values

    _edit(folder / "tokenizer_config.json", settings)


def _new_ids(kept: Sequence[int]) -> dict[int, int]:
    return {number: index for index, number in enumerate(kept)}


def _smaller(base: Base, kept: Sequence[int]) -> Any:
    """Return the model's config with another size of the vocabulary, and the tokens that it names numbered anew."""
    config: Any = copy.deepcopy(base.model.config)
    if any(isinstance(value, PreTrainedConfig) for value in vars(config).values()):
        raise UserError(
            f"the vocabulary of {base.name} cannot be trimmed: its model has parts with configs of their own",
            hint="take the base as it is",
        )
    if getattr(config, "vocab_size", None) != base.vocabulary or getattr(config, "quantization_config", None) is not None:
        raise UserError(
            f"the vocabulary of {base.name} cannot be trimmed: it is quantised, or its embedding has not the rows "
            "that its config says",
            hint="take the base as it is, or save it in full precision",
        )
    config.vocab_size = len(kept)
    for key, value in _renumbered(_config_values(base), _new_ids(kept)).items():
        setattr(config, key, value)
    return config


def _selected(base: Base, config: Any, kept: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the tensors of the model with the rows of some tokens."""
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in type(base.model)(config).state_dict().items()}
    index = torch.tensor(kept, device=base.device)
    selected = {}
    for key, tensor in base.model.state_dict().items():
        for axis, (before, after) in enumerate(zip(tensor.shape, shapes[key], strict=True)):
            if before != after:
                if (before, after) != (base.vocabulary, len(kept)):
                    raise DataError(f"the shape of {key!r} does not follow from the size of its vocabulary", where=base.name)
                tensor = tensor.index_select(axis, index)
        selected[key] = tensor.cpu()
    return selected


def _config_values(base: Base) -> dict[str, Any]:
    """Return those values of the model's config that name tokens."""
    values: dict[str, Any] = base.model.config.to_dict()
    return {key: value for key, value in values.items() if key.endswith(_TOKENS) and value is not None}


def _generation_config(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _renumbered(values: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """Return settings with new ids; ids of dropped tokens and of none are left out of lists, else as they are."""
    result = dict(values)
    for key, value in values.items():
        if isinstance(value, list) and key == _SUPPRESSED_SEQUENCES:
            result[key] = [[new[i] for i in ids] for ids in value if all(i in new for i in ids)] or None
        elif isinstance(value, list) and key.endswith((*_TOKENS, *_SUPPRESSED)):
            result[key] = [new[i] for i in value if i in new]
        elif isinstance(value, int) and key.endswith(_TOKENS):
            result[key] = new.get(value)
    return result


def _edit(path: Path, change: Any) -> None:
    _write_json(path, change(json.loads(path.read_text(encoding="utf-8"))))


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n")
