"""Commands from a cold start: a process of its own each time, the files in the system's cache after the first."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scoring import rows_of
from bench.speed.jobs import Jobs
from xeric.data.catalog import Catalog

PAIRS = 100
_START = "from xeric.cli import main; main()"


def measure(jobs: Jobs, repeats: int, task: str, tasks_dirs: Sequence[str], study: Path | None) -> dict[str, Any]:
    """Return seconds of each command, repeat by repeat; without a finished study there is no report to write."""
    predictions = jobs.folder / "predictions.jsonl"
    write_predictions(predictions, task, tasks_dirs)
    commands = {"--help": ["--help"], "score": ["score", str(predictions)]}
    seconds: dict[str, Any] = {}
    if study:
        commands["report"] = ["report", str(study)]
    for _ in range(repeats):
        for name, words in commands.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", _START, *words], env=jobs.environment, cwd=jobs.folder, check=True, capture_output=True
            )
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return {"seconds": seconds, "pairs": PAIRS, "report": bool(study)}


def write_predictions(path: Path, task: str, tasks_dirs: Sequence[str]) -> None:
    loaded = Catalog.of(list(tasks_dirs)).load(task)
    texts, references, inputs, language = rows_of(loaded, PAIRS, 1)
    rows = [
        {"id": str(number), "task": task, "language": language, "input": given, "prediction": text, "references": list(several)}
        for number, (text, several, given) in enumerate(zip(texts, references, inputs, strict=True))
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
