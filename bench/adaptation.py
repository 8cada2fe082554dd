"""Does a base, adapted on a few hundred examples, beat what needs no learning? chrF++ on the test set, by task and method.

    python bench/adaptation.py BASE TASK... --tasks-dir DIR -o OUT [--methods lora full] [--seeds 0 1 2] [--n-train 400]
                               [--lr lora=1e-3 --lr full=3e-4] [key=value ...]

The trivial baselines are those of every study: the input as it is and cut to the length of the targets, its first sentences, a
demonstration, a random training output (one draw a seed). A method beats them on a task if its mean over the seeds is above each
of those that it is judged against (the whole input is not, unless targets are as long). Every run has its own folder
``OUT/TASK/METHOD-sSEED``: a measurement that was stopped goes on, and the table can be printed again without computing anything.
The settings are the defaults, never chosen by these test sets; choose others on tasks that are not measured.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xeric
from xeric.cli.progress import TerminalProgress
from xeric.config import apply_overrides
from xeric.data.baselines import BASELINES, SEEDED, baseline_predictions, baselines_of
from xeric.data.preparing import Prepared
from xeric.errors import UserError
from xeric.records import write_json

METRIC = "chrf"


def prepare(name: str, options: argparse.Namespace, settings: dict[str, Any]) -> Prepared:
    """The task with as many examples as asked for, or all it has where that is less."""
    task = xeric.load_task(name, tasks_dir=options.tasks_dir)
    chosen = {"prompt": settings.get("prompt"), **settings.get("data", {})}
    try:
        return xeric.prepare(task, **{"n_train": options.n_train, **chosen})
    except UserError as error:
        print(f"{name}: {error}; all that it has are used")
        return xeric.prepare(task, **chosen)


def trivial_scores(data: Prepared, seeds: Sequence[int]) -> dict[str, float]:
    return {
        name: statistics.fmean(
            xeric.score(baseline_predictions(name, data, "test", seed), [METRIC])[METRIC].score
            for seed in (seeds if name in SEEDED else (0,))
        )
        for name in baselines_of(data)
    }


def best_trivial(data: Prepared, scores: dict[str, float]) -> float:
    return max(scores[name] for name, gates in baselines_of(data).items() if gates)


def adapted_scores(
    base: Any, data: Prepared, method: str, folder: Path, options: argparse.Namespace, settings: dict[str, Any]
) -> list[float | None]:
    """One score a seed; None where a run diverged."""
    rest = {key: value for key, value in settings.items() if key not in ("data", "prompt")}
    if method in options.lr:
        rest["train"] = {**rest.get("train", {}), "lr": options.lr[method]}
    found: list[float | None] = []
    for seed in options.seeds:
        with TerminalProgress() as progress:
            place = folder / f"{method}-s{seed}"
            run = xeric.train(
                base, data, method=method, output=place, progress=progress, seed=seed, **{"metrics": [METRIC], **rest}
            )
        found.append(run.scores[METRIC].score if run.record.status == "ok" else None)
    return found


def row_of(name: str, base: Any, options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    data = prepare(name, options, settings)
    (task,) = data.tasks
    runs = {method: adapted_scores(base, data, method, options.output / name, options, settings) for method in options.methods}
    means = {m: statistics.fmean(s for s in scores if s is not None) for m, scores in runs.items() if None not in scores}
    trivial = trivial_scores(data, options.seeds)
    sizes = {"train": len(task.train), "dev": len(task.dev), "test": len(task.test)}
    beats = [method for method, mean in means.items() if mean > best_trivial(data, trivial)]
    return {"task": name, "language": task.language, **sizes, "trivial": trivial, "runs": runs, "means": means, "beats": beats}


def table(rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> str:
    headings = ["task", "train + dev / test", *(name.replace("_", " ") for name in BASELINES), *methods, "beats those that gate"]
    lines = [f"| {' | '.join(headings)} |", f"|---|---|{'---:|' * (len(BASELINES) + len(methods))}---|"]
    for row in rows:
        trivial = [f"{row['trivial'][name]:.1f}" if name in row["trivial"] else "" for name in BASELINES]
        adapted = [
            f"{row['means'][m]:.1f} ({', '.join(f'{score:.1f}' for score in row['runs'][m])})"
            if m in row["means"]
            else "diverged"
            for m in methods
        ]
        size = f"{row['train']} + {row['dev']} / {row['test']}"
        lines.append(f"| {' | '.join([row['task'], size, *trivial, *adapted, ', '.join(row['beats']) or 'none'])} |")
    wins = {method: sum(method in row["beats"] for row in rows) for method in methods}
    lines += [
        f"\n{method} beats every trivial baseline that gates on {count} of {len(rows)} tasks" for method, count in wins.items()
    ]
    return "\n".join([*lines, f"\none of them does on {sum(bool(row['beats']) for row in rows)} of {len(rows)} tasks"])


def rates(pairs: Sequence[str]) -> dict[str, float]:
    return {method: float(rate) for method, _, rate in (pair.partition("=") for pair in pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("tasks", nargs="+", metavar="TASK", help="tasks by name; settings (train.epochs=5) may stand among them")
    parser.add_argument("--tasks-dir", default=[], action="append")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["lora", "full"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-train", type=int, default=400)
    parser.add_argument("--lr", action="append", default=[], metavar="METHOD=RATE")
    options = parser.parse_intermixed_args()
    options.lr = rates(options.lr)
    settings = apply_overrides({}, [word for word in options.tasks if "=" in word])

    base = xeric.load_base(options.base)
    rows: list[dict[str, Any]] = []
    for name in (word for word in options.tasks if "=" not in word):
        rows.append(row_of(name, base, options, settings))
        print(table(rows[-1:], options.methods).splitlines()[2], flush=True)
        write_json(options.output / "table.json", {"base": options.base, "sha256": base.sha256, "rows": rows})
    print(f"\n{METRIC} on the test sets, mean of seeds {options.seeds} (each seed); base {options.base}\n")
    print(table(rows, options.methods))


if __name__ == "__main__":
    main()
