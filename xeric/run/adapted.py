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

from xeric.bases.base import Base, Precision
from xeric.bases.finding import find_folder
from xeric.bases.loading import load_base
from xeric.bases.precision import PrecisionName
from xeric.config import build
from xeric.data.encoding import cut_note
from xeric.data.prompts import Prompt, paraphrased
from xeric.data.text_form import one_form
from xeric.decoding import DecodeOptions, decode
from xeric.encodings import check_text, nfc
from xeric.errors import DataError, UnknownNameError, UserError
from xeric.files import expanded, writing
from xeric.json_io import read_json, write_json
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions, method_options
from xeric.record_io import read_record
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
        notes: why its texts may differ from those of the run, where they may.
    """

    base: Base
    adaptation: Adaptation
    prompts: dict[str, Prompt]
    definitions: dict[str, str]
    max_new_tokens: int
    options: DecodeOptions
    seed: int
    notes: tuple[str, ...] = ()

    def paraphrased(self, paraphrases: Mapping[str, str]) -> Adapted:
        """Return the same model, asked with other words in the place of the definitions of its tasks.

        What was made of the definitions when it was trained (the start of a learned prefix) stays as it was trained.

        Args:
            paraphrases: by task; a task that is not named keeps its definition.

        Raises:
            UnknownNameError: no such task in this run.
        """
        for name in paraphrases:
            self._check_task(name)
        changed = {name: paraphrased(self.prompts[name], self.definitions[name], text) for name, text in paraphrases.items()}
        return replace(self, prompts=self.prompts | changed)

    def generate(
        self,
        inputs: Sequence[str],
        *,
        task: str | None = None,
        max_new_tokens: int | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return the text generated for each input, brought into the form that training data were brought into.

        Args:
            inputs: texts.
            task: which task's prompt to use; needed only where there are several.
            max_new_tokens: takes the place of the run's own limit.
            note: is told what the user should know: how many inputs are cut to fit the base's context.

        Raises:
            UnknownNameError: no such task in this run.
            UserError: the run has several tasks and none is named.
            DataError: an input is not text.
        """
        for number, text in enumerate(inputs):
            check_text(text, f"input {number + 1}")
        if task is None and len(self.prompts) > 1:
            raise UserError(f"the run has {len(self.prompts)} tasks", hint="name one with --task: " + ", ".join(self.prompts))
        name = nfc(task) if task is not None else next(iter(self.prompts))
        self._check_task(name)
        keep = self.prompts[name].keep_indentation
        formed = [one_form(text, keep_indentation=keep) for text in inputs]
        return self.answer(formed, name, max_new_tokens=max_new_tokens, note=note)

    def answer(
        self,
        inputs: Sequence[str],
        task: str,
        *,
        max_new_tokens: int | None = None,
        shared: bool = True,
        progress: Callable[[int], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return the text generated for each input, taken as it is.

        Args:
            inputs: texts in the form that training data were brought into.
            task: whose prompt to use.
            max_new_tokens: takes the place of the run's own limit.
            shared: as in :func:`xeric.decoding.decode`.
            progress: is called with the number of texts finished since the last call.
            note: as in :meth:`generate`.

        Raises:
            DataError: the task's definition leaves no room in the base's context.
            UnknownNameError: no such task in this run.
        """
        self._check_task(task)
        limit = max_new_tokens or self.max_new_tokens
        rows = [(str(number), text) for number, text in enumerate(inputs)]
        encoded = self.base.encoder(task).decoding_rows(self.prompts[task], rows, limit)
        if note and (said := cut_note(encoded.cuts, len(rows), "inputs", self.base.context)):
            note(f"{task}: {said}")
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
        "device": adaptation.base.device.type,
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
    precision: Precision
    device: str
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
        common = self.prompts, self.definitions, self.max_new_tokens, self.options, self.seed
        return Adapted(base, adaptation, *common, tuple(self._differences(base)))

    def _differences(self, base: Base) -> Iterator[str]:
        """Yield why texts may not be those of the run."""
        # Adaptations that were saved earlier do not say where they were computed.
        made, now = (self.precision, self.device or base.device.type), (base.precision, base.device.type)
        if made != now:
            was, is_ = (f"in {precision} on {device}" for precision, device in (made, now))
            yield f"texts may differ from the run's: it was computed {was}, and this is computed {is_}"
        elif base.precision != "fp32":
            yield (
                f"texts may differ from the run's where two words are nearly as likely: in {base.precision} rounding depends on "
                "which inputs are computed together"
            )

    def check(self, base: Base) -> None:
        """Do nothing if this is the base that was adapted."""
        if base.sha256["weights"] != self.weights:
            raise DataError(
                "has other weights than the base that this run adapted", where=base.name, hint="give the right one with --base"
            )


def open_adapted(
    folder: Path, *, base: str | None = None, device: str = "auto", precision: PrecisionName | None = None
) -> Adapted:
    """Open the adaptation of a finished run.

    Args:
        folder: a run's folder.
        base: where the base is now; None is where it was when the run was made.
        device: as in :func:`xeric.bases.loading.load_base`.
        precision: likewise; None is the run's own. Texts may then differ from the run's (:attr:`Adapted.notes`).

    Raises:
        DataError: the folder holds no finished run, or the base there now has other weights.
        UserError: the device cannot do the precision.
    """
    saved = _read(expanded(folder))
    try:
        find_folder(base or saved.base)
    except UserError as error:
        if base is not None:
            raise
        hint = "say where it is now with --base (base= in Python)"
        raise DataError(f"the run's base is not there: {error.what}", where=saved.base, hint=hint) from None
    opened = load_base(base or saved.base, device=device, precision=precision or saved.precision)
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
    record, path = read_record(folder), folder / "adapter" / _FILE
    # What was trained is saved before it is decoded and scored, so it can be used even where that came to nothing.
    if record is None and not path.is_file():
        hint = "finish it by starting it again" if (folder / "config.yaml").is_file() else "give the folder of a finished run"
        raise DataError("holds no finished run", where=str(folder), hint=hint)
    if record is not None and record.status != "ok":
        raise DataError(f"the run {record.status}: there is no adaptation", where=str(folder))
    description = read_json(path)
    try:
        base = description["base"]
        return _Saved(
            folder=path.parent,
            base=base["name"],
            precision=base["precision"],
            device=description.get("device", ""),
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
