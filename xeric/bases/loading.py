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
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)

from xeric.bases.architecture import Architecture, ArchitectureName
from xeric.bases.base import Base, Precision
from xeric.bases.causal import Causal
from xeric.bases.checks import check_base, token_rows
from xeric.bases.encoder import BidirectionalEncoder
from xeric.bases.finding import find_folder
from xeric.bases.precision import PrecisionName, resolve_device, resolve_precision
from xeric.bases.seq2seq import Seq2Seq
from xeric.bases.special_tokens import around_text
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
_AUTO_MODELS: dict[ArchitectureName, Any] = {
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "encoder": AutoModelForMaskedLM,
}


def load_base(name: str, *, device: str = "auto", precision: PrecisionName = "auto", progress: Progress | None = None) -> Base:
    """Open a pretrained model: causal, encoder-decoder, or an encoder with an output layer for masked tokens.

    Args:
        name: a name of ``xeric bases list`` (downloaded and converted where necessary), a ``.gguf`` file (converted once), a
            local folder in the Hugging Face layout, or a hub id (downloaded into the hub's own cache).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``4bit`` (CUDA only).
        progress: is told what is fetched and converted; None logs it.

    Raises:
        UserError: the name is one of earlier versions, the base cannot be downloaded, or the cache folder
            cannot be written.
        DataError: the file, folder or hub repository is missing, holds no safetensors weights, or is no such model.
    """
    resolved_device = resolve_device(device)
    resolved_precision = resolve_precision(precision, resolved_device)
    folder = find_folder(name, progress)
    config, kind = _read_config(name, folder)
    sha256 = _identity(name, folder)
    tokenizer = _read_tokenizer(name, folder)
    model = _read_model(name, folder, kind, resolved_precision, resolved_device)
    check_base(name, model, tokenizer)
    eos = _end_tokens(name, model, tokenizer)
    pad = tokenizer.pad_token_id
    if not isinstance(pad, int) or pad >= token_rows(model):
        pad = eos[0]  # masked everywhere, so any id with an embedding serves
    context = _context(config, tokenizer)
    architecture = _architecture(name, kind, model, tokenizer, context)
    # A new generation config: the sampling defaults of the base's authors must not affect measured decoding.
    if kind != "encoder":
        model.generation_config = GenerationConfig(eos_token_id=list(eos), pad_token_id=pad)
    base = Base(
        name=name,
        source=folder,
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        context=context - (architecture.first_position if isinstance(architecture, BidirectionalEncoder) else 0),
        bos=_begin_token(tokenizer, kind),
        eos=eos,
        pad=pad,
        precision=resolved_precision,
        device=resolved_device,
        sha256=sha256,
    )
    architecture.check(base)
    return base


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


def _read_config(name: str, folder: Path) -> tuple[Any, ArchitectureName]:
    """Return the config of a model, and how it computes rows."""
    path = folder / "config.json"
    if not path.is_file():
        raise _no_config(name)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        config.get_text_config(decoder=True)  # which some families do not have
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        raise DataError(f"cannot be read as a model config: {_first_line(error)}", where=str(path)) from None
    kind = _kind(config)
    if kind is None and "auto_map" in raw:
        raise DataError(
            "needs code that comes with the model, which is never run", where=name, hint="take a base that transformers knows"
        )
    if kind is None:
        raise DataError(
            f"a {config.model_type!r} model writes no text",
            where=name,
            hint="take a causal, encoder-decoder or masked language model",
        )
    return config, kind


def _kind(config: Any) -> ArchitectureName | None:
    if getattr(config, "is_encoder_decoder", False):
        return "seq2seq" if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING else None
    # Encoders can be run as decoders, for which the library has a class, too; their files say so where they are meant to be.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        return "encoder"
    return "causal" if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else None


def _architecture(
    name: str, kind: ArchitectureName, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: int
) -> Architecture:
    if kind == "seq2seq":
        return Seq2Seq.of(name, model, tokenizer, context)
    return BidirectionalEncoder.of(name, model, tokenizer) if kind == "encoder" else Causal()


def _read_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        raise DataError(f"its tokenizer cannot be loaded: {_first_line(error)}", where=name) from None
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise DataError("holds no tokenizer", where=name, hint="save the tokenizer beside the model")
    return tokenizer


def _read_model(name: str, folder: Path, kind: ArchitectureName, precision: Precision, device: torch.device) -> PreTrainedModel:
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    # NF4 with quantised constants, computed in bf16: QLoRA (Dettmers et al. 2023, arXiv 2305.14314, section 3).
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    quantized: dict[str, Any] = {"quantization_config": four_bit, "device_map": {"": device}} if precision == "4bit" else {}
    try:
        loaded: Any = _AUTO_MODELS[kind].from_pretrained(
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
        hint = (
            "save it whole"
            if kind != "encoder"
            else "save it with its output layer for masked tokens (docs/how-to/other-bases.md)"
        )
        raise DataError(f"its weights lack {len(missing)} tensors, {missing[0]!r} among them", where=name, hint=hint)
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
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    # An encoder ends a text with the token that parts two.
    own = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    ids = [own, *(declared if isinstance(declared, list) else [declared])]
    eos = tuple(dict.fromkeys(int(i) for i in ids if i is not None and i < token_rows(model)))
    if not eos:
        raise DataError(
            "has no end-of-text token, so it could never learn to stop", where=name, hint="set eos_token in its tokenizer"
        )
    return eos


def _begin_token(tokenizer: PreTrainedTokenizerBase, kind: ArchitectureName) -> int | None:
    """Return the token that the tokenizer puts first; a base that was trained without one is run without one.

    Of a causal base that is the BOS token; an encoder may have its [CLS] there, or the code of a language.
    """
    if kind != "causal":
        return next(iter(around_text(tokenizer)[0]), None)
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
