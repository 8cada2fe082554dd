"""What do pictures add? One task with its pictures, with those of other instances, with blank ones, and without any.

    python bench/pictures.py TASK_FILE [KEY=VALUE...] [--base NAME] [--steps 40] [--max-test 60] [--seeds 0] [-o OUT]

Every arm is LoRA with the same rows, steps and seeds; ``own``, ``pixels``, ``shuffled`` and ``blank`` have a picture prefix
beside it, with as many trained numbers (``pixels`` fewer: it has fewer features), ``none`` has LoRA alone.
`tools/picture_tasks.py` makes task files. What is finished stays in OUT and is not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import xeric
from xeric.config import apply_overrides
from xeric.metrics import compare_predictions
from xeric.record_io import read_predictions

PICTURE = {"name": "combined", "prefix": False, "embedding": False}
ARMS: dict[str, tuple[dict[str, Any], str]] = {
    "own": ({**PICTURE, "picture": {}}, "own"),
    "none": ({"name": "lora"}, "own"),
    "shuffled": ({**PICTURE, "picture": {}}, "shuffled"),
    "blank": ({**PICTURE, "picture": {}}, "blank"),
    "pixels": ({**PICTURE, "picture": {"encoder": "pixels"}}, "own"),
}
METRICS = ["chrf", "rouge_l", "length_ratio"]


def main() -> None:
    parser = argparse.ArgumentParser(description="What pictures add.")
    parser.add_argument("task", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--n-train", type=int, default=320)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--max-test", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("-o", "--output-dir", type=Path, default=Path("bench-pictures"))
    given = parser.parse_intermixed_args()
    task = xeric.load_task(str(given.task))
    base = xeric.load_base(given.base, device="cpu", precision="fp32")
    for seed in given.seeds:
        for arm in given.arms:
            method, pictures = ARMS[arm]
            prompt = {"demonstrations": 0, "template": "plain", "pictures": pictures}
            data = xeric.prepare(task, prompt=prompt, n_train=given.n_train, max_test=given.max_test)
            train = {"max_steps": given.steps, "batch_size": 8, "weighting": {"name": "uniform"}}
            settings: dict[str, Any] = {"train": train, "seed": seed, "metrics": METRICS, "decode": {"max_new_tokens": 24}}
            settings = apply_overrides(settings, given.overrides)
            run = xeric.train(base, data, method=method, output=given.output_dir / f"{arm}-{seed}", **settings)
            show(given.output_dir, arm, seed, run.record.scores)


def show(folder: Path, arm: str, seed: int, scores: Any) -> None:
    """Print an arm's scores, how many answers are right to the letter, and the difference to the arm with its own pictures."""
    rows = read_predictions(folder / f"{arm}-{seed}" / "predictions.jsonl")
    exact = sum(row.prediction.strip().casefold() in {r.casefold() for r in row.references} for row in rows)
    first = sum(row.prediction.split(",")[0].strip().casefold() in words(row.references) for row in rows)
    line: dict[str, Any] = {"arm": arm, "seed": seed, "exact": exact, "first_keyword_right": first, "of": len(rows)}
    line |= {name: round(score.score, 2) for name, score in scores.items()}
    line["different_texts"] = len({row.prediction for row in rows})
    own = folder / f"own-{seed}" / "predictions.jsonl"
    if arm != "own" and own.is_file():
        difference = compare_predictions(read_predictions(own), rows, ["chrf"])
        line["own_minus_this"] = str(difference)
    print(json.dumps(line, ensure_ascii=False, default=str), flush=True)


def words(references: tuple[str, ...]) -> set[str]:
    """Return the keywords of all references."""
    return {word.strip().casefold() for reference in references for word in reference.split(",")}


if __name__ == "__main__":
    main()
