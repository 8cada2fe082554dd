"""What the targets of an export share: what they are given, what they give back, and saving a base in the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from xeric.bases.base import Base
from xeric.errors import UserError
from xeric.exporting.gguf_tensors import Quantisation
from xeric.exporting.measuring import Difference, Sample
from xeric.exporting.parts import Division
from xeric.exporting.source import Source
from xeric.methods.base import MethodOptions
from xeric.run.adapter_files import SavedAdapter

__all__ = ["BASE_FOLDER", "ExportPrecision", "Job", "Target", "Written", "open_model", "save_model"]

ExportPrecision = Literal["fp32", "bf16", "fp16"]
_DTYPES: dict[ExportPrecision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

BASE_FOLDER = "base"
"""Where an adapter's base lies in its folder, where it is not the base as it was published."""


@dataclass(frozen=True)
class Job:
    """An export under way.

    Attributes:
        source: the run.
        base: its base in float32, the stages before the run applied, no method attached.
        sample: what the run's own model answers.
        division: what becomes of the parts of its method.
        folder: to write into; empty.
        final: where that folder will be.
        precision: of the weights that are written in safetensors.
        quantisation: of the weights that are written as GGUF.
        with_base: whether an adapter is to be accompanied by its base in any case.
    """

    source: Source
    base: Base
    sample: Sample
    division: Division
    folder: Path
    final: Path
    precision: ExportPrecision
    quantisation: Quantisation
    with_base: bool

    @property
    def saved(self) -> SavedAdapter:
        """The run's adaptation."""
        return self.source.saved

    @property
    def exact(self) -> bool:
        """Whether the exported model should compute what the run's does, but for the order of additions."""
        return self.precision == "fp32" and not self.division.left_out

    @property
    def needs_base(self) -> bool:
        """Whether an adapter fits only on a base that differs from the published one."""
        return bool(self.saved.stages or self.division.folded)


@dataclass(frozen=True)
class Written:
    """What a target wrote.

    Attributes:
        layout: content of ``prompt.json``.
        difference: between the exported model and the run's own; None where it cannot be measured here.
        notes: for the user.
    """

    layout: Mapping[str, Any]
    difference: Difference | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A kind of export.

    Attributes:
        name: ``peft``, ``merged``, ``gguf`` or ``gguf-adapter``.
        divide: says what becomes of a method's parts; takes the method and the parts that are not left out, and raises
            UserError where the target cannot express them.
        write: does the work.
        example: returns Python that uses the export; takes the job and the content of ``prompt.json``.
        library: that the model card names.
    """

    name: str
    divide: Callable[[MethodOptions, Mapping[str, MethodOptions]], Division]
    write: Callable[[Job], Written]
    example: Callable[[Job, Mapping[str, Any]], str]
    library: str


def save_model(job: Job, folder: Path) -> list[str]:
    """Write the base, as it is now, with its tokenizer in the Hugging Face layout; its parameters are rounded on the way.

    Returns:
        What the user should know.

    Raises:
        UserError: a weight is too large for the precision asked for.
    """
    base, dtype = job.base, _DTYPES[job.precision]
    largest = max(float(parameter.detach().abs().max()) for parameter in base.model.parameters())
    if largest > torch.finfo(dtype).max:
        raise UserError(f"a weight of {largest:.0f} does not fit {job.precision}", hint="use --precision bf16 or fp32")
    for parameter in base.model.parameters():
        parameter.data = parameter.data.to(dtype)
    base.model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=job.saved.max_new_tokens,
        bos_token_id=base.bos,
        eos_token_id=list(base.eos),
        pad_token_id=base.pad,
    )
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    # Activations of Gemma overflow float16, whatever its weights are kept in.
    computed = (
        "float32" if job.precision == "fp16" and "gemma" in base.model.config.model_type else str(dtype).removeprefix("torch.")
    )
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = computed
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if computed == "float32" and job.precision == "fp16":
        return ["Gemma's activations overflow float16: its config.json asks for float32, so compute it in that or in bfloat16"]
    return []


def open_model(folder: Path, base: Base) -> PreTrainedModel:
    """Open a folder as a user of transformers would, to compute in float32 on the device of a base."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    opened: PreTrainedModel = model.to(base.device).eval()
    opened.generation_config = GenerationConfig.from_model_config(opened.config)  # without the penalties of a base's own file
    return opened
