"""A finished run that another one goes on from (``xeric train --from RUN``): what carries over, and what may not be tested.

* The same method with the same options goes on with the source's trained parameters; on other tasks, with those that mean the
  same there (:meth:`Adaptation.carried`). Another method starts on the source's model, its adaptation merged into the base's
  weights. The optimiser starts anew. This is the rule of stages (:mod:`xeric.run.stage_training`).
* What the source was trained on, its stages and its own source included, is not tested: hashes of the inputs stand in its
  ``adapter/``, and instances with such an input, and those like them, go to the training side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.config import digest
from xeric.data.preparing import Prepared, input_digest
from xeric.errors import ConfigError, DataError
from xeric.files import expanded, files_below, reading
from xeric.json_io import read_json
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions, attach_carrying, attach_saved
from xeric.record_io import read_record
from xeric.run.adapter_files import TRAINED_ON, SavedAdapter, read_adapter
from xeric.run.stage_training import MergedStage

__all__ = ["Source", "inputs_used", "read_source"]


@dataclass(frozen=True)
class Source:
    """A run to go on from.

    Attributes:
        saved: its adaptation.
        run_id: its identity.
        identity: hash of its adaptation, stages before it included.
        inputs: hashes of the inputs that it was trained on (:func:`xeric.data.preparing.input_digest`).
    """

    saved: SavedAdapter
    run_id: str
    identity: str
    inputs: frozenset[str]

    def merges(self, method: MethodOptions) -> bool:
        """Return whether anything is merged into the base's weights before a method is attached."""
        return bool(self.saved.stages) or method != self.saved.method

    def check_method(self, method: MethodOptions, precision: str) -> None:
        """Check that a method can follow.

        Raises:
            ConfigError: it is another one than the source's, which cannot be merged.
        """
        if method == self.saved.method:
            return
        name, hint = self.saved.method.name, "use the same method and options as the run it goes on from"
        if precision == "4bit":
            raise ConfigError("another method follows, and four-bit weights take no merged run", where="method", hint=hint)
        if not METHODS.get(name).mergeable(self.saved.method):
            raise ConfigError(
                f"{name} cannot be merged into the base's weights, and another method follows", where="method", hint=hint
            )

    def check_untested(self, data: Prepared) -> None:
        """Check that nothing that the source was trained on is in a test set.

        Raises:
            DataError: something is.
        """
        for task in data.tasks:
            if tested := next((i.id for i in task.test if input_digest(i.input) in self.inputs), None):
                hint = "prepare the tasks with from_run=, which keeps such instances on the training side"
                raise DataError(
                    f"the run that this one goes on from was trained on the test instance {tested!r}", where=task.name, hint=hint
                )

    def attach(
        self, base: Base, method: MethodOptions, definitions: Mapping[str, str], seed: int
    ) -> tuple[Adaptation, list[MergedStage]]:
        """Attach a method that goes on from the source.

        Args:
            base: without a method, and without one again where this fails; what the source merged before its own training is
                merged into it.
            method: of the run that goes on.
            definitions: of its tasks.
            seed: of the initialisation of what does not carry over.

        Returns:
            The adaptation, and everything merged into the base's weights.

        Raises:
            DataError: the base has other weights than the source's.
        """
        saved = self.saved
        saved.check_base(base)
        merged = list(saved.stages)
        if method != saved.method:
            merged.append(MergedStage(saved.method, saved.definitions, saved.folder))
        for stage in merged:
            stage.apply(base)
        carried = self._carried(base, definitions) if method == saved.method else {}
        return attach_carrying(base, method, carried, seed=seed, definitions=definitions), merged

    def _carried(self, base: Base, definitions: Mapping[str, str]) -> dict[str, Any]:
        saved = self.saved
        adaptation = attach_saved(base, saved.method, saved.folder, saved.definitions)
        try:
            state = adaptation.state()
            names = set(state) if dict(definitions) == saved.definitions else adaptation.carried()
        finally:
            adaptation.detach()
        return {name: tensor for name, tensor in state.items() if name in names}


def read_source(folder: Path | str) -> Source:
    """Return the run in a folder, to go on from.

    Raises:
        DataError: the folder holds no finished run, or one of an earlier version, which does not say what it was trained on.
        ConfigError: the run trained nothing.
    """
    folder = expanded(folder)
    saved = read_adapter(folder)
    if saved.method.name == "none":
        raise ConfigError("trained nothing, so there is nothing to go on from", where=str(folder), hint="leave --from out")
    path = saved.folder / TRAINED_ON
    if not path.is_file():
        hint = "train it again with this version"
        raise DataError("an earlier version made it and does not say what it was trained on", where=str(folder), hint=hint)
    inputs = read_json(path)
    record = read_record(folder)
    return Source(saved, record.run_id if record else "", _adapter_digest(saved), frozenset(inputs["inputs"]))


def inputs_used(data: Iterable[Prepared]) -> set[str]:
    """Return hashes of the inputs of everything that prepared tasks train on, select on, or show."""
    tasks = [task for prepared in data for task in prepared.tasks]
    instances = {input_digest(i.input) for task in tasks for i in (*task.train, *task.dev)}
    return instances | {input_digest(example.input) for task in tasks for example in (*task.demonstrations, *task.retrievable)}


def _adapter_digest(saved: SavedAdapter) -> str:
    """Return a hash of the weights and the methods of an adaptation; where it and its base lie does not count."""
    hashes: dict[str, str] = {}
    for path in sorted(files_below(saved.folder)):
        if path.suffix == ".safetensors":
            with reading(path), path.open("rb") as file:
                hashes[path.relative_to(saved.folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    methods = [[stage.method.model_dump(mode="json"), dict(stage.definitions)] for stage in saved.stages]
    own = [saved.method.model_dump(mode="json"), saved.definitions]
    return digest([hashes, methods, own, saved.weights])
