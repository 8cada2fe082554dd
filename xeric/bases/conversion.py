"""Converts a GGUF file, once, into an ordinary Hugging Face folder: safetensors, tokenizer, model card.

A conversion is verified by bits per character of a fixed passage in each of three languages, measured on the written folder. A
named base must reach the values of its entry; the card of any other reports them. Weights are stored in float16, which halves the
folder, unless that changes the bits per character.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from xeric.bases.bits_per_character import bits_per_character
from xeric.bases.gguf import GgufFile, read_gguf, read_model, read_tokenizer
from xeric.bases.passages import PASSAGES
from xeric.errors import DataError
from xeric.progress import Progress

__all__ = ["STEPS", "Converted", "convert"]

STEPS = 4
_TOLERANCE = 0.002
_STATED_TOLERANCE = 0.01


@dataclass(frozen=True)
class Converted:
    """A finished conversion and its measurements.

    Attributes:
        file: the GGUF file.
        model_type: transformers' name of the architecture.
        parameters: their number, tied ones counted once.
        context: tokens that a row may have.
        stored: type that the weights are kept in: ``float16``, ``bfloat16`` or ``float32``.
        bits_per_character: of the passages, by language, measured on the folder in float32.
        lost: largest change of bits per character by the stored type.
        remarks: for the user.
    """

    file: GgufFile
    model_type: str
    parameters: int
    context: int | None
    stored: str
    bits_per_character: dict[str, float]
    lost: float
    remarks: tuple[str, ...]


def convert(path: Path, folder: Path, progress: Progress, *, expected: dict[str, float] | None = None) -> Converted:
    """Write a GGUF file as a Hugging Face folder.

    Args:
        path: the file.
        folder: exists and is empty.
        progress: is told of :data:`STEPS` steps.
        expected: bits per character of a correct conversion, by language; None where they are unknown.

    Raises:
        DataError: the file cannot be read, or the folder does not give what is expected.
    """
    file = read_gguf(path)
    tokenizer, remarks = read_tokenizer(file)
    tokenizer.save_pretrained(folder)
    progress.advance(1)
    model = read_model(file)
    exact = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    progress.advance(1)
    stored = _stored_type(file, exact)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(stored)
    _save(model, folder)
    progress.advance(1)
    written, tokenizer = _open(folder, path)
    bits_by_language = _measure(written, tokenizer)
    written.load_state_dict(exact)
    lost = max(abs(bits - bits_by_language[language]) for language, bits in _measure(written, tokenizer).items())
    if lost > _TOLERANCE and stored != torch.float32:
        stored, lost = torch.float32, 0.0
        _save(written, folder)
        written, tokenizer = _open(folder, path)
        bits_by_language = _measure(written, tokenizer)
    progress.advance(1)
    _check(bits_by_language, expected, written, tokenizer, path, remarks)
    context = getattr(written.config.get_text_config(decoder=True), "max_position_embeddings", None)
    stored_name = str(stored).removeprefix("torch.")
    return Converted(
        file, written.config.model_type, written.num_parameters(), context, stored_name, bits_by_language, lost, tuple(remarks)
    )


def _stored_type(file: GgufFile, exact: dict[str, torch.Tensor]) -> torch.dtype:
    largest = max(float(tensor.abs().max()) for tensor in exact.values())
    return file.dtype if largest <= torch.finfo(file.dtype).max else torch.float32


def _save(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The default type of computation: activations of Gemma 3 overflow float16.
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _open(folder: Path, path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever does not fit together
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise DataError(f"was converted, but the result cannot be opened: {reason}", where=str(path)) from None
    return model.eval(), tokenizer


def _measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    return {language: bits_per_character(model, tokenizer, text) for language, text in PASSAGES.items()}


def _check(
    bits_by_language: dict[str, float],
    expected: dict[str, float] | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    remarks: list[str],
) -> None:
    """Compare with the expected values; add a remark where the model predicts no better than chance."""
    for language, bits in (expected or {}).items():
        if not abs(bits_by_language[language] - bits) <= _STATED_TOLERANCE:
            raise DataError(
                f"its conversion is wrong: {bits_by_language[language]:.3f} bits per character of the passage {language!r}, "
                f"not {bits:.3f}",
                where=str(path),
                hint="this release of transformers reads the file differently: install the versions of requirements.lock",
            )
    chance = min(
        math.log2(model.config.get_text_config().vocab_size) * len(tokenizer(text)["input_ids"]) / len(text)
        for text in PASSAGES.values()
    )
    if min(bits_by_language.values()) >= chance:
        remarks.append("It predicts text no better than chance: the file may not be what its header says.")
