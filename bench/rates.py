"""Which learning rate suits a method? chrF++ of the dev set after training at each, the rest of the settings as they stand.

    python bench/rates.py TASK... [KEY=VALUE...] --method NAME [--rates 1e-5 1e-4] [--base NAME] [--tasks-dir DIR] [-o OUT]

Source tasks only: what defaults are chosen on is never what methods are compared on. The test set is not looked at. A third of
the examples are dev. What is finished stays in OUT and is not computed again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import xeric
from xeric.config import apply_overrides, digest
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.records import PREDICTION_FILES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="TASK or KEY=VALUE")
    parser.add_argument("--method", required=True)
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-5, 1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tasks-dir", action="append", default=[])
    parser.add_argument("--n-train", type=int, default=150)
    parser.add_argument("-o", "--output", type=Path, default=Path("rates"))
    options = parser.parse_args()
    words = [word for word in options.words if "=" in word]
    tasks = [word for word in options.words if "=" not in word]
    base = xeric.load_base(options.base, precision=options.precision)
    print(f"| {options.method}: rate | {' | '.join(tasks)} | mean |\n|---|{'---:|' * (len(tasks) + 1)}")
    for rate in options.rates:
        scores = []
        for name in tasks:
            settings = apply_overrides({"train": {"lr": rate}, "method": {"name": options.method}}, words)
            chosen = {"n_train": options.n_train, "dev_fraction": 1 / 3, "max_test": 1}
            data = xeric.prepare(
                xeric.load_task(name, tasks_dir=options.tasks_dir), prompt=settings.pop("prompt", None), **chosen
            )
            label = digest([options.base, base.precision, chosen, settings])[:8]
            folder = options.output / name / f"{options.method}-{rate:g}-{label}"
            run = xeric.train(base, data, output=folder, predict=["dev"], **settings)
            if run.record.status != "ok":
                scores.append(0.0)
                continue
            rows = read_predictions(folder / PREDICTION_FILES["dev"])
            scores.append(score_predictions(rows, ["chrf"], resamples=0).scores["chrf"].score)
        print(f"| {rate:g} | {' | '.join(f'{score:.1f}' for score in scores)} | {statistics.fmean(scores):.1f} |", flush=True)


if __name__ == "__main__":
    main()
