"""``--to gguf-adapter``: a LoRA in llama.cpp's format (``convert_lora_to_gguf.py``), for a GGUF file of the base.

For each adapted layer W the file holds ``W.lora_a`` ``[r, inputs]`` and ``W.lora_b`` ``[outputs, r]``, W being its name in a
model's file; llama.cpp adds alpha / r times their product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gguf
import torch

from xeric.bases.gguf_header import KeyValue
from xeric.bases.tensors import read_tensors
from xeric.errors import DataError, UserError
from xeric.exporting.example import llama_cpp_example
from xeric.exporting.gguf import Tensor, write_base, write_gguf
from xeric.exporting.gguf_metadata import number, text
from xeric.exporting.gguf_tensors import family_of, permuted, stored_name
from xeric.exporting.parts import Division, refuse_gates
from xeric.exporting.prompt_layout import prompt_layout
from xeric.exporting.target import Job, Target, Written
from xeric.methods.base import MethodOptions
from xeric.methods.combined import PartsOptions
from xeric.methods.lora import LoraOptions

__all__ = ["ADAPTER_FILE", "BASE_FILE", "GGUF_ADAPTER"]

ADAPTER_FILE = "adapter.gguf"
BASE_FILE = "base.gguf"

_START, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def _divide(method: MethodOptions, parts: Mapping[str, MethodOptions]) -> Division:
    refuse_gates(method, parts, "llama.cpp's adapter format")
    others = [name for name in parts if name != "lora"]
    if not others:
        return Division("lora")
    hint = "use --to gguf, or `xeric generate`"
    if isinstance(method, PartsOptions) and "lora" in parts:
        hint = f"leave out the rest with {' '.join(f'--without {name}' for name in others)}; the model is then another"
    raise UserError(f"llama.cpp's adapter format holds LoRA and nothing else, not {' and '.join(others)}", hint=hint)


def _write(job: Job) -> Written:
    layout = prompt_layout(job.saved, job.base)
    family = family_of(job.base.model.config)
    options = job.saved.method
    if isinstance(options, PartsOptions):
        options = options.parts["lora"]
    assert isinstance(options, LoraOptions)
    metadata: dict[str, KeyValue] = {
        "general.architecture": text(family.architecture),
        "general.type": text("adapter"),
        "general.name": text(job.source.record.run_id if job.source.record else job.source.folder.name),
        "adapter.type": text("lora"),
        "adapter.lora.alpha": number(float(options.scaling * options.rank)),
    }
    write_gguf(job.folder / ADAPTER_FILE, metadata, _tensors(job))
    if not (job.needs_base or job.with_base):
        return Written(layout, None, ("it goes with a GGUF file of the base; --with-base writes one",))
    origin = write_base(job, job.folder / BASE_FILE)
    reason = f"the adapter fits on {BASE_FILE} only, whose weights hold the stages before the run"
    return Written(layout, None, (*([reason] if job.saved.stages else []), f"of {BASE_FILE}, {origin}"))


def _tensors(job: Job) -> Iterator[Tensor]:
    """Yield the factors of every adapted layer.

    Raises:
        UserError: a layer is adapted that the format has no name for, that is no linear map, or whose weights the base's file
            does not hold by themselves.
    """
    config: Any = job.base.model.config
    family = family_of(config)
    folder = job.saved.folder / "lora" if isinstance(job.saved.method, PartsOptions) else job.saved.folder
    factors = read_tensors(folder / "adapter_model.safetensors", "lora weights")
    held = {stored_name(family, config.num_hidden_layers, name) for name, _ in job.base.model.named_parameters()}
    for name, factor in factors.items():
        layer, suffix = name.removeprefix(_START).removesuffix(_A).removesuffix(_B), name[-len(_A) :]
        stored = stored_name(family, config.num_hidden_layers, f"{layer}.weight")
        if suffix not in (_A, _B) or stored is None or not isinstance(job.base.model.get_submodule(layer), torch.nn.Linear):
            raise UserError(f"llama.cpp's adapter format holds factors of linear layers, not {name}", hint="use --to gguf")
        if stored not in held:
            what = f"a GGUF file of {job.base.name} has no {stored} for an adapter to fit: {layer} shares the embedding's weights"
            raise UserError(what, hint="use --to gguf")
        if suffix == _B:
            factor = permuted(family, layer, factor, config)
        if not factor.isfinite().all():
            raise DataError("holds numbers that are not finite", where=str(folder))
        content = factor.float().contiguous().numpy()
        yield f"{stored}.lora_{'a' if suffix == _A else 'b'}", content, gguf.GGMLQuantizationType.F32


def _example(job: Job, layout: Mapping[str, Any]) -> str:
    opening = f'llm = Llama("{BASE_FILE}", lora_path="{ADAPTER_FILE}", n_ctx={min(job.base.context, 2048)}, verbose=False)'
    return llama_cpp_example(layout, opening)


GGUF_ADAPTER = Target("gguf-adapter", _divide, _write, _example, "gguf")
