"""A small study on tiny bases and tasks, and what a study's folder holds apart from what it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xeric.config import apply_overrides, build
from xeric.studies.config import StudyConfig


def plain(tasks: Path, base: Path, *overrides: str) -> dict[str, Any]:
    """A study as its file would hold it: two methods, three settings, two seeds, tuned."""
    data: dict[str, Any] = {
        "name": "small",
        "title": "A small study",
        "bases": {"tiny": str(base)},
        "tasks": ["one", "two"],
        "tasks_dirs": [str(tasks)],
        "methods": {"lora": {"name": "lora", "rank": 2}, "full": {"name": "full"}},
        "run": {
            "data": {"n_train": 50, "max_test": 6},
            "prompt": {"demonstrations": 1},
            "train": {"max_steps": 3, "checkpoint_seconds": 0.0},
            "decode": {"max_new_tokens": 5},
            "metrics": ["chrf", "rouge_l"],
            "device": "cpu",
        },
        "seeds": [0, 1],
        "grids": {"methods": {}, "settings": {"methods": ["lora"], "settings": ["zero-shot", "few-shot", "instruction"]}},
        "tuning": {"trials": 2, "seed": 1000},
    }
    return apply_overrides(data, overrides)


def study(tasks: Path, base: Path, *overrides: str) -> StudyConfig:
    return build(StudyConfig, plain(tasks, base, *overrides))


def contents(folder: Path) -> dict[str, Any]:
    """Every byte of a study's folder, what it cost apart."""
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            files[name] = None
        elif path.name == "times.jsonl":
            continue
        elif path.name == "results.json":
            # What is cheapest, and what all of it cost, is a matter of cost too.
            results = _without_cost(json.loads(path.read_text()))
            files[name] = {key: value for key, value in results.items() if key not in ("recommendation", "provenance")}
        elif path.name in ("record.json", "tuning.json", "stage.json", "search.json"):
            files[name] = _without_cost(json.loads(path.read_text()))
        else:
            files[name] = path.read_bytes()
    return files


def holder_pid(lock: Path) -> int:
    """The process that a lock's file names."""
    return int(json.loads(lock.read_text())["pid"])


def _without_cost(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_cost(inner) for key, inner in value.items() if key not in ("cost", "seconds", "memory")}
    return [_without_cost(inner) for inner in value] if isinstance(value, list) else value
