"""Which way of decoding suits a task? Chosen on its dev set, measured on its test set. chrF++; nothing is trained.

    python bench/decoding_choice.py RUN... --tasks-dir DIR [--ways greedy beam mbr-8 mbr-32] [--no-repeat-ngram 3]

RUN is a run folder of one task with its adapter, as ``xeric train TASK ... -o RUN`` leaves it. Runs of a task stand side by side:
the first decodes the dev set in every way; all of them decode the test set in the way that came out best, and that stands beside
the best trivial baseline of the test set. What was decoded stays in the run folder, ``decoded/``: what was stopped goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import xeric
from xeric.config import build
from xeric.data.baselines import BASELINES, SEEDED, baseline_predictions
from xeric.data.preparing import Prepared, PreparedTask
from xeric.decoding import DecodeOptions
from xeric.json_io import write_jsonl
from xeric.record_io import read_predictions
from xeric.records import Prediction
from xeric.run.adapted import open_adapted
from xeric.run.config import RunConfig
from xeric.run.execute import prepare_run
from xeric.yaml_io import load_yaml

METRIC = "chrf"


def options_of(way: str, no_repeat: int) -> DecodeOptions:
    """``greedy``, ``beam``, or ``mbr-N`` with N candidates."""
    strategy, _, candidates = way.partition("-")
    count = {"candidates": int(candidates)} if candidates else {}
    return build(DecodeOptions, {"strategy": strategy, "no_repeat_ngram": no_repeat, "batch_size": 32, **count})


def decoded(run: Path, task: PreparedTask, part: str, way: str, no_repeat: int) -> list[Prediction]:
    path = run / "decoded" / f"{part}-{way}-{no_repeat}.jsonl"
    if path.is_file():
        return read_predictions(path)
    instances = getattr(task, part)
    adapted = replace(open_adapted(run), options=options_of(way, no_repeat))
    texts = adapted.answer([instance.input for instance in instances], task.name)
    rows = [
        Prediction(
            id=instance.id,
            task=task.name,
            language=task.language,
            input=instance.input,
            prediction=text,
            references=instance.outputs,
        )
        for instance, text in zip(instances, texts, strict=True)
    ]
    path.parent.mkdir(exist_ok=True)
    write_jsonl(path, rows)
    return rows


def score(rows: list[Prediction]) -> float:
    return xeric.score(rows, [METRIC])[METRIC].score


def best_trivial(data: Prepared, seeds: Sequence[int]) -> float:
    """The best of the trivial baselines on the test set; where they draw, the mean of one draw per seed."""
    return max(
        statistics.fmean(score(baseline_predictions(name, data, "test", seed)) for seed in (seeds if name in SEEDED else (0,)))
        for name in BASELINES
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--tasks-dir", default=[], action="append")
    parser.add_argument("--ways", nargs="+", default=["greedy", "beam", "mbr-8", "mbr-32"])
    parser.add_argument("--no-repeat-ngram", type=int, default=3)
    options = parser.parse_args()
    print(f"| task | {' | '.join(f'dev: {way}' for way in options.ways)} | test | best trivial baseline |")
    print(f"|---|{'---:|' * (len(options.ways) + 2)}")
    configs = {run: build(RunConfig, load_yaml(run / "config.yaml")) for run in options.runs}
    for _, group in groupby(configs, key=lambda run: configs[run].tasks):
        runs = list(group)
        places = (*configs[runs[0]].tasks_dirs, *options.tasks_dir)
        data = prepare_run(configs[runs[0]].model_copy(update={"tasks_dirs": places}))
        (task,) = data.tasks
        dev = {way: score(decoded(runs[0], task, "dev", way, options.no_repeat_ngram)) for way in options.ways}
        chosen = max(dev, key=lambda way: dev[way])
        scores = [score(decoded(run, task, "test", chosen, options.no_repeat_ngram)) for run in runs]
        trivial = best_trivial(data, [configs[run].seed for run in runs])
        each = ", ".join(f"{test_score:.1f}" for test_score in scores)
        runs = [f"{value:.1f}" for value in dev.values()]
        test = f"{chosen}: {statistics.fmean(scores):.1f} ({each})"
        print(f"| {task.name} | {' | '.join(runs)} | {test} | {trivial:.1f} |", flush=True)


if __name__ == "__main__":
    main()
