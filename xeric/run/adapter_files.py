"""The files of a saved adaptation: writing and reading them.

The folder ``adapter/`` of a run holds the method's own files and ``adapted.json``: base, method, prompts by task and
the limit of new tokens, so that texts can be generated where neither the tasks nor the data are at hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from xeric.bases.base import Base, Precision
from xeric.config import build
from xeric.data.prompts import Prompt
from xeric.decoding import DecodeOptions
from xeric.errors import DataError
from xeric.files import writing
from xeric.json_io import read_json, write_json
from xeric.methods.base import Adaptation, MethodOptions, method_options
from xeric.record_io import read_record
from xeric.run.stage_training import MergedStage
from xeric.training.log import LOG_FILES

__all__ = ["TRAINED_ON", "SavedAdapter", "read_adapter", "save_adapted"]

_FILE = "adapted.json"
TRAINED_ON = "trained_on.json"
"""Hashes of the inputs that were trained on: what a run that goes on from this one must not test."""


def _stage(number: int) -> str:
    return f"stage-{number + 1}"


@dataclass(frozen=True)
class SavedAdapter:
    """What ``adapted.json`` says.

    Attributes:
        folder: the folder ``adapter/``.
        base: name of the base when the run was made.
        precision: the run's.
        device: type of the run's device; empty where an earlier version of Xeric wrote the file.
        weights: sha256 of the base's weights.
        method: options of the method.
        prompts: by task.
        definitions: of the tasks.
        max_new_tokens: limit of a generated text.
        options: how the run decoded.
        seed: of sampling.
        stages: that were merged into the base's weights.
    """

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

    def check_base(self, base: Base) -> None:
        """Check that a base is the one that was adapted.

        Raises:
            DataError: its weights are others.
        """
        if base.sha256["weights"] != self.weights:
            raise DataError(
                "has other weights than the base that this run adapted", where=base.name, hint="give the right one with --base"
            )


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
    trained_on: Iterable[str] = (),
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
        trained_on: hashes of the inputs that were trained on, here and before.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        adaptation.save(folder)
        for number, stage in enumerate(stages):
            ignored = shutil.ignore_patterns(*LOG_FILES, _FILE, TRAINED_ON, _stage(0).replace("1", "*"))
            shutil.copytree(stage.folder, folder / _stage(number), dirs_exist_ok=True, ignore=ignored)
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
    write_json(folder / TRAINED_ON, {"inputs": sorted(trained_on)})
    write_json(folder / _FILE, description)


def read_adapter(folder: Path) -> SavedAdapter:
    """Return the description of the adaptation in a run's folder.

    Raises:
        DataError: the folder holds no finished run, the run diverged, or the description is damaged.
    """
    record, path = read_record(folder), folder / "adapter" / _FILE
    # The adaptation is saved before decoding and scoring: it can be used even where these failed.
    if record is None and not path.is_file():
        hint = "finish it by starting it again" if (folder / "config.yaml").is_file() else "give the folder of a finished run"
        raise DataError("holds no finished run", where=str(folder), hint=hint)
    if record is not None and record.status != "ok":
        raise DataError(f"the run {record.status}: there is no adaptation", where=str(folder))
    description = read_json(path)
    try:
        base = description["base"]
        return SavedAdapter(
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
