"""What the base answers before it is adapted: zero-shot, on the test inputs of a run; shown beside the run's texts.

No part of the run: it is not in its identity and not in its record. ``before.jsonl`` in the run's folder holds the predictions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xeric.bases.base import Base
from xeric.data.preparing import Prepared
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.progress import Progress
from xeric.records import Prediction
from xeric.run.config import RunConfig
from xeric.run.task_session import TaskSession
from xeric.run.template import settled_prompt

__all__ = ["predict_before"]

_TEXTS = 3


def predict_before(config: RunConfig, base: Base, data: Prepared, file: Path, progress: Progress) -> list[Prediction]:
    """Return the base's own zero-shot predictions for a run's test sets, or for the first inputs of them.

    Args:
        config: of the run; ``before`` says how many.
        base: without a method.
        data: the run's tasks.
        file: where they are kept; nothing is predicted where it is there.
        progress: is told what happens.
    """
    if config.before == "none" or config.method.name == "none" or "test" not in config.predict or file.is_file():
        return []
    limit = _TEXTS if config.before == "texts" else None
    data = replace(data, tasks=tuple(replace(task, demonstrations=(), test=task.test[:limit]) for task in data.tasks[:limit]))
    options = config.prompt.model_copy(update={"setting": "zero-shot", "demonstrations": None})
    prompt, _ = settled_prompt(options, base, data, as_it_is=True)
    adaptation = METHODS.get("none").attach(base, method_options("none"), seed=0)
    try:
        session = TaskSession(
            base, adaptation, data, config.train_setup, prompt=prompt, decoding=config.decode, progress=_Renamed(progress)
        )
        return session.predict("test")
    finally:
        adaptation.detach()


class _Renamed:
    """Passes progress on under the name of this phase."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def note(self, text: str) -> None:
        self._progress.note(text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self._progress.start("decode before", total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        self._progress.advance(units, loss)
