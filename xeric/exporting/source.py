"""A finished run, opened to be exported: its adaptation, its base in float32, its record, and inputs to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xeric.bases.base import Base
from xeric.encodings import nfc
from xeric.errors import UnknownNameError, UserError
from xeric.exporting.parts import parts_of
from xeric.methods.prefix import PrefixOptions
from xeric.record_io import read_predictions, read_record
from xeric.records import PREDICTION_FILES, Prediction, Record
from xeric.run.adapted import open_base_of
from xeric.run.adapter_files import SavedAdapter, read_adapter

__all__ = ["Source", "open_base", "read_source"]

_ROWS = 4


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        folder: of the run.
        saved: its adaptation; the prompts are those of the tasks to export.
        record: None where the run was not scored.
        predictions: of its test set, for these tasks; empty where there are none.
    """

    folder: Path
    saved: SavedAdapter
    record: Record | None
    predictions: tuple[Prediction, ...]

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """Tasks and inputs that the exported model is tried on: the first test inputs of each task, a few in all."""
        count = -(-_ROWS // len(self.saved.prompts))
        rows = [
            (task, row.input) for task in self.saved.prompts for row in [p for p in self.predictions if p.task == task][:count]
        ]
        # A run whose predictions were not written, or were published without their texts.
        usable = [(task, text) for task, text in rows if text.strip()]
        return usable[:_ROWS] or [(task, self.saved.definitions.get(task) or task) for task in self.saved.prompts][:_ROWS]


def read_source(folder: Path, task: str | None, parts: Sequence[str]) -> Source:
    """Read a finished run.

    Args:
        folder: of the run.
        task: to export the run for; None is all of them.
        parts: of its method that are exported.

    Raises:
        DataError: the folder holds no finished run.
        UnknownNameError: the run has no such task.
        UserError: no task is named, and the run has a prefix for each of several.
    """
    saved = read_adapter(folder)
    prompts = saved.prompts
    if task is not None:
        if (name := nfc(task)) not in prompts:
            raise UnknownNameError("task", task, prompts)
        prompts = {name: prompts[name]}
    prefix = {name: options for name, options in parts_of(saved.method).items() if name in parts}.get("prefix")
    if isinstance(prefix, PrefixOptions) and prefix.scope == "task" and len(prompts) > 1:
        raise UserError(
            f"the run has a prefix for each of {len(prompts)} tasks", hint=f"name one with --task: {', '.join(prompts)}"
        )
    path = folder / PREDICTION_FILES["test"]
    rows = read_predictions(path) if path.is_file() and path.stat().st_size else []
    return Source(folder, replace(saved, prompts=prompts), read_record(folder), tuple(r for r in rows if r.task in prompts))


def open_base(source: Source, base: str | None, device: str) -> Base:
    """Open the run's base in float32, whatever the run computed in, and apply the stages that were merged into its weights.

    Args:
        source: the run.
        base: where the base is now; None is where it was.
        device: as in :func:`xeric.bases.loading.load_base`.

    Raises:
        DataError: the base is not there, or has other weights.
    """
    opened = open_base_of(source.saved, base, device=device, precision="fp32")
    for stage in source.saved.stages:
        stage.apply(opened)
    return opened
