"""A saved adaptation: what was trained, the prompts it was trained under, and how to open it again and use it.

The folder ``adapter/`` of a run holds the method's own files and ``adapted.json``: base, method, prompts by task and
the limit of new tokens, so that texts can be generated where neither the tasks nor the data are at hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from xeric.bases.base import Base
from xeric.bases.finding import find_folder
from xeric.bases.loading import load_base
from xeric.bases.precision import PrecisionName
from xeric.config import build
from xeric.data.cleaning import one_form
from xeric.data.prompts import Prompt, reworded
from xeric.decoding import DecodeOptions, decode
from xeric.errors import DataError, UnknownNameError, UserError
from xeric.files import expanded, writing
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions, method_options
from xeric.records import read_json, read_record, write_json
from xeric.run.stages import MergedStage, restored
from xeric.training.log import LOG_FILES

__all__ = ["Adapted", "adapted_on", "open_adapted", "save_adapted"]

_FILE = "adapted.json"


@dataclass(frozen=True)
class Adapted:
    """A base with a trained method on it, ready to generate.

    Attributes:
        base: the base, the method attached.
        adaptation: the method's trained parts.
        prompts: layout of each task it was trained on, by name.
        definitions: of these tasks, as the layouts show them.
        max_new_tokens: limit of a generated text.
        options: how the run decoded.
        seed: of sampling.
    """

    base: Base
    adaptation: Adaptation
    prompts: dict[str, Prompt]
    definitions: dict[str, str]
    max_new_tokens: int
    options: DecodeOptions
    seed: int

    def reworded(self, wordings: Mapping[str, str]) -> Adapted:
        """Return the same model, asked with other words in the place of the definitions of its tasks.

        What was made of the definitions when it was trained (the start of a learned prefix) stays as it was trained.

        Args:
            wordings: by task; a task that is not named keeps its definition.

        Raises:
            UnknownNameError: no such task in this run.
        """
        for name in wordings:
            self._check_task(name)
        changed = {name: reworded(self.prompts[name], self.definitions[name], text) for name, text in wordings.items()}
        return replace(self, prompts=self.prompts | changed)

    def generate(self, inputs: Sequence[str], *, task: str | None = None, max_new_tokens: int | None = None) -> list[str]:
        """Return the text generated for each input, brought into the form that training data were brought into.

        Args:
            inputs: texts.
            task: which task's prompt to use; needed only where there are several.
            max_new_tokens: takes the place of the run's own limit.

        Raises:
            UnknownNameError: no such task in this run.
            UserError: the run has several tasks and none is named.
        """
        if task is None and len(self.prompts) > 1:
            raise UserError(f"the run has {len(self.prompts)} tasks", hint="name one with --task: " + ", ".join(self.prompts))
        name = task if task is not None else next(iter(self.prompts))
        return self.answer([one_form(text) for text in inputs], name, max_new_tokens=max_new_tokens)

    def answer(
        self,
        inputs: Sequence[str],
        task: str,
        *,
        max_new_tokens: int | None = None,
        shared: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Return the text generated for each input, taken as it is.

        Args:
            inputs: texts in the form that training data were brought into.
            task: whose prompt to use.
            max_new_tokens: takes the place of the run's own limit.
            shared: as in :func:`xeric.decoding.decode`.
            progress: is called with the number of texts finished since the last call.

        Raises:
            DataError: the task's definition leaves no room in the base's context.
            UnknownNameError: no such task in this run.
        """
        self._check_task(task)
        limit = max_new_tokens or self.max_new_tokens
        rows = [(str(number), text) for number, text in enumerate(inputs)]
        encoded = self.base.encoder(task).decoding_rows(self.prompts[task], rows, limit)
        return decode(self.base, encoded, self.options, max_new_tokens=limit, seed=self.seed, shared=shared, progress=progress)

    def _check_task(self, name: str) -> None:
        if name not in self.prompts:
            raise UnknownNameError("task", name, self.prompts)


def _stage(number: int) -> str:
    return f"stage-{number + 1}"


