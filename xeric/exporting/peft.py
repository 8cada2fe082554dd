"""``--to peft``: an adapter that opens with plain ``PeftModel.from_pretrained``.

LoRA and PEFT's tuners are in PEFT's format already. A learned prefix of keys and values becomes PEFT's prefix tuning, one of
input vectors its prompt tuning: both in the form for inference, in which the weights are what attention sees. PEFT cannot put a
prefix and layers into one adapter: where a combined method has both, the layers are folded into the base's weights, and that
base is written beside the adapter.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch

from xeric.bases.base import Base
from xeric.bases.named import NAMED_BASES
from xeric.bases.protocols import KeysAndValues
from xeric.bases.tensors import write_tensors
from xeric.errors import UserError
from xeric.exporting.example import python_example
from xeric.exporting.measuring import Difference, measure, refuse_other
from xeric.exporting.parts import Division, attached, fold, is_peft, refuse_gates, unmergeable
from xeric.exporting.prompt_layout import prompt_layout
from xeric.exporting.target import BASE_FOLDER, Job, Target, Written, open_model, save_model
from xeric.files import expanded
from xeric.json_io import read_json, write_json
from xeric.methods.base import MethodOptions
from xeric.methods.combined import PartsOptions

__all__ = ["PEFT"]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NOT_HERE = {
    "none": ("nothing was trained in this run, so there is no adapter", "use --to merged"),
    "full": ("full fine-tuning changes every weight, so there is no adapter", "use --to merged"),
    "bottleneck": (
        "PEFT has no bottleneck adapters, and no format that a non-linear layer behind a sub-layer could be put into",
        "use it by `xeric generate`, or train lora for use elsewhere",
    ),
    "adaptive_prefix": (
        "PEFT cannot express a prefix that depends on the input: its prefixes are the same for all inputs",
        "use it by `xeric generate`",
    ),
    "picture": (
        "PEFT cannot express vectors that are made of an instance's picture",
        "use it by `xeric generate`",
    ),
    "embedding": (
        "PEFT cannot express fused embeddings: it knows neither the position nor the segment of a token",
        "use it by `xeric generate`",
    ),
}


def _divide(method: MethodOptions, parts: Mapping[str, MethodOptions]) -> Division:
    refuse_gates(method, parts, "PEFT's format")
    for name in parts:
        if not is_peft(name) and name != "prefix":
            what, hint = _NOT_HERE.get(name, (f"PEFT has no format for {name}", "use it by `xeric generate`"))
            if isinstance(method, PartsOptions) and len(parts) > 1:
                hint = f"leave them out with --without {name}; how far that changes the model is measured"
            raise UserError(what, hint=hint)
    adapter = "prefix" if "prefix" in parts else next(iter(parts))
    folded = {name: options for name, options in parts.items() if name != adapter}
    if stuck := unmergeable(folded):
        what = f"PEFT cannot have {' and '.join(stuck)} and {adapter} in one adapter, and cannot merge {' and '.join(stuck)}"
        raise UserError(what, hint=f"leave one out with --without {adapter}")
    return Division(adapter, tuple(folded))


def _write(job: Job) -> Written:
    fold(job.saved, job.division.folded, job.base)
    assert job.division.adapter is not None
    adaptation = attached(job.saved, [job.division.adapter], job.base)
    layout = prompt_layout(job.saved, job.base)
    if job.division.adapter == "prefix":
        _write_prefix(job)
    else:
        _copy_adapter(job)
    adaptation.detach()
    notes, beside = [], job.needs_base or job.with_base
    if beside:
        notes = [*save_model(job, job.folder / BASE_FOLDER), _why_base(job)]
    _name_base(job, beside)
    difference = _measure(job, job.folder / BASE_FOLDER if beside else job.base.source)
    if not job.division.left_out:
        refuse_other(difference, "PEFT", exact=not beside or job.exact)
    return Written(layout, difference, tuple(notes))


def _why_base(job: Job) -> str:
    """Return why the base lies beside the adapter."""
    if not job.needs_base:
        return f"the base is in {BASE_FOLDER}/"
    changes = ["the stages before the run"] * bool(job.saved.stages) + list(job.division.folded)
    return f"the adapter fits on the base in {BASE_FOLDER}/ only, whose weights hold {' and '.join(changes)}"


def _copy_adapter(job: Job) -> None:
    folder = job.saved.folder
    if isinstance(job.saved.method, PartsOptions):
        folder = folder / str(job.division.adapter)
    for name in (_CONFIG, _WEIGHTS):
        shutil.copyfile(folder / name, job.folder / name)


def _write_prefix(job: Job) -> None:
    """Write the prefix that is attached to the base."""
    learned, task = job.base.learned_prefix, next(iter(job.saved.prompts))
    assert learned is not None
    length, vectors = learned.length(task), learned.vectors(task)
    shared: dict[str, Any] = {"task_type": "CAUSAL_LM", "inference_mode": True}
    shared |= {"num_virtual_tokens": length, "num_transformer_submodules": 1}
    config: peft.PeftConfig
    if vectors is not None:
        weights = vectors
        config = peft.PromptTuningConfig(**shared, token_dim=vectors.shape[1], prompt_tuning_init="RANDOM", **_shape(job.base))
    else:
        pairs = learned.keys_and_values(task)
        weights, heads = _flat(pairs)
        config = peft.PrefixTuningConfig(
            **shared, token_dim=weights.shape[1] // (2 * len(pairs)), num_attention_heads=heads, num_layers=len(pairs)
        )
    contiguous = weights.detach().float().cpu().clone(memory_format=torch.contiguous_format)
    write_tensors(job.folder / _WEIGHTS, {"prompt_embeddings": contiguous})
    plain = json.loads(json.dumps(config.to_dict(), default=str))
    write_json(job.folder / _CONFIG, dict(sorted(plain.items())))


def _shape(base: Base) -> dict[str, Any]:
    config: Any = base.model.config.get_text_config(decoder=True)
    return {"num_attention_heads": config.num_attention_heads, "num_layers": config.num_hidden_layers}


def _flat(pairs: Sequence[KeysAndValues]) -> tuple[torch.Tensor, int]:
    """Return keys and values as PEFT's prefix encoder holds them, and the number of heads.

    Returns:
        ``[m, layers * 2 * heads * size]``: for each position layer after layer, its keys, then its values, head after head.

    Raises:
        UserError: the layers are not alike.
    """
    shapes = {tuple(part.shape) for pair in pairs if pair for part in pair}
    if len(shapes) != 1 or not all(pairs):
        raise UserError(
            "PEFT's prefix tuning takes keys and values of one shape in every layer, and this base's layers differ",
            hint="train with method.level=input for use in PEFT",
        )
    _, heads, length, _ = next(iter(shapes))
    layers = [torch.stack([part[0] for part in pair]) for pair in pairs if pair]  # [2, heads, m, size]
    return torch.stack(layers).permute(3, 0, 1, 2, 4).reshape(length, -1), heads


def _name_base(job: Job, beside: bool) -> None:
    """Say in the adapter's config which base it is for: a folder of this machine, or a hub id."""
    path = job.folder / _CONFIG
    name = job.base.name
    if beside:
        name = str((job.final / BASE_FOLDER).absolute())
    elif name in NAMED_BASES or expanded(name).exists():
        name = str(job.base.source.absolute())
    write_json(path, {**read_json(path), "base_model_name_or_path": name})


def _measure(job: Job, folder: Path) -> Difference:
    model = peft.PeftModel.from_pretrained(open_model(folder, job.base), str(job.folder)).eval()
    config = model.active_peft_config
    vectors = isinstance(config, peft.PromptTuningConfig)
    return measure(job.sample, model, first=config.num_virtual_tokens if vectors else 0)


def _example(job: Job, layout: Mapping[str, Any]) -> str:
    beside = job.needs_base or job.with_base
    base = BASE_FOLDER if beside else read_json(job.folder / _CONFIG)["base_model_name_or_path"]
    imports = "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer"
    opening = "\n".join(
        [
            f"base = {json.dumps(base, ensure_ascii=False)}",
            "tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)",
            'model = PeftModel.from_pretrained(model, ".")',
        ]
    )
    return python_example(layout, imports, opening)


PEFT = Target("peft", _divide, _write, _example, "peft")
