"""A saved adaptation: what was trained, the prompts it was trained under, and how to open it again and use it.

The folder ``adapter/`` of a run holds the method's own files and ``adapted.json``: base, method, prompts by task and
the limit of new tokens, so that texts can be generated where neither the tasks nor the data are at hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.config import build
from xeric.data.cleaning import one_form
from xeric.data.prompts import Prompt
from xeric.decoding import DecodeOptions, decode
from xeric.errors import DataError, UnknownNameError, UserError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, method_options
from xeric.records import read_json, read_record, write_json
from xeric.run.stages import MergedStage

__all__ = ["Adapted", "open_adapted", "save_adapted"]

_FILE = "adapted.json"


@dataclass(frozen=True)
class Adapted:
    """A base with a trained method on it, ready to generate.

    Attributes:
        base: the base, the method attached.
        adaptation: the method's trained parts.
        prompts: layout of each task it was trained on, by name.
        max_new_tokens: limit of a generated text.
        options: how the run decoded.
        seed: of sampling.
    """

    base: Base
    adaptation: Adaptation
    prompts: dict[str, Prompt]
    max_new_tokens: int
    options: DecodeOptions
    seed: int

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
        if name not in self.prompts:
            raise UnknownNameError("task", name, self.prompts)
        limit = max_new_tokens or self.max_new_tokens
        rows = [(str(number), one_form(text)) for number, text in enumerate(inputs)]
        encoded = self.base.encoder(name).decoding_rows(self.prompts[name], rows, limit)
        return decode(self.base, encoded, self.options, max_new_tokens=limit, seed=self.seed)


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
    folder.mkdir(parents=True, exist_ok=True)
    adaptation.save(folder)
    for number, stage in enumerate(stages):
        shutil.copytree(stage.folder, folder / _stage(number), dirs_exist_ok=True, ignore=shutil.ignore_patterns("log.jsonl"))
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


def open_adapted(folder: Path, *, base: str | None = None, device: str = "auto") -> Adapted:
    """Open the adaptation of a finished run.

    Args:
        folder: a run's folder.
        base: where the base is now; None is where it was when the run was made.
        device: as in :func:`xeric.bases.loading.load_base`.

    Raises:
        DataError: the folder holds no finished run, or the base there now has other weights.
    """
    record = read_record(folder)
    if record is None:
        hint = "finish it by starting it again" if (folder / "config.yaml").is_file() else "give the folder of a finished run"
        raise DataError("holds no finished run", where=str(folder), hint=hint)
    if record.status != "ok":
        raise DataError(f"the run {record.status}: there is no adaptation", where=str(folder))
    path = folder / "adapter" / _FILE
    description = read_json(path)
    try:
        prompts = TypeAdapter(dict[str, Prompt]).validate_python(description["prompts"])
        saved, limit, seed = description["base"], int(description["max_new_tokens"]), int(description["seed"])
        decoding = build(DecodeOptions, description["decode"])
        opened = load_base(base or saved["name"], device=device, precision=saved["precision"])
        options = method_options(description["method"])
        definitions = TypeAdapter(dict[str, str]).validate_python(description["definitions"])
        stages = [
            MergedStage(method_options(stage["method"]), dict(stage["definitions"]), path.parent / _stage(number))
            for number, stage in enumerate(description["stages"])
        ]
    except (KeyError, TypeError, ValueError, ValidationError):
        raise DataError("not the description of an adaptation", where=str(path)) from None
    if opened.sha256["weights"] != saved["sha256"]["weights"]:
        raise DataError(
            "has other weights than the base that this run adapted", where=opened.name, hint="give the right one with --base"
        )
    for stage in stages:
        stage.apply(opened)
    adaptation = METHODS.get(options.name).attach(opened, options, seed=0, definitions=definitions)
    adaptation.load(path.parent)
    return Adapted(opened, adaptation, prompts, limit, decoding, seed)
