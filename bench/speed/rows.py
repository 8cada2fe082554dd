"""The rows that all engines get: tokenised once, by our encoder, in the order in which our training loop takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

import xeric
from bench.speed.design import JOINED, STUDY
from bench.speed.jobs import Job, Result
from xeric.bases.base import Base
from xeric.data.preparing import PreparedTask
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.rows import EncodedTask, InstanceRow, PrefixRow
from xeric.data.tasks import Instance
from xeric.execution.probe import size_of
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.options import TrainOptions
from xeric.training.steps import StepPlan

ORDER_SEED = 0
LORA: dict[str, Any] = {"name": "lora", "rank": 16, "alpha": 32, "targets": "all-linear"}


def prepare(job: Job) -> Result:
    """Write a base's first LoRA weights and return its sizes and the rows of all cells, training and decoding."""
    base = xeric.load_base(job["base"], device="cpu", precision="fp32")
    task = xeric.load_task(job["task"], tasks_dir=job["tasks_dir"])
    by_count = {
        count: xeric.prepare(task, prompt={"demonstrations": count}).tasks[0]
        for count in {cell["demonstrations"] for cell in (*job["training"], *job["decoding"])}
    }
    result = {
        **described(base),
        "training": [training_rows(base, by_count[cell["demonstrations"]], cell, job["steps"]) for cell in job["training"]],
        "decoding": [decoding_rows(base, by_count[cell["demonstrations"]], job["texts"], job["new"]) for cell in job["decoding"]],
    }
    if job["study"]:
        result["study"] = [study_texts(name, job) for name in job["study"]]
    if job["gguf"]:
        result["gguf"] = write_gguf_file(base, Path(job["gguf"]))
    adaptation = METHODS.get("lora").attach(base, method_options(LORA), seed=0)
    trained = adaptation.trainable()
    save_file({name: parameter.detach().contiguous() for name, parameter in trained.items()}, job["lora"])
    result["added"] = sum(parameter.numel() for parameter in trained.values())
    return result


def described(base: Base) -> dict[str, Any]:
    config = base.model.config.get_text_config(decoder=True)
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return {
        "folder": str(base.source),
        "size": asdict(size_of(base)),
        "state_values": 2 * int(config.num_hidden_layers) * heads * width,
        "eos": list(base.eos),
        "pad": base.pad,
    }


def training_rows(base: Base, task: PreparedTask, cell: dict[str, Any], steps: int) -> dict[str, Any]:
    """The prefix, the rows, and which rows each step holds."""
    instances = [*task.train, *task.dev]
    joined = JOINED if cell["rows"] == "long" else 1
    pairs = [
        (str(number), *together(instances[start : start + joined]))
        for number, start in enumerate(range(0, len(instances) - joined + 1, joined))
    ]
    prompt = build_prompt(task.task, task.demonstrations, PromptOptions())
    encoded = base.encoder(task.name).training_rows(prompt, pairs)
    rows = [row for row in encoded.rows if row.prefix == len(encoded.prefixes) - 1]
    # Whole steps only: the programs compared end an epoch with a smaller step in different ways.
    rows = rows[: len(rows) // cell["batch"] * cell["batch"]]
    if not rows:
        raise ValueError(f"{task.name} has fewer training rows than a batch of {cell['batch']}, {cell['rows']} rows")
    prefix = encoded.prefixes[-1]
    made = task_of(list(prefix.ids), [(list(row.ids), row.target_tokens) for row in rows])
    plan = StepPlan([made], TrainOptions(batch_size=cell["batch"], max_steps=steps), ORDER_SEED, "shared")
    order = [[int(row.id) for batch in plan.batches(step) for _, row in batch] for step in range(steps)]
    return {"prefix": list(prefix.ids), "rows": [[list(row.ids), row.target_tokens] for row in rows], "order": order}


def together(instances: Sequence[Instance]) -> tuple[str, str]:
    return "\n".join(instance.input for instance in instances), "\n".join(instance.outputs[0] for instance in instances)


def decoding_rows(base: Base, task: PreparedTask, texts: int, new: int) -> dict[str, Any]:
    """The prefix and the tokens of each input, test instances first."""
    inputs = [instance.input for instance in (*task.test, *task.dev, *task.train)][:texts]
    prompt = build_prompt(task.task, task.demonstrations, PromptOptions())
    encoded = base.encoder(task.name).decoding_rows(prompt, [(str(n), text) for n, text in enumerate(inputs)], new)
    rows = [row for row in encoded.rows if row.prefix == len(encoded.prefixes) - 1]
    return {"prefix": list(encoded.prefixes[-1].ids), "rows": [list(row.ids) for row in rows]}


def study_texts(name: str, job: Job) -> dict[str, Any]:
    """The texts of a task as a study uses them."""
    chosen = {key: STUDY[key] for key in ("n_train", "max_test")}
    prompt = {"demonstrations": STUDY["demonstrations"]}
    task = xeric.prepare(xeric.load_task(name, tasks_dir=job["tasks_dir"]), prompt=prompt, **chosen).tasks[0]
    return {
        "name": name,
        "definition": task.task.definition,
        "demonstrations": [[demonstration.input, demonstration.output] for demonstration in task.demonstrations],
        "train": [[instance.input, instance.outputs[0]] for instance in (*task.train, *task.dev)],
        "test": [[instance.input, list(instance.outputs)] for instance in task.test],
    }


def task_of(prefix: list[int], rows: Sequence[tuple[list[int], int]]) -> EncodedTask:
    """Return rows as our engine takes them; a row is its tokens and how many of them, at its end, are targets."""
    return EncodedTask(
        "bench",
        (PrefixRow("bench", tuple(prefix), (0,) * len(prefix), 0),),
        tuple(
            InstanceRow(str(number), 0, tuple(ids), (0,) * len(ids), len(ids) - targets)
            for number, (ids, targets) in enumerate(rows)
        ),
    )


def write_gguf_file(base: Base, path: Path) -> str | None:
    """Write the base for llama.cpp, matrices in 16 bit; None where its family cannot be written."""
    from xeric.errors import UserError
    from xeric.exporting.gguf import write_gguf
    from xeric.exporting.gguf_metadata import model_metadata
    from xeric.exporting.gguf_tensors import model_tensors

    try:
        write_gguf(path, model_metadata(base, path.stem, "f16")[0], model_tensors(base.model, "f16"))
    except UserError:
        return None
    return str(path)
