"""Writing and reading the trivial baselines of a study; :mod:`xeric.data.baselines` defines them. No torch.

``baselines.json`` lies beside their predictions: which of them the study's arms are compared with, and the mean length of each
task's training targets, to which some of them are cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from xeric.config import Config
from xeric.data.baselines import SEEDED, baseline_label, baseline_predictions, baselines_of
from xeric.data.preparing import Prepared
from xeric.errors import DataError
from xeric.json_io import write_json, write_jsonl
from xeric.metrics.stored import has_results, renewed
from xeric.records import PREDICTION_FILES
from xeric.studies.folder import StudyFolder

__all__ = ["TrivialBaselines", "baseline_files", "read_baselines", "write_baselines"]


class TrivialBaselines(Config):
    """The properties of a study's trivial baselines that readers of their scores need.

    Attributes:
        gates: whether arms are compared with it, by baseline; the others are only shown.
        words: mean length of the training targets, by task.
        as_input: tasks whose targets are about as long as their inputs, so that the inputs are copied whole.
    """

    gates: dict[str, bool] = {"copy_input": False}
    words: dict[str, int] = {}
    as_input: tuple[str, ...] = ()

    def gating(self, name: str) -> bool:
        """Return whether arms are compared with a baseline."""
        return self.gates.get(name, True)

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return notes for readers of the baselines' scores.

        Args:
            names: of the baselines that have scores, in their order.
        """
        if not names:
            return ()
        gating = [baseline_label(name) for name in names if self.gating(name)]
        shown_only = [baseline_label(name) for name in names if not self.gating(name)]
        notes = [f"Arms are judged against: {', '.join(gating) or 'none'}."]
        if shown_only:
            why = "chrF++ and METEOR reward length, and it is longer than what the tasks ask for"
            notes[0] += f" Shown only: {', '.join(shown_only)} ({why})."
        cut = [f"{task} {words}" for task, words in self.words.items() if task not in self.as_input]
        if cut:
            notes.append(
                "Inputs and first sentences are cut to the mean length of the task's training targets, in words "
                f"(characters in scripts without spaces): {', '.join(cut)}."
            )
        if self.as_input:
            notes.append(
                "Inputs are copied whole where training targets are about as long or longer (median ratio 0.8 or more): "
                f"{', '.join(self.as_input)}."
            )
        return tuple(notes)


def baseline_files(folder: StudyFolder, seeds: Collection[int]) -> dict[tuple[str, int], Path]:
    """Return where the test predictions of the trivial baselines stand, by name and seed, without those drawn for other seeds.

    Args:
        folder: of the study.
        seeds: the study's.
    """
    files: dict[tuple[str, int], Path] = {}
    for drawn in sorted(folder.baselines_dir.glob("*/*")):
        name = drawn.parent.name
        if drawn.name.isdecimal() and (name not in SEEDED or int(drawn.name) in seeds):
            files[name, int(drawn.name)] = drawn / PREDICTION_FILES["test"]
    return files


def read_baselines(folder: StudyFolder) -> TrivialBaselines:
    """Return the properties of a study's trivial baselines.

    Raises:
        DataError: the file cannot be read as such.
    """
    path = folder.baselines_file
    if not path.is_file():
        return TrivialBaselines()
    try:
        return TrivialBaselines.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DataError("not the description of a study's trivial baselines", where=str(path)) from None


def write_baselines(folder: StudyFolder, data: Prepared, seeds: Iterable[int], metrics: Sequence[str]) -> None:
    """Write the predictions and statistics of every baseline; existing ones are kept.

    Args:
        folder: of the study.
        data: the study's tasks, prepared as for its runs.
        seeds: the study's, for the baselines that are drawn.
        metrics: that their statistics are written for.
    """
    gates = baselines_of(data)
    for name in gates:
        for seed in seeds if name in SEEDED else (0,):
            baseline_folder = folder.baseline(name, seed)
            if not has_results(baseline_folder / PREDICTION_FILES["test"]):
                # Test is written last: its file means that both are complete.
                write_jsonl(baseline_folder / PREDICTION_FILES["dev"], baseline_predictions(name, data, "dev", seed))
                write_jsonl(baseline_folder / PREDICTION_FILES["test"], baseline_predictions(name, data, "test", seed))
                if has_results(baseline_folder / PREDICTION_FILES["test"]):
                    renewed(baseline_folder / PREDICTION_FILES["test"], metrics)
    lengths = {task.name: length for task in data.tasks if (length := task.target_length) is not None}
    description = TrivialBaselines(
        gates=gates,
        words={name: length.words for name, length in lengths.items()},
        as_input=tuple(name for name, length in lengths.items() if length.as_input),
    )
    if not folder.baselines_file.is_file() or read_baselines(folder) != description:
        write_json(folder.baselines_file, description)
