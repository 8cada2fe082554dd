"""Optimiser steps and greedy tokens per second with the task prefix computed once, against plain computation of the same rows.

    python bench/shared_prefix.py [--base gemma-3-270m] [--batch 8] [--prefix 118] [--row 52] [--repeats 5]

Both ways run in one process on the same rows, interleaved; what counts is the ratio of the medians. Beside the rates
stands the share of row tokens that the prefix makes up, which bounds what can be saved.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from timeit import timeit

import torch

import xeric
from xeric.data.rows import EncodedTask, InstanceRow, PrefixRow
from xeric.decoding import DecodeOptions, decode
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.loss import Rows, step_loss


def make_rows(prefix: int, row: int, batch: int, *, target: int) -> EncodedTask:
    """Rows of about ``row`` tokens, a third more or less, behind a prefix, as a definition and demonstrations give."""
    torch.manual_seed(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 8000, (count,)).tolist())

    lengths = torch.linspace(row * 2 / 3 - target, row * 4 / 3 - target, batch).int().tolist()
    rows = tuple(
        InstanceRow(str(n), 0, ids(length + target), (0,) * (length + target), length) for n, length in enumerate(lengths)
    )
    return EncodedTask("bench", (PrefixRow("bench", ids(prefix), (0,) * prefix, 2),), rows)


def compare(name: str, work: Callable[[bool], object], units: int, repeats: int) -> None:
    """Time both ways in turn and print medians and their ratio."""
    work(True), work(False)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repeats):
        for shared in (True, False):
            times[shared].append(timeit(lambda way=shared: work(way), number=1))  # type: ignore[misc]
    shared, plain = (statistics.median(times[way]) for way in (True, False))
    print(f"{name:24} shared {units / shared:9.2f}/s   plain {units / plain:9.2f}/s   ratio {plain / shared:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prefix", type=int, default=118)
    parser.add_argument("--row", type=int, default=52)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    base = xeric.load_base(options.base, precision=options.precision)
    task = make_rows(options.prefix, options.row, options.batch, target=16)
    inputs = make_rows(options.prefix, options.row, options.batch, target=0)
    whole = sum(options.prefix + len(row.ids) for row in task.rows)
    print(
        f"{options.base}, {base.precision}: batch {options.batch}, prefix {options.prefix} tokens, "
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
