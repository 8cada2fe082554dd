"""What a run leaves behind: the schema of its record and predictions, and the versions that made them.

A run folder holds ``config.yaml``, ``predictions.jsonl``, ``adapter/``, ``log.jsonl``, ``times.jsonl`` and, written last,
``record.json``: its presence means that the run is done. Everything in it repeats byte for byte when the run is repeated, except
what stands in the record under ``cost``, and ``times.jsonl``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Literal

from pydantic import Field

from xeric.config import Config

__all__ = [
    "BEFORE_FILE",
    "MANY_AT_LIMIT",
    "PREDICTION_FILES",
    "RECORD_FILE",
    "RESULT_VERSION",
    "GateValue",
    "Prediction",
    "Record",
    "Score",
    "Split",
    "TaskResult",
    "TrivialScores",
    "length_share",
    "versions",
]

RESULT_VERSION = 5
"""Raised when the same config, data and base would give other results; part of every ``run_id``."""

RECORD_FILE = "record.json"

Split = Literal["test", "dev"]
PREDICTION_FILES: Mapping[Split, str] = {"test": "predictions.jsonl", "dev": "dev_predictions.jsonl"}
"""Where a run's predictions lie, by the part of the data they are for."""

BEFORE_FILE = "before.jsonl"
"""Where the texts of the base before it was adapted lie; no part of a run."""

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "sacrebleu", "rapidfuzz", "nltk", "snowballstemmer", "numpy")


class Score(Config):
    """One measure of one set of predictions.

    Attributes:
        score: the point estimate, 0-100 for the quality metrics.
        low: lower end of its 95% interval; None where no interval is defined.
        high: upper end.
        signature: every choice that can move the number.
    """

    score: float
    low: float | None = None
    high: float | None = None
    signature: str


class Prediction(Config):
    """One line of ``predictions.jsonl``.

    Attributes:
        group: what the instance belongs to (a customer, a thread), where that is known: rows of a group are not independent, so
            intervals and tests draw them together. Not written where it is None.
    """

    id: str
    task: str
    language: str
    input: str
    prediction: str
    references: tuple[str, ...] = Field(min_length=1)
    group: str | None = Field(default=None, exclude_if=lambda group: group is None)


class TaskResult(Config):
    """What a run found on one task.

    Attributes:
        scores: by metric name.
        data: how many instances were read, dropped (by reason), trained on, held out, tested, cut, and how the texts ended, by
            part: by an end token (``eos``), a stop text (``stop``) or the limit of new tokens (``length``).
        fingerprint: SHA-256 of the instances really used.
    """

    scores: dict[str, Score]
    data: dict[str, Any]
    fingerprint: str


class TrivialScores(Config):
    """What a trivial baseline scores on a run's test set.

    Attributes:
        scores: macro mean over tasks, by metric name.
        tasks: by task and metric name.
    """

    scores: dict[str, Score]
    tasks: dict[str, dict[str, Score]]


class GateValue(Config):
    """What one gate of a combined method has learned.

    Attributes:
        layer: name in the base's model of the layer that it is on; ``embedding`` for that of fused embeddings.
        mean: its value; the mean over tokens where it depends on them.
        low: what 5% of the tokens have at most; the value itself where it does not depend on them.
        high: what 5% of the tokens have at least; likewise.
    """

    layer: str
    mean: float
    low: float
    high: float


class Record(Config):
    """A finished run; see the module's text.

    Attributes:
        status: ``ok``, ``failed`` (with ``error``) or ``diverged`` (the loss was no longer finite).
        scores: macro mean over tasks, by metric name; empty unless ``ok``.
        score_notes: what a reader of the scores must know, by metric and task: why one is not there, or what it rests on.
        baselines: trivial baselines that the run is to be judged against, by name, scored by chrF++ and the paper's three metrics
            (or what of them the run was scored by).
        parameters: ``trainable`` and ``total``.
        task_weights: lambda of each task in the joint loss, after the last step (``log.jsonl`` has them all).
        gates: what the gates of a combined method have learned, by part; empty where there are none.
        resolved: what stands for settings that the run's config leaves open, by dotted path.
        source: the run that this one went on from: its id, the hash of its adaptation, and how that carries over (``parameters``,
            or ``merged`` into the base's weights); empty where it started from the base.
        stages: what was trained before the run's own tasks, in order: hash, method, tasks or texts, leaks, steps.
        base: name, architecture and weights' SHA-256 of the base.
        deterministic: what the run promises of a repetition ("bytes" on CPU, "seeds" on CUDA, and where a time was
            given: ``resolved`` then holds the number of steps, which repeats to the byte as ``train.max_steps``).
        cost: seconds, memory, tokens, device, host: the only part that may differ between repetitions.
    """

    run_id: str
    result_version: int = RESULT_VERSION
    status: Literal["ok", "failed", "diverged"]
    error: str | None = None
    method: str
    base: dict[str, Any]
    planned_steps: int = 0
    done_steps: int = 0
    best_step: int | None = None
    scores: dict[str, Score] = {}
    score_notes: dict[str, dict[str, str]] = {}
    tasks: dict[str, TaskResult] = {}
    baselines: dict[str, TrivialScores] = {}
    task_weights: dict[str, float] = {}
    gates: dict[str, tuple[GateValue, ...]] = {}
    resolved: dict[str, Any] = {}
    seeds: dict[str, int] = {}
    parameters: dict[str, int] = {}
    fingerprint: str
    leaks: dict[str, Any] = {}
    source: dict[str, str] = {}
    stages: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    deterministic: Literal["bytes", "seeds"] = "bytes"
    cost: dict[str, Any] = {}


MANY_AT_LIMIT = 0.1
"""Share of texts that end at the limit of new tokens, in the middle of what they say, above which the user is told."""


def length_share(tasks: Iterable[TaskResult]) -> float | None:
    """Return the share of the tasks' test texts that ended at the limit of new tokens; None where nothing was counted."""
    counted = [task.data["ended"]["test"] for task in tasks if "test" in task.data.get("ended", {})]
    total = sum(sum(ended.values()) for ended in counted)
    return sum(ended["length"] for ended in counted) / total if total else None


def versions() -> dict[str, str]:
    """Return the versions of Python, Xeric and the packages whose code can move a result."""
    installed = {"python": platform.python_version()}
    for package in ("xeric", *_PACKAGES):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed
