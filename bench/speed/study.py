"""A whole small study, from a new process to scores with intervals: ours, and a script of Trainer, PEFT, ``generate``, metrics.

The script is what the libraries' documentation leads to, with batches of equal size and the same metrics with intervals. Ours
does more in its time: it cleans, splits and looks for leaks, scores trivial baselines, tests, and writes records and results.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoTokenizer, GenerationConfig, Trainer, TrainingArguments

from bench.speed import scoring
from bench.speed.design import STUDY
from bench.speed.jobs import Job, Result
from bench.speed.training import NO_LOSS, frozen, lora_config, padded

RATES = {"lora": 2e-4, "full": 1e-5}


def carry_out(job: Job) -> Result:
    torch.set_num_threads(job["threads"])
    return ours(job) if job["engine"] == "ours" else script(job)


def ours(job: Job) -> Result:
    import xeric
    from xeric.config import build
    from xeric.studies.config import StudyConfig

    config = build(
        StudyConfig,
        {
            "name": "speed",
            "title": "A small study",
            "bases": {"base": job["base"]},
            "tasks": [task["name"] for task in job["study"]],
            "tasks_dirs": job["tasks_dir"],
            "methods": {name: {"name": name} for name in STUDY["methods"]},
            "joint": False,
            "grids": {"all": {}},
            "tables": {"all": {"title": "Methods", "grids": ["all"]}},
            "seeds": [0],
            "run": {
                "data": {"n_train": STUDY["n_train"], "max_test": STUDY["max_test"]},
                "prompt": {"demonstrations": STUDY["demonstrations"], "template": "plain"},
                "train": {"epochs": STUDY["epochs"], "batch_size": STUDY["batch"]},
                "decode": {"max_new_tokens": STUDY["new"]},
                "metrics": list(scoring.METRICS),
                "device": "cpu",
                "precision": job["precision"],
            },
        },
    )
    outcome = xeric.run_study(config, job["output"])
    if outcome.results is None:
        raise RuntimeError("the study has no results")
    return {"runs": len(outcome.run.states), "texts": sum(len(task["test"]) for task in job["study"]) * len(STUDY["methods"])}


def script(job: Job) -> Result:
    runs = [(method, task) for task in job["study"] for method in STUDY["methods"]]
    texts = [run(job, method, task) for method, task in runs]
    return {"runs": len(runs), "texts": sum(texts)}


def run(job: Job, method: str, task: dict[str, Any]) -> int:
    """Train, decode and score one method on one task; return the number of texts."""
    torch.manual_seed(0)
    layout = Layout(AutoTokenizer.from_pretrained(job["folder"], local_files_only=True), task, job["eos"][0])
    # Trained weights stay in fp32, as ours do.
    model = frozen({**job, "precision": "fp32"} if method == "full" else job)
    if method == "lora":
        model = get_peft_model(model, lora_config())
    Trainer(
        model=model,
        args=arguments(job, method),
        train_dataset=[layout.example(*pair) for pair in task["train"]],
        data_collator=lambda batch: padded(batch, job["pad"]),
    ).train()
    model.eval().to(torch.bfloat16 if job["precision"] == "bf16" else torch.float32)
    texts = decoded(job, model, layout)
    scoring.plain(texts, [references[0] for _, references in task["test"]])
    return len(texts)


class Layout:
    """A task's rows, as a script writes them.

    Args:
        tokenizer: of the base.
        task: its texts.
        end: token that closes a target.
    """

    def __init__(self, tokenizer: Any, task: dict[str, Any], end: int) -> None:
        self.tokenizer, self._end = tokenizer, end
        shown = [f"Input: {given}\nOutput: {wanted}" for given, wanted in task["demonstrations"]]
        self._shown = "\n\n".join([task["definition"], *shown])
        self.prompts = [self._asked(given) for given, _ in task["test"]]

    def _asked(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(f"{self._shown}\n\nInput: {text}\nOutput:")["input_ids"]
        return ids

    def example(self, text: str, output: str) -> dict[str, list[int]]:
        given = self._asked(text)
        target = [*self.tokenizer(f" {output}", add_special_tokens=False)["input_ids"], self._end]
        return {"input_ids": given + target, "labels": [NO_LOSS] * len(given) + target}


def arguments(job: Job, method: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=job["output"],
        per_device_train_batch_size=STUDY["batch"],
        num_train_epochs=STUDY["epochs"],
        learning_rate=RATES[method],
        bf16=job["precision"] == "bf16",
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


@torch.no_grad()
def decoded(job: Job, model: Any, layout: Layout) -> list[str]:
    """The texts of all test inputs, in one batch."""
    config = GenerationConfig(max_new_tokens=STUDY["new"], do_sample=False, eos_token_id=job["eos"], pad_token_id=job["pad"])
    width = max(map(len, layout.prompts))
    ids = torch.tensor([[job["pad"]] * (width - len(row)) + row for row in layout.prompts])
    present = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in layout.prompts])
    output = model.generate(input_ids=ids, attention_mask=present, generation_config=config)
    return [str(text).strip() for text in layout.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)]
