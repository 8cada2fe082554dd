"""Several finished runs beside each other and beside their bases, unadapted: one input, one text from each.

Every base is opened once, also where several runs adapted it; an adaptation is put on for a text and taken off again
(:func:`xeric.run.adapted.adapted_on`), so the memory is that of the bases and one adaptation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.precision import PrecisionName
from xeric.data.rows import cut_note
from xeric.data.text_form import one_form
from xeric.decoding import decode
from xeric.errors import UserError
from xeric.files import expanded
from xeric.progress import Progress, Silent
from xeric.run.adapted import adapted_on
from xeric.run.adapter_files import SavedAdapter, read_adapter

__all__ = ["Answer", "SideBySide"]


@dataclass(frozen=True)
class Answer:
    """A text of one of the models beside each other.

    Attributes:
        label: of the model.
        text: what it generated; empty where it cannot be asked.
        note: what the user should know of it.
    """

    label: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class _Model:
    label: str
    base: Base
    saved: SavedAdapter
    run: Path | None
    """The run's folder; None for the base as it is, which is asked in the prompt of ``saved``."""


class SideBySide:
    """The models of several runs.

    Args:
        folders: of finished runs.
        base: where the runs' base is now; None is where it was when each run was made.
        device: as in :func:`xeric.bases.loading.load_base`.
        precision: likewise; None is each run's own.
        progress: is told what happens.

    Raises:
        UserError: no run is given, or one twice.
        DataError: a folder holds no finished run, or the base there has other weights.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        base: str | None = None,
        device: str = "auto",
        precision: PrecisionName | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._lock, self._progress = threading.Lock(), progress or Silent()
        runs = [expanded(folder) for folder in folders]
        if not runs or len({run.resolve() for run in runs}) < len(runs):
            raise UserError("name each run once" if runs else "no run is given", hint="xeric play RUN [RUN ...]")
        opened: dict[tuple[str, str], Base] = {}
        self._models: list[_Model] = []
        for run, saved, label in zip(runs, [read_adapter(run) for run in runs], _labels(runs), strict=True):
            key = (saved.weights, precision or saved.precision)
            if key not in opened:
                opened[key] = load_base(base or saved.base, device=device, precision=key[1], progress=self._progress)
                saved.check_base(opened[key])
                self._models.append(_Model(f"{_base_label(opened[key].name)}, unadapted", opened[key], saved, None))
            self._models.append(_Model(label, opened[key], saved, run))

    @property
    def labels(self) -> list[str]:
        """The names of the models: each base before the runs that adapted it."""
        return [model.label for model in self._models]

    @property
    def tasks(self) -> list[str]:
        """The tasks of the runs, each once."""
        return list(dict.fromkeys(task for model in self._models for task in model.saved.prompts))

    def definition(self, task: str) -> str:
        """Return what a task asks for."""
        return next(model.saved.definitions[task] for model in self._models if task in model.saved.definitions)

    def answers(self, text: str, task: str) -> Iterator[Answer]:
        """Yield each model's text for an input, in the order of :attr:`labels`; calls of several threads wait for each other.

        Args:
            text: the input.
            task: whose prompt to use; a run that was not trained on it is not asked.
        """
        for model in self._models:
            if task not in model.saved.prompts:
                yield Answer(model.label, "", f"was not trained on {task}")
                continue
            notes: list[str] = []
            with self._lock:
                generated = _unadapted(model, text, task, notes) if model.run is None else _adapted(model, text, task, notes)
            yield Answer(model.label, generated, "; ".join(notes))


def _base_label(name: str) -> str:
    """Return the name of a base, of a file or folder without the path to it."""
    return Path(name).name if Path(name).is_absolute() else name


def _labels(runs: Sequence[Path]) -> list[str]:
    """Return the names of folders, with those of the folders above where two have the same."""
    paths = [run.resolve() for run in runs]
    depth = next(depth for depth in range(1, 100) if len({path.parts[-depth:] for path in paths}) == len(paths))
    return ["/".join(path.parts[-depth:]) for path in paths]


def _adapted(model: _Model, text: str, task: str, notes: list[str]) -> str:
    assert model.run is not None
    with adapted_on(model.run, model.base) as adapted:
        return adapted.generate([text], task=task, note=notes.append)[0]


def _unadapted(model: _Model, text: str, task: str, notes: list[str]) -> str:
    """Return the base's own text under the prompt of a run, ended where the layout begins another instance."""
    saved, base = model.saved, model.base
    prompt = saved.prompts[task]
    row = ("0", one_form(text, keep_indentation=prompt.keep_indentation))
    encoded = base.encoder(task).decoding_rows(prompt, [row], saved.max_new_tokens)
    if cut := cut_note(encoded.cuts, 1, "inputs", base.context):
        notes.append(cut)
    options = saved.options.model_copy(update={"stop": prompt.stop})
    return decode(base, encoded, options, max_new_tokens=saved.max_new_tokens, seed=saved.seed)[0]
