"""The commented study file that ``xeric study new`` writes: complete with bases and tasks, the rest commented out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from xeric.errors import UserError
from xeric.files import write_atomically, writing

__all__ = ["new_study_text", "write_new_study"]

_TEMPLATE = """\
# A study of one's own: which way of adapting which base is best for which tasks. It is complete as it is. What is commented out
# are the defaults, unless said otherwise: take a "#" away to change one.
#
#   xeric study check {file}            every mistake at once, each with its line
#   xeric study plan {file}             what it computes, how long that takes, and which differences it can detect
#   xeric study run {file} -o out       carries it out; the same command goes on where it was
#   xeric report out
#
# Every setting: docs/reference/study-file.md

# What is adapted: names of `xeric bases list`, .gguf files, folders, hub ids.
bases: {bases}

# What it is adapted to: names of `xeric tasks list`; `xeric tasks import` makes one of a CSV file.
tasks: {tasks}
{tasks_dirs}
# Ways of adapting (`xeric list methods`). One with options of its own: {{name: lora, rank: 8}}.
# methods: [full, lora, bottleneck, prefix, combined]

# Settings of every run. Not the defaults: smaller ones, for a first try.
# run:
#   data: {{n_train: 50, max_test: 20}}
#   train: {{max_steps: 20}}

# Every arm is run once per seed; differences smaller than those between seeds are not shown.
# seeds: [0, 1, 2]

# The same number of trials of learning rate and size for every method, chosen on dev. Not the default: nothing is tuned.
# tuning: {{trials: 4, seed: 1000}}

# What is compared: each grid is a product of bases, methods, settings and training sizes. With grids of its own, a study says
# itself which tables, figures and claims it has.
# grids:
#   methods: {{settings: [instruction]}}
#   prompting: {{settings: [few-shot, zero-shot]}}
# tables:
#   methods: {{title: "Methods and prompting", grids: [methods, prompting]}}
# figures:
#   methods: {{title: "Methods and prompting", grids: [methods, prompting]}}
#   cost: {{title: "Quality against cost", kind: pareto, grids: [methods]}}
# claims:
#   settings:
#     sentence: "LoRA surpasses few-shot prompting."
#     metrics: [chrf]
#     chain:
#       - {{base: {label}, method: lora}}
#       - {{base: {label}, method: none, setting: few-shot}}
"""


def new_study_text(bases: Sequence[str], tasks: Sequence[str], tasks_dirs: Sequence[str], *, label: str, file: str) -> str:
    """Return a study file with comments.

    Args:
        bases: names of bases.
        tasks: names of tasks.
        tasks_dirs: folders to look for them in.
        label: of the first base, as the study knows it.
        file: the file's path, for the commands in its comments.
    """
    folders = f"tasks_dirs: {_flow(tasks_dirs)}\n" if tasks_dirs else ""
    return _TEMPLATE.format(bases=_flow(bases), tasks=_flow(tasks), tasks_dirs=folders, label=label, file=file)


def _flow(values: Sequence[str]) -> str:
    """Return a YAML list on one line; JSON is YAML."""
    return json.dumps(list(values), ensure_ascii=False)


def write_new_study(path: Path, text: str) -> None:
    """Write a study file that was not there before.

    Raises:
        UserError: there is a file of this name.
        StorageError: the file system refuses.
    """
    with writing(path):
        if path.exists() or path.is_symlink():
            raise UserError("is there already", where=str(path), hint="name another file with -o")
    write_atomically(path, text)
