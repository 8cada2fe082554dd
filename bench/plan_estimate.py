"""How far are the times and the memory that `xeric study plan` derives from those of the runs themselves?

    OMP_NUM_THREADS=1 python bench/plan_estimate.py BASE TASK... --tasks-dir DIR -o OUT [--methods lora full bottleneck]
                      [--steps 5] [--set key=value ...]

A short study (a few steps, sixteen test texts per task) is planned, then carried out, and both are printed side by side. Times
are processor times of this process, so that others on the machine do not matter: one thread, no GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from xeric.config import apply_overrides, build
from xeric.execution import speeds
from xeric.execution.preview import estimated, preview
from xeric.execution.run_study import run_study
from xeric.progress import Silent
from xeric.record_io import read_record
from xeric.studies.config import StudyConfig


class PrintedNotes(Silent):
    def note(self, text: str) -> None:
        print(text, flush=True)


def study_of(options: argparse.Namespace) -> StudyConfig:
    data: dict[str, Any] = {
        "name": "plan-estimate",
        "title": "Planned and measured",
        "bases": {"base": options.base},
        "tasks": options.tasks,
        "tasks_dirs": options.tasks_dir,
        "methods": {name: {"name": name} for name in options.methods},
        "run": {
            "data": {"n_train": 100, "max_test": 16},
            "train": {"max_steps": options.steps, "dev_every": options.steps},
            "decode": {"max_new_tokens": 24},
            "metrics": ["chrf", "bleu"],
            "device": "cpu",
            "precision": "fp32",
        },
        "seeds": [0],
        "grids": {"methods": {}, "settings": {"methods": options.methods[:1], "settings": ["few-shot", "zero-shot"]}},
        "baselines": False,
    }
    return build(StudyConfig, apply_overrides(data, options.set))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--tasks-dir", default=[], action="append")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["lora", "full", "bottleneck"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--set", default=[], action="append")
    options = parser.parse_args()
    cache = Path(tempfile.mkdtemp())

    # Everything that is timed here asks this clock.
    time.perf_counter = time.process_time
    # Speeds by another clock are neither taken from the cache folder nor left there.
    speeds.home = lambda: cache
    study, progress = study_of(options), PrintedNotes()
    start = time.process_time()
    previewed = estimated(preview(study, options.output, progress=progress), progress=progress)
    print(f"planned in {time.process_time() - start:.0f} s")
    done = run_study(study, options.output, progress=progress)
    print("\n| arm | planned | measured | ratio | memory planned | measured | ratio |\n|---|---:|---:|---:|---:|---:|---:|")
    assert previewed.estimate is not None
    planned = {arm.key: arm for arm in previewed.estimate.arms}
    for run in done.plan.runs:
        record, arm = read_record(done.folder.run_folder(run.id)), planned[run.arm.key]
        assert record is not None
        seconds, memory = sum(record.cost["seconds"].values()), record.cost["peak_memory_bytes"]
        runs = [f"{arm.seconds:.0f} s", f"{seconds:.0f} s", f"{arm.seconds / seconds:.2f}"]
        runs += [f"{arm.memory / 2**30:.1f} GiB", f"{memory / 2**30:.1f} GiB", f"{arm.memory / memory:.2f}"]
        print(f"| {' | '.join([run.arm.label, *runs])} |")


if __name__ == "__main__":
    main()
