"""Training a LoRA on the same rows in the same order, from the same weights, by five programs.

AdamW without weight decay, a constant learning rate, gradients clipped at 1, dropout 0, every linear layer but the output layer.
In bf16 all of them keep the frozen weights in bf16 and compute matrix products under autocast. Seconds are those between the ends
of two steps, so what a program does between its steps counts.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from transformers.trainer_callback import TrainerCallback

import xeric
from bench.speed.jobs import Job, Result
from bench.speed.rows import LORA, ORDER_SEED, task_of
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training import trainer as ours
from xeric.training.options import TrainOptions, TrainSetup

RATE = 1e-4
CLIP = 1.0
NO_LOSS = -100


class Clock:
    """The ends of steps and their losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._ends: list[float] = []

    def start(self) -> None:
        self._ends.append(time.perf_counter())

    def step(self, loss: float) -> None:
        self.losses.append(loss)
        self._ends.append(time.perf_counter())

    def result(self) -> Result:
        seconds = [end - start for start, end in zip(self._ends, self._ends[1:], strict=False)]
        return {"losses": self.losses, "seconds": seconds}


def train(job: Job) -> Result:
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    return ENGINES[job["engine"]](job)


# --- ours -------------------------------------------------------------------------------------------------------------------


def train_ours(job: Job, *, shared: bool = True) -> Result:
    base = xeric.load_base(job["base"], device="cpu", precision=job["precision"])
    adaptation = METHODS.get("lora").attach(base, method_options(LORA), seed=0)
    adaptation.load_state(load_file(job["lora"]))
    options = TrainOptions(
        batch_size=job["batch"], max_steps=len(job["order"]), schedule="constant", warmup=0.0, weight_decay=0.0, clip=CLIP,
        shared_prefix=shared,
    )  # fmt: skip
    setup = TrainSetup(options, RATE, {"order": ORDER_SEED, "dropout": 0})
    clock = Clock()
    trainer = ours.Trainer(
        base, adaptation, [task_of(job["prefix"], job["rows"])], setup, observe=lambda row: clock.step(row["loss"])
    )
    for step, rows in enumerate(job["order"]):
        assert sorted(int(row.id) for batch in trainer.steps.batches(step) for _, row in batch) == sorted(rows)
    clock.start()
    trainer.run()
    return clock.result()


# --- the others: whole rows, the prefix in each -----------------------------------------------------------------------------


def examples(job: Job) -> list[dict[str, list[int]]]:
    """Every row of every step, in order."""
    prefix, rows = job["prefix"], job["rows"]
    whole = [
        {"input_ids": prefix + ids, "labels": [NO_LOSS] * (len(prefix) + len(ids) - targets) + ids[len(ids) - targets :]}
        for ids, targets in rows
    ]
    return [whole[row] for step in job["order"] for row in step]


def padded(rows: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """A batch padded on the right to its longest row."""
    width = max(len(row["input_ids"]) for row in rows)

    def filled(values: list[int], value: int) -> list[int]:
        return values + [value] * (width - len(values))

    return {
        "input_ids": torch.tensor([filled(row["input_ids"], pad) for row in rows]),
        "attention_mask": torch.tensor([filled([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([filled(row["labels"], NO_LOSS) for row in rows]),
    }


def frozen(job: Job) -> Any:
    dtype = torch.float32 if job["precision"] == "fp32" else torch.bfloat16
    return AutoModelForCausalLM.from_pretrained(job["folder"], dtype=dtype, use_safetensors=True, local_files_only=True)


def lora_config() -> LoraConfig:
    return LoraConfig(r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules=LORA["targets"], task_type="CAUSAL_LM")


def begin_alike(model: torch.nn.Module, job: Job) -> None:
    """Give a model of PEFT the LoRA weights that all engines begin with."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in load_file(job["lora"]).items():
            own[f"base_model.model.{name}"].copy_(tensor)


def with_lora(job: Job) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(frozen(job), lora_config())
    begin_alike(model, job)
    assert isinstance(model, PeftModel)
    return model


def in_order(parent: Any, clock: Clock) -> Any:
    """A Trainer class that takes the rows as they come and shows the clock each step's loss."""

    class InOrder(parent):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*args, **kwargs)
            self.last_loss = float(loss)
            return loss

    class Ends(TrainerCallback):
        trainer: Any

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step(self.trainer.last_loss)

    def make(**kwargs: Any) -> Any:
        ends = Ends()
        trainer = InOrder(callbacks=[ends], **kwargs)
        ends.trainer = trainer
        return trainer

    return make


def arguments(job: Job) -> dict[str, Any]:
    """The settings of a Trainer that does nothing beside the training."""
    return {
        "output_dir": job["output"],
        "per_device_train_batch_size": job["batch"],
        "max_steps": len(job["order"]),
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "bf16": job["precision"] == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def train_peft(job: Job) -> Result:
    clock = Clock()
    rows = examples(job)
    trainer = in_order(Trainer, clock)(
        model=with_lora(job),
        args=TrainingArguments(**arguments(job)),
        train_dataset=rows,
        data_collator=lambda batch: padded(batch, job["pad"]),
    )
    trainer.train()
    return clock.result()


def train_loop(job: Job) -> Result:
    model = with_lora(job).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    clock = Clock()
    clock.start()
    for batch in batches(job):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job["precision"] == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        clock.step(float(loss.detach()))
    return clock.result()


def batches(job: Job) -> Iterator[dict[str, torch.Tensor]]:
    rows = iter(examples(job))
    for step in job["order"]:
        yield padded([next(rows) for _ in step], job["pad"])


def train_trl(job: Job, *, padding_free: bool = False, bare: bool = False) -> Result:
    """TRL's SFTTrainer: its loss in chunks (the default), no packing of rows over steps, gradient checkpointing off.

    Args:
        job: the job.
        padding_free: rows in one sequence, kept apart by their positions.
        bare: without the entropy and accuracy that it logs; no setting leaves them out, so its loss is called without them.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(job["folder"], local_files_only=True)
    clock = Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = in_order(_without_entropy(SFTTrainer) if bare else SFTTrainer, clock)(
            model=frozen(job),
            args=SFTConfig(**arguments(job), max_length=None, padding_free=padding_free, packing=False),
            train_dataset=Dataset.from_list(examples(job)),
            processing_class=tokenizer,
            peft_config=lora_config(),
        )
    begin_alike(trainer.model, job)
    trainer.train()
    return clock.result()


def _without_entropy(parent: Any) -> Any:
    from trl.trainer.utils import add_fused_lm_head

    class Bare(parent):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            add_fused_lm_head(self.model.get_base_model(), outputs=("log_probs",))

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> torch.Tensor:
            outputs = model(**inputs, use_cache=False, fused_lm_head=True)
            loss: torch.Tensor = -outputs.log_probs.sum() / num_items_in_batch
            return loss

    return Bare


ENGINES: dict[str, Callable[[Job], Result]] = {
    "ours": train_ours,
    "ours, plain": lambda job: train_ours(job, shared=False),
    "TRL": train_trl,
    "TRL, padding-free": lambda job: train_trl(job, padding_free=True),
    "TRL, no entropy": lambda job: train_trl(job, bare=True),
    "PEFT + Trainer": train_peft,
    "bare loop": train_loop,
}
