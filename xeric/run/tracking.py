"""What happens in a run, told to an experiment tracker through Accelerate: losses by step, dev, and the scores at the end.

Tracking is no part of a run: it is not in its identity, and where a tracker fails there is a remark, and the run goes on.
After an interruption the tracker is told on from the checkpoint: TensorBoard shows the steps since then a second time, at the
same places; the others show every process as a run of its own under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from xeric.errors import UserError
from xeric.progress import Progress
from xeric.records import Record

__all__ = ["TRACKING", "TrackerName", "Tracking", "check_tracker"]

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]

TRACKING = "tracking"
"""Folder within a run's folder where TensorBoard's files are."""

_PROJECT = "xeric"


def check_tracker(name: TrackerName) -> None:
    """Check that a tracker's package is installed.

    Raises:
        UserError: it is not.
    """
    from accelerate import utils

    if not getattr(utils, f"is_{name}_available")():
        what = "'xeric[track]'" if name == "tensorboard" else name
        raise UserError(f"{name} is not installed", where="track", hint=f"pip install {what}")


class Tracking:
    """A tracker of one run, or none. Use it as a context: it is finished at the end, however that comes.

    Args:
        name: of the tracker; None tells nobody.
        folder: of the run, which gives the tracked run its name.
        settings: of the run, plain.
        progress: is told once, if the tracker fails.
    """

    def __init__(self, name: TrackerName | None, folder: Path, settings: Mapping[str, Any], progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._tracker: Any = None
        if name is not None:
            self._try(lambda: self._start(name, folder, settings))

    def _start(self, name: TrackerName, folder: Path, settings: Mapping[str, Any]) -> None:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # trackers ask it whether theirs is the main process
        title = folder.resolve().name
        places: dict[TrackerName, dict[str, Any]] = {
            "tensorboard": {"run_name": TRACKING, "logging_dir": str(folder)},
            "mlflow": {"experiment_name": _PROJECT, "run_name": title},
        }
        tracker = LOGGER_TYPE_TO_CLASS[name](**places.get(name, {"run_name": _PROJECT, "name": title}))
        tracker.start()
        self._tracker = tracker
        tracker.store_init_configuration(_flat(settings))

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        self._try(lambda: self._tracker.finish())

    def step(self, row: Mapping[str, Any]) -> None:
        """Pass a row of the training's log on; see :class:`xeric.training.trainer.Trainer`."""
        values: dict[str, float] = {}
        if row.get("dev") is not None:
            # The loss is selected by as a number that is better if higher.
            values["dev/loss" if row["selected_by"] == "loss" else f"dev/{row['selected_by']}"] = abs(row["dev"])
        if "loss" in row:
            values |= {"train/loss": row["loss"], "train/gradient_norm": row["gradient_norm"]}
            values |= {f"train/lr/{name}": rate for name, rate in row["lr"].items()}
            if len(row["tasks"]) > 1:
                values |= {f"train/loss/{task}": loss for task, loss in row["tasks"].items()}
        if values:
            self._try(lambda: self._tracker.log(values, step=row["step"]))

    def scores(self, record: Record) -> None:
        """Pass the scores of a finished run on, means and by task."""
        values = {f"test/{metric}": score.score for metric, score in record.scores.items()}
        if len(record.tasks) > 1:
            by_task = {task: result.scores for task, result in record.tasks.items()}
            values |= {f"test/{metric}/{task}": s.score for task, scores in by_task.items() for metric, s in scores.items()}
        if values:
            self._try(lambda: self._tracker.log(values, step=record.done_steps))

    def _try(self, action: Callable[[], None]) -> None:
        if self._name is None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run does not depend on it
            reason = " ".join(str(error).split())[:200]
            self._progress.note(f"{self._name} fails and is not told more of this run: {type(error).__name__}: {reason}")
            self._name = None


def _flat(settings: Mapping[str, Any], path: str = "") -> dict[str, bool | int | float | str]:
    """Return settings by dotted path, as trackers take them."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[path + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
