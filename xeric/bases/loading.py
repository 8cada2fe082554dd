"""Opens a base: by name, from a GGUF file, from a local folder, or by a hub id.

Only safetensors weights are read and no code that comes with a model is ever run. The hashed files are the loaded ones.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from xeric.bases.base import Base, Precision
from xeric.bases.causal import Causal
from xeric.bases.checks import check_base, token_rows
from xeric.bases.finding import find_folder
from xeric.bases.precision import PrecisionName, resolve_device, resolve_precision
from xeric.errors import DataError
from xeric.files import is_of_other_programs, reading
from xeric.progress import Progress

__all__ = ["base_identity", "load_base", "sha256_of_files"]

_WEIGHTS = "*.safetensors"
_TOKENIZER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",  # for the end tokens that it names; nothing else of it is used
)
_DEFAULT_CONTEXT = 2048


def load_base(name: str, *, device: str = "auto", precision: PrecisionName = "auto", progress: Progress | None = None) -> Base:
    """Open a pretrained causal model.

    Args:
        name: a name of ``xeric bases list`` (downloaded and converted where necessary), a ``.gguf`` file (converted once), a
            local folder in the Hugging Face layout, or a hub id (downloaded into the hub's own cache).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``4bit`` (CUDA only).
        progress: is told what is fetched and converted; None logs it.

    Raises:
        UserError: the name is one of earlier versions, the base cannot be downloaded, or the cache folder
            cannot be written.
        DataError: the file, folder or hub repository is missing, holds no safetensors weights, or is not a causal model.
    """
    resolved_device = resolve_device(device)
    resolved_precision = resolve_precision(precision, resolved_device)
    folder = find_folder(name, progress)
    config = _read_config(name, folder)
    sha256 = _identity(name, folder)
    tokenizer = _read_tokenizer(name, folder)
    model = _read_model(name, folder, resolved_precision, resolved_device)
    check_base(name, model, tokenizer)
    eos = _end_tokens(name, model, tokenizer)
    pad = tokenizer.pad_token_id
    if not isinstance(pad, int) or pad >= token_rows(model):
        pad = eos[0]  # masked everywhere, so any id with an embedding serves
    # A new generation config: the sampling defaults of the base's authors must not affect measured decoding.
    model.generation_config = GenerationConfig(eos_token_id=list(eos), pad_token_id=pad)
    return Base(
        name=name,
        source=folder,
        model=model,
        tokenizer=tokenizer,
        architecture=Causal(),
        context=_context(config, tokenizer),
        bos=_begin_token(tokenizer),
        eos=eos,
        pad=pad,
        precision=resolved_precision,
        device=resolved_device,
        sha256=sha256,
    )


def base_identity(name: str, progress: Progress | None = None) -> dict[str, str]:
    """Return the SHA-256 of a base's weights and of its config and tokenizer files, without loading it.

    Args:
        name: as in :func:`load_base`; the base is downloaded where necessary.
        progress: is told what is fetched and converted; None logs it.

    Raises:
        UserError, DataError: as :func:`load_base`.
    """
    return _identity(name, find_folder(name, progress))


def _identity(name: str, folder: Path) -> dict[str, str]:
    weights = sorted(path for path in folder.glob(_WEIGHTS) if not is_of_other_programs(path.name))
    if not weights and not (folder / "config.json").is_file():
        raise _no_config(name)
    if not weights:
        raise DataError(
            "holds no *.safetensors weights",
            where=name,
            hint="convert the weights to safetensors; pickled weights are never read",
        )
    return {
        "weights": sha256_of_files(weights),
        "tokenizer": sha256_of_files([folder / file for file in _TOKENIZER_FILES if (folder / file).is_file()]),
    }


def _no_config(name: str) -> DataError:
    return DataError("holds no config.json", where=name, hint="give a folder in the Hugging Face layout")


def _read_config(name: str, folder: Path) -> Any:
    path = folder / "config.json"
    if not path.is_file():
        raise _no_config(name)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        raise DataError(f"cannot be read as a model config: {_first_line(error)}", where=str(path)) from None
    if "auto_map" in raw and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise DataError(
            "needs code that comes with the model, which is never run", where=name, hint="take a base that transformers knows"
        )
    if getattr(config, "is_encoder_decoder", False) or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise DataError(f"a {config.model_type!r} model is not a causal language model", where=name, hint="take a causal base")
    return config


def _read_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        raise DataError(f"its tokenizer cannot be loaded: {_first_line(error)}", where=name) from None
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise DataError("holds no tokenizer", where=name, hint="save the tokenizer beside the model")
    return tokenizer


def _read_model(name: str, folder: Path, precision: Precision, device: torch.device) -> PreTrainedModel:
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    # NF4 with quantised constants, computed in bf16: QLoRA (Dettmers et al. 2023, arXiv 2305.14314, section 3).
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    quantized: dict[str, Any] = {"quantization_config": four_bit, "device_map": {"": device}} if precision == "4bit" else {}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **quantized,
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        raise DataError(f"its weights cannot be loaded: {_first_line(error)}", where=name) from None
    model, report = loaded
    # The library fills missing tensors with random numbers and only warns.
    if missing := sorted(map(str, report["missing_keys"])):
        raise DataError(f"its weights lack {len(missing)} tensors, {missing[0]!r} among them", where=name, hint="save it whole")
    if mismatched := sorted(str(entry[0]) for entry in report["mismatched_keys"]):
        raise DataError(f"the shape of {mismatched[0]!r} does not fit its config", where=name)
    assert isinstance(model, PreTrainedModel)
    model.requires_grad_(False).eval()
    if not quantized:  # four-bit weights are loaded onto the device directly
        model.to(device)  # type: ignore[arg-type]  # the library wraps the method and loses its type
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _end_tokens(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    declared = getattr(model.generation_config, "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])]
    eos = tuple(dict.fromkeys(int(i) for i in ids if i is not None and i < token_rows(model)))
    if not eos:
        raise DataError(
            "has no end-of-text token, so it could never learn to stop", where=name, hint="set eos_token in its tokenizer"
        )
    return eos


def _begin_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the BOS token if the tokenizer puts it first; a base that was trained without one is run without one."""
    ids = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token_id
    return int(bos) if isinstance(bos, int) and ids and ids[0] == bos else None


def _context(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    text = config.get_text_config(decoder=True)
    for key in ("max_position_embeddings", "n_positions", "seq_length"):
        value = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return value
    # ALiBi and similar schemes have no table of positions; the tokenizer's limit, where stated, is the length of training.
    limit = tokenizer.model_max_length
    return int(limit) if limit and limit < 1_000_000 else _DEFAULT_CONTEXT


def sha256_of_files(paths: list[Path]) -> str:
    """Return the SHA-256 (hex) over names and contents of files, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        with reading(path), path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()
