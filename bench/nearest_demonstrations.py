"""What nearest demonstrations cost in speed: rows of a task with its fixed demonstrations, against those with their own.

    python bench/nearest_demonstrations.py [--base gemma-3-270m] [--task summarization_en] [--batch 8] [--repeats 3]

Scoring, a LoRA step and greedy decoding of one batch, interleaved in one process; what counts is the ratio of the medians. Times
are of the processor, so that other programs on the machine change them little; with several threads they are sums over these.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from timeit import timeit

import torch

import xeric
from xeric.bases.base import Base
from xeric.data.preparing import DataOptions, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.run.row_price import demonstrations_note
from xeric.training.loss import Rows, dev_loss, step_loss

CHOICES = ("fixed", "nearest")


def rows(base: Base, task: str, batch: int, choice: str) -> tuple[EncodedTask, EncodedTask]:
    """Rows with targets, and without."""
    options = PromptOptions.model_validate({"demonstration_choice": choice, "template": "plain"})
    own = prepare([xeric.load_task(task)], DataOptions(), options).tasks[0]
    prompt = build_prompt(own.task, own.demonstrations, options, retrievable=own.retrievable)
    encoder, chosen = base.encoder(own.name), own.test[:batch]
    training = encoder.training_rows(prompt, [(i.id, i.input, i.outputs[0]) for i in chosen])
    return training, encoder.decoding_rows(prompt, [(i.id, i.input) for i in chosen], 16)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--task", default="summarization_en")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="fp32")
    chosen = parser.parse_args()
    base = xeric.load_base(chosen.base, device="cpu", precision=chosen.precision)
    made = {choice: rows(base, chosen.task, chosen.batch, choice) for choice in CHOICES}
    print(f"{torch.get_num_threads()} threads; {demonstrations_note([made['nearest'][0]])}", flush=True)

    def step(task: EncodedTask) -> None:
        for batch in Rows.of([task]).micro_batches(chosen.batch, base.batching()):
            step_loss(base, [batch])

    works: dict[str, Callable[[str], object]] = {
        "scoring": lambda choice: dev_loss(base, [made[choice][0]], batch_size=chosen.batch),
        "decoding": lambda choice: decode(base, made[choice][1], DecodeOptions(batch_size=chosen.batch), max_new_tokens=16),
        "LoRA step": lambda choice: step(made[choice][0]),
    }
    for name, work in works.items():
        if name == "LoRA step":
            METHODS.get("lora").attach(base, method_options("lora"), seed=0)
        times: dict[str, list[float]] = {choice: [] for choice in CHOICES}
        for _ in range(chosen.repeats + 1):  # the first of each warms up
            for choice in CHOICES:
                times[choice].append(timeit(lambda choice=choice, work=work: work(choice), timer=time.process_time, number=1))  # type: ignore[misc]
        fixed, nearest = (statistics.median(times[choice][1:]) for choice in CHOICES)
        print(f"{name:10}  fixed {fixed:.2f} s  nearest {nearest:.2f} s  {nearest / fixed:.2f} times", flush=True)


if __name__ == "__main__":
    main()
