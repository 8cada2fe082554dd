"""Optimiser steps and greedy tokens a second with the task prefix computed once, against the plain computation of the same rows.

    python bench/shared_prefix.py [--size small|large] [--batch 16] [--prefix 292] [--repeats 7]

Both ways run in one process on the same rows, interleaved; what counts is the ratio of the medians. Beside the rates
stands the share of row tokens that the prefix makes up, which bounds what can be saved.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from xeric.bases.base import Base
from xeric.data.encoding import EncodedTask, InstanceRow, PrefixRow
from xeric.decoding import DecodeOptions, decode
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.loss import Rows, step_loss

SIZES = {
    "small": dict(hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=4, vocab_size=8192),
    "large": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, vocab_size=49152),
}


class _Text:
    """Stands in for a tokenizer: decoding is timed, its text is not looked at."""

    pad_token_id = 0

    def decode(self, ids: list[int], **_: object) -> str:
        return " ".join(map(str, ids))


def make_base(size: str) -> Base:
    torch.manual_seed(0)
    config = LlamaConfig(max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2, **SIZES[size])
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    tokenizer: object = _Text()
    return Base("bench", Path(), model, tokenizer, "causal", 2048, 1, (2,), 0, "fp32", torch.device("cpu"), {})  # type: ignore[arg-type]


def make_rows(prefix: int, batch: int, *, target: int) -> EncodedTask:
    """Rows of 100 to 140 input tokens behind a prefix, as a task with a definition and two demonstrations gives."""
    torch.manual_seed(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 8000, (count,)).tolist())

    lengths = torch.linspace(100, 140, batch).int().tolist()
    rows = tuple(
        InstanceRow(str(n), 0, ids(length + target), (0,) * (length + target), length) for n, length in enumerate(lengths)
    )
    return EncodedTask("bench", (PrefixRow("bench", ids(prefix), (0,) * prefix, 2),), rows)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, work: Callable[[bool], object], units: int, repeats: int) -> None:
    """Time both ways in turn and print medians and their ratio."""
    work(True), work(False)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repeats):
        for shared in (True, False):
            times[shared].append(seconds(lambda way=shared: work(way)))  # type: ignore[misc]
    shared, plain = (statistics.median(times[way]) for way in (True, False))
    print(f"{name:24} shared {units / shared:9.2f}/s   plain {units / plain:9.2f}/s   ratio {plain / shared:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prefix", type=int, default=292)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    base = make_base(options.size)
    task = make_rows(options.prefix, options.batch, target=27)
    inputs = make_rows(options.prefix, options.batch, target=0)
    whole = sum(options.prefix + len(row.ids) for row in task.rows)
    print(
        f"{options.size}: {base.parameters / 1e6:.1f}M parameters, batch {options.batch}, prefix {options.prefix} tokens, "
        f"{options.prefix * options.batch / whole:.0%} of the row tokens, {torch.get_num_threads()} threads"
    )
    new = 32
    compare(
        "decoding, tokens",
        lambda way: decode(base, inputs, DecodeOptions(batch_size=options.batch), max_new_tokens=new, shared=way),
        new * options.batch,
        options.repeats,
    )
    for name in ("lora", "full"):
        adaptation = METHODS.get(name).attach(base, method_options(name), seed=0)
        items = Rows.of([task]).items

        def step(shared: bool) -> None:
            base.model.zero_grad()
            step_loss(base, [items], shared=shared)  # noqa: B023

        compare(f"{name}, steps", step, 1, options.repeats)
        adaptation.detach()


if __name__ == "__main__":
    main()
