"""The memory that a training is expected to take, against its peak: two steps of every method on each base.

    python bench/memory.py [--base gemma-3-270m] [--base smollm2-135m] [--method lora] [--task email_completion_en] [--batch 8]

Each training is a process of its own, as memory that an earlier one has freed would count as held. Estimate and peak are those of
the run's record (``cost``), base and libraries included; the last column leaves out what was held before the training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

METHODS = ("full", "lora", "bottleneck", "prefix", "combined")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", action="append", default=[])
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--tasks-dir", action="append", default=[])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    print("| base | method | estimate, GiB | peak, GiB | estimate / peak | training alone |\n|---|---|---:|---:|---:|---:|")
    for base in options.base or ["gemma-3-270m", "smollm2-135m"]:
        for method in options.method or METHODS:
            cost = cost_of(base, method, options)
            estimate, peak = cost["memory_estimate_bytes"], cost["peak_memory_bytes"]
            alone = (estimate["total"] - estimate["held"]) / max(peak - estimate["held"], 1)
            ratio = f"{estimate['total'] / peak:.2f} | {alone:.2f}"
            print(f"| {base} | {method} | {estimate['total'] / 2**30:.2f} | {peak / 2**30:.2f} | {ratio} |", flush=True)


def cost_of(base: str, method: str, options: argparse.Namespace) -> dict[str, object]:
    """Return the cost of a run of two steps that decodes one text of two tokens."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = ["train.max_steps=2", f"train.batch_size={options.batch}", "data.max_test=1", "decode.max_new_tokens=2"]
        words = ["train", *(options.task or ["email_completion_en"]), "--base", base, "--method", method, "-o", str(out)]
        folders = [word for directory in options.tasks_dir for word in ("--tasks-dir", directory)]
        command = [sys.executable, "-c", "from xeric.cli import main; main()", *words, *folders, "--precision", options.precision]
        subprocess.run([*command, *settings], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cost: dict[str, object] = json.loads((out / "record.json").read_text(encoding="utf-8"))["cost"]
        return cost


if __name__ == "__main__":
    main()
