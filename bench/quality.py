"""Are the defaults at least as good as a plain script, in less time? ``xeric train`` and PEFT with a bare loop, task by task.

    python bench/quality.py TASK... [KEY=VALUE...] [--base NAME] [--tasks-dir DIR] [--n-train 100] [--max-test 60] [-o OUT]

Both sides get the same examples and answer the same test instances. Ours is ``xeric train TASK`` with nothing else, or with the
settings named. The plain script is what the documentation of PEFT and transformers leads to: LoRA of rank 16, alpha 32, on all
linear layers, AdamW, rate 2e-4 with linear decay, three epochs, batch 8, loss on the output alone, no demonstrations, and
``generate``; it trains on all examples, those included that we keep for dev. Seconds are from an open base to the last text, and
ours score as well. What is finished stays in OUT and is not computed again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

import xeric
from xeric.bases.base import Base
from xeric.config import apply_overrides, digest
from xeric.data.preparing import Prepared, PreparedTask
from xeric.metrics import compare_predictions, score_predictions
from xeric.record_io import read_predictions
from xeric.records import Prediction

METRICS = ["chrf", "rouge_l", "bleu", "meteor", "length_ratio"]
RATE, EPOCHS, BATCH, RANK, ALPHA, SEED = 2e-4, 3, 8, 16, 32, 0


class PlainScript:
    """LoRA with PEFT alone."""

    def __init__(self, base: Base, task: PreparedTask) -> None:
        self.task, self.tokenizer = task, base.tokenizer
        self.pad = base.tokenizer.pad_token_id or 0
        torch.manual_seed(SEED)
        lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
        self.model = get_peft_model(base.model, lora)

    def asked(self, text: str) -> list[int]:
        return self.tokenizer(f"{self.task.task.definition}\n\nInput: {text}\nOutput:")["input_ids"]

    def answered(self, text: str) -> list[int]:
        return [*self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def batches(self, rows: list[tuple[list[int], list[int]]]) -> Iterator[dict[str, torch.Tensor]]:
        order = torch.randperm(len(rows)).tolist()
        for start in range(0, len(rows), BATCH):
            batch = [rows[index] for index in order[start : start + BATCH]]
            yield {
                "input_ids": padded([given + target for given, target in batch], self.pad),
                "attention_mask": padded([[1] * len(given + target) for given, target in batch], 0),
                "labels": padded([[-100] * len(given) + target for given, target in batch], -100),
            }

    def train(self) -> None:
        examples = (*self.task.train, *self.task.dev)
        rows = [(self.asked(instance.input), self.answered(instance.outputs[0])) for instance in examples]
        steps = EPOCHS * -(-len(rows) // BATCH)
        optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        self.model.train()
        for _ in range(EPOCHS):
            for batch in self.batches(rows):
                self.model(**batch).loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()

    @torch.no_grad()
    def texts(self, limit: int) -> list[str]:
        self.model.eval()
        texts: list[str] = []
        for start in range(0, len(self.task.test), BATCH):
            given = [self.asked(instance.input) for instance in self.task.test[start : start + BATCH]]
            ids, mask = padded(given, self.pad, left=True), padded([[1] * len(row) for row in given], 0, left=True)
            choices = {"max_new_tokens": limit, "do_sample": False, "pad_token_id": self.pad}
            written = self.model.generate(input_ids=ids, attention_mask=mask, eos_token_id=self.tokenizer.eos_token_id, **choices)
            texts += self.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]


def padded(rows: Sequence[list[int]], value: int, *, left: bool = False) -> torch.Tensor:
    width = max(map(len, rows))
    filled = ([value] * (width - len(row)) for row in rows)
    return torch.tensor([fill + row if left else row + fill for row, fill in zip(rows, filled, strict=True)])


def ours(base: Base, data: Prepared, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    run = xeric.train(base, data, output=folder, **settings)
    rows = read_predictions(folder / "predictions.jsonl")
    texts = {row.id: row.prediction for row in rows}
    limit = run.record.resolved["decode.max_new_tokens"]
    return {"steps": run.record.done_steps, "kept": run.record.best_step, "limit": limit, "texts": texts}


def plain(base: Base, task: PreparedTask, limit: int) -> dict[str, Any]:
    script = PlainScript(base, task)
    try:
        script.train()
        texts = script.texts(limit)
    finally:
        script.model.unload()
    steps = EPOCHS * -(-(len(task.train) + len(task.dev)) // BATCH)
    return {"steps": steps, "texts": {instance.id: text for instance, text in zip(task.test, texts, strict=True)}}


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What stands in the file, or else what is computed, timed and put there."""
    if not path.is_file():
        start = time.perf_counter()
        result = compute()
        result["seconds"] = round(time.perf_counter() - start)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def predictions(task: PreparedTask, result: dict[str, Any]) -> list[Prediction]:
    return [
        Prediction(
            id=instance.id,
            task=task.name,
            language=task.language,
            input=instance.input,
            prediction=result["texts"][instance.id],
            references=instance.outputs,
        )
        for instance in task.test
    ]


def row(label: str, rows: list[Prediction], result: dict[str, Any]) -> str:
    scores = score_predictions(rows, METRICS, resamples=0).scores
    runs = " | ".join(f"{scores[name].score:.1f}" for name in METRICS)
    return f"| {label} | {runs} | {result['seconds']} | {result.get('kept') or result['steps']} of {result['steps']} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="TASK or KEY=VALUE")
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tasks-dir", action="append", default=[])
    parser.add_argument("--n-train", type=int, default=100)
    parser.add_argument("--max-test", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path, default=Path("quality"))
    options = parser.parse_args()
    words = [word for word in options.words if "=" in word]
    settings = apply_overrides({}, words)
    prompt, chosen = settings.pop("prompt", None), {"n_train": options.n_train, "max_test": options.max_test}
    base = xeric.load_base(options.base, precision=options.precision)
    label = digest([options.base, base.precision, chosen])[:8]
    print(f"| | {' | '.join(METRICS)} | seconds | weights of step |\n|---|{'---:|' * (len(METRICS) + 2)}")
    differences = []
    for name in (word for word in options.words if "=" not in word):
        data = xeric.prepare(xeric.load_task(name, tasks_dir=options.tasks_dir), prompt=prompt, **chosen)
        (task,) = data.tasks
        folder = options.output / name
        run = folder / f"ours-{digest([label, words])[:8]}"
        result = once(run.with_suffix(".json"), lambda: ours(base, data, settings, run))  # noqa: B023  # called at once
        bare = xeric.prepare(task.task, prompt={"demonstrations": 0}, **chosen).tasks[0]
        theirs = once(folder / f"plain-{label}.json", lambda: plain(base, bare, result["limit"]))  # noqa: B023
        mine, script = predictions(task, result), predictions(task, theirs)
        compared = compare_predictions(mine, script, ["chrf"]).metrics["chrf"]
        differences.append(compared.difference)
        print(f"| **{name}**, {len(mine)} texts |{' |' * (len(METRICS) + 2)}")
        print(row("plain script", script, theirs))
        print(row(" ".join(["ours", *words]), mine, result))
        print(f"| ours less plain | {compared.difference:+.1f} [{compared.low:.1f}, {compared.high:.1f}] |{' |' * 6}", flush=True)
    print(f"\nours less plain, mean over tasks: {statistics.fmean(differences):+.1f} chrF++")


if __name__ == "__main__":
    main()