def save_adapted(
    folder: Path,
    adaptation: Adaptation,
    *,
    base: str,
    method: dict[str, Any],
    prompts: dict[str, Prompt],
    max_new_tokens: int,
    options: DecodeOptions,
    seed: int,
    definitions: Mapping[str, str],
    stages: Sequence[MergedStage] = (),
) -> None:
    """Write an adaptation and what is needed to use it.

    Args:
        folder: is made where it is missing.
        adaptation: what was trained.
        base: the base's name.
        method: the method's options, plain.
        prompts: by task.
        max_new_tokens: limit of a generated text.
        options: how the run decoded.
        seed: of sampling.
        definitions: of the tasks.
        stages: that are part of the base's weights; their adaptations are copied, so that the folder needs nothing but the base.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        adaptation.save(folder)
        for number, stage in enumerate(stages):
            shutil.copytree(stage.folder, folder / _stage(number), dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LOG_FILES))
    description = {
        "base": {"name": base, "sha256": adaptation.base.sha256, "precision": adaptation.base.precision},
        "method": method,
        "max_new_tokens": max_new_tokens,
        "decode": options.model_dump(mode="json"),
        "seed": seed,
        "definitions": dict(definitions),
        "stages": [{"method": stage.method.model_dump(mode="json"), "definitions": dict(stage.definitions)} for stage in stages],
        "prompts": {name: asdict(prompt) for name, prompt in prompts.items()},
    }
    write_json(folder / _FILE, description)


@dataclass(frozen=True)
class _Saved:
    """The description of an adaptation, read: what :func:`save_adapted` was given."""

    folder: Path
    base: str
    precision: PrecisionName
    weights: str
    method: MethodOptions
    prompts: dict[str, Prompt]
    definitions: dict[str, str]
    max_new_tokens: int
    options: DecodeOptions
    seed: int
    stages: tuple[MergedStage, ...]

    def put_on(self, base: Base) -> Adapted:
        """Attach the adaptation, and the stages before it, to its base."""
        for stage in self.stages:
            stage.apply(base)
        adaptation = METHODS.get(self.method.name).attach(base, self.method, seed=0, definitions=self.definitions)
        adaptation.load(self.folder)
        return Adapted(base, adaptation, self.prompts, self.definitions, self.max_new_tokens, self.options, self.seed)

    def check(self, base: Base) -> None:
        """Do nothing if this is the base that was adapted."""
        if base.sha256["weights"] != self.weights:
            raise DataError(
                "has other weights than the base that this run adapted", where=base.name, hint="give the right one with --base"
            )


def open_adapted(folder: Path, *, base: str | None = None, device: str = "auto") -> Adapted:
    """Open the adaptation of a finished run.

    Args:
        folder: a run's folder.
        base: where the base is now; None is where it was when the run was made.
        device: as in :func:`xeric.bases.loading.load_base`.

    Raises:
        DataError: the folder holds no finished run, or the base there now has other weights.
    """
    saved = _read(expanded(folder))
    try:
        find_folder(base or saved.base)
    except UserError as error:
        if base is not None:
            raise
        hint = "say where it is now with --base (base= in Python)"
        raise DataError(f"the run's base is not there: {error.what}", where=saved.base, hint=hint) from None
    opened = load_base(base or saved.base, device=device, precision=saved.precision)
    saved.check(opened)
    return saved.put_on(opened)


@contextmanager
def adapted_on(folder: Path, base: Base) -> Iterator[Adapted]:
    """Put the adaptation of a finished run on a base that is open already; afterwards the base is as it was found.

    Args:
        folder: a run's folder.
        base: the run's own, without a method.

    Raises:
        DataError: the folder holds no finished run, or the base has other weights than the run's.
    """
    saved = _read(folder)
    saved.check(base)
    with restored(base, needed=bool(saved.stages)):
        adapted = saved.put_on(base)
        try:
            yield adapted
        finally:
            adapted.adaptation.detach()


def _read(folder: Path) -> _Saved:
    record = read_record(folder)
    if record is None:
        hint = "finish it by starting it again" if (folder / "config.yaml").is_file() else "give the folder of a finished run"
        raise DataError("holds no finished run", where=str(folder), hint=hint)
    if record.status != "ok":
        raise DataError(f"the run {record.status}: there is no adaptation", where=str(folder))
    path = folder / "adapter" / _FILE
    description = read_json(path)
    try:
        base = description["base"]
        return _Saved(
            folder=path.parent,
            base=base["name"],
            precision=base["precision"],
            weights=base["sha256"]["weights"],
            method=method_options(description["method"]),
            prompts=TypeAdapter(dict[str, Prompt]).validate_python(description["prompts"]),
            definitions=TypeAdapter(dict[str, str]).validate_python(description["definitions"]),
            max_new_tokens=int(description["max_new_tokens"]),
            options=build(DecodeOptions, description["decode"]),
            seed=int(description["seed"]),
            stages=tuple(
                MergedStage(method_options(stage["method"]), dict(stage["definitions"]), path.parent / _stage(number))
                for number, stage in enumerate(description["stages"])
            ),
        )
    except (KeyError, TypeError, ValueError, ValidationError):
        raise DataError("not the description of an adaptation", where=str(path)) from None
