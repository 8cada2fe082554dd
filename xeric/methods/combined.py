"""The paper's combined method ("Ours"): LoRA + prompt prefix + fused embeddings, and learned weights of the tasks.

It is composition: each part is the method of its own file, attached to the same base, trained in its own learning-rate group, and
saved in its own folder. ``method.lora=false``, ``method.prefix=false`` and ``method.embedding=false`` take a part away. The
task weights belong to training (``train.weighting``): with this method they are ``uncertainty`` unless something else is asked
for (``train.weighting.name=uniform`` takes them away).

``method.gate`` puts a learned gate on what each part adds to each layer (:mod:`xeric.methods.gates`). Step 0 is then exactly the
base, whatever a prefix starts as. Without gates (``none``, the default) the parts add up as they are.

The parts are those of :data:`xeric.methods.PARTS`. Beside the paper's three, which are on, others can be registered there; they
are off unless they are asked for (``method.NAME={}``), and a run that does not ask for one is the same run with and without it.

Trainable parameters: the sum of the parts', and of the gates'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base
from xeric.config import Config
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods import PARTS
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup, StepZero, put_back
from xeric.methods.gates import Gates
from xeric.methods.lora import Lora
from xeric.search_space import Space

__all__ = ["Combined", "CombinedOptions", "GatedAdaptation", "PartsOptions", "options_with"]

_PAPER = ("lora", "prefix", "embedding")
"""The parts that are on unless they are switched off."""
_GATE = "gate"
_GATE_RATE = 50.0
"""The rate of gates, times the run's: that of the gates of fused embeddings."""


class PartsOptions(MethodOptions):
    """Options of a combined method: those of each part, or false, under the part's name, ``lr_scale`` by part, and ``gate``.

    Attributes:
        methods: of the parts that there are, in the order in which they are attached.
        gate: on each part and layer: ``none``, ``scalar`` (one number) or ``token`` (depends on each token's state).
    """

    methods: ClassVar[Mapping[str, type[Method]]] = {}

    name: Literal["combined"] = "combined"
    gate: Literal["none", "scalar", "token"] = "none"

    @property
    def parts(self) -> dict[str, MethodOptions]:
        """Options of the parts that are used, in the order in which they are attached."""
        return {name: options for name in self.methods if (options := getattr(self, name))}

    @model_validator(mode="after")
    def _has_a_part(self) -> PartsOptions:
        if not self.parts:
            raise ValueError("every part is left out; use the method 'none'")
        return self

    @model_validator(mode="after")
    def _parts_take_gates(self) -> PartsOptions:
        for name, chosen in self.parts.items():
            if self.gate != "none" and (reason := self.methods[name].ungated(chosen)):
                raise ValueError(f"part {name!r}: {reason}; leave it out ({name}: false), or use gate: none")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the parts and gates that nobody asked for, so that they change no run that does without them."""
        data: dict[str, Any] = plain(self)
        if self.gate == "none":
            data.pop("gate", None)
            data.get("lr_scale", {}).pop(_GATE, None)
        for name in self.methods:
            if name not in _PAPER and name not in self.parts:
                data.pop(name, None)
                data.get("lr_scale", {}).pop(name, None)
        return data


def options_with(methods: Mapping[str, type[Method]], summaries: Mapping[str, str]) -> type[PartsOptions]:
    """Return the options of a combined method.

    Args:
        methods: of the parts, by name, in the order in which they are attached.
        summaries: one line about each part.
    """
    names = [*(name for name in _PAPER if name in methods), *(name for name in methods if name not in _PAPER)]
    # The defaults give each part the rate that it has by itself.
    rates: dict[str, Any] = {
        name: (float, Field(default=methods[name].default_lr / Lora.default_lr, gt=0, le=1e6)) for name in names
    }
    rates[_GATE] = (float, Field(default=_GATE_RATE, gt=0, le=1e6))
    scales = create_model("PartScales", __base__=Config, __module__=__name__, **rates)
    fields: dict[str, Any] = {name: _part(methods[name], on=name in _PAPER) for name in names}
    fields["lr_scale"] = (scales, scales())
    made = create_model(
        "CombinedOptions", __base__=PartsOptions, __doc__=_docstring(summaries, names), __module__=__name__, **fields
    )
    made.methods = dict(methods)
    return made


def _part(method: type[Method], *, on: bool) -> tuple[Any, MethodOptions | Literal[False]]:
    """Return type and default of the setting of a part."""
    options: Any = method.Options
    return options | Literal[False], options() if on else False


def _docstring(summaries: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the docstring of the options, from which the page of settings is made."""
    sentences = {name: f"{summaries[name]}; false leaves it out." for name in names}
    sentences["lr_scale"] = "learning rate of each part, and of the gates, times the run's."
    sentences[_GATE] = (
        "learned gates on what each part adds to each layer: ``none``, ``scalar`` (one number each) or ``token`` (each depends "
        "on a token's state); with gates step 0 is the base."
    )
    lines = [f"        {name}: {what}" for name, what in sentences.items()]
    return "\n".join(["Options of the combined method.", "", "    Attributes:", *lines, ""])


CombinedOptions = options_with({part.name: PARTS.get(part.name) for part in PARTS}, {part.name: part.summary for part in PARTS})


class GatedAdaptation(Adaptation):
    """An adaptation that may have gates.

    Attributes:
        gates: on its parts, or None.
    """

    gates: Gates | None = None


class _CombinedAdaptation(GatedAdaptation):
    def __init__(self, base: Base, options: PartsOptions, seed: int, definitions: Mapping[str, str]) -> None:
        super().__init__(base)
        self._options = options
        self._parts: dict[str, Adaptation] = {}
        try:
            for name, chosen in options.parts.items():
                self._parts[name] = options.methods[name].attach(base, chosen, seed=seed, definitions=definitions)
            if options.gate != "none":
                self.gates = Gates(base, options.gate)
        except ConfigError as error:
            self.detach()
            raise _of_part(error, name) from None
        except BaseException:
            self.detach()
            raise
        if self.gates is not None:
            self._add_gates(self.gates)

    def _add_gates(self, gates: Gates) -> None:
        try:
            for name, part in self._parts.items():
                part.add_gates(gates.of(name))
        except BaseException:
            self.detach()
            raise

    def carried(self) -> set[str]:
        """Return what the parts carry, and the gates."""
        gates = self.gates.parameters() if self.gates else {}
        return {*gates, *(name for part in self._parts.values() for name in part.carried())}

    def fixed(self) -> dict[str, torch.Tensor]:
        return {name: tensor for part in self._parts.values() for name, tensor in part.fixed().items()}

    def groups(self) -> list[ParameterGroup]:
        scales = self._options.lr_scale.model_dump()  # type: ignore[attr-defined]  # each combined method has its own model
        groups = [
            replace(group, lr_scale=group.lr_scale * scales[name])
            for name, part in self._parts.items()
            for group in part.groups()
        ]
        if self.gates:
            # Decay would pull them towards where they started.
            groups.append(ParameterGroup("gates", self.gates.parameters(), lr_scale=scales[_GATE], weight_decay=False))
        return groups

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        for part in self._parts.values():
            part.load_state(state)
        if self.gates:
            put_back(self.gates.parameters(), state)

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        return next(filter(None, (part.initial_tokens(task) for part in self._parts.values())), ())

    def save(self, folder: Path) -> None:
        for name, part in self._parts.items():
            (folder / name).mkdir(exist_ok=True)
            part.save(folder / name)
        if self.gates:
            self.gates.save(folder)

    def load(self, folder: Path) -> None:
        for name, part in self._parts.items():
            if not (folder / name).is_dir():
                raise DataError(f"holds no part {name!r} of a combined adaptation", where=str(folder))
            part.load(folder / name)
        if self.gates:
            self.gates.load(folder)

    def detach(self) -> None:
        for part in reversed(self._parts.values()):
            part.detach()
        self._parts = {}
        self._detach_gates()

    def _detach_gates(self) -> None:
        if self.gates:
            self.gates.detach()
        self.gates = None

    def merge(self) -> None:
        """Fold the parts into the base's weights where all of them can be: of the paper's, where LoRA is the only one.

        Raises:
            RunError: a part is on that cannot be merged; nothing was changed.
        """
        if unmergeable := [name for name, method, chosen in _used(self._options) if not method.mergeable(chosen)]:
            without = f", or train with {' '.join(f'method.{name}=false' for name in unmergeable)}"
            raise RunError(
                f"{' and '.join(unmergeable)} cannot be merged into the base's weights",
                hint="export the adapter as it is" + (without if len(unmergeable) < len(self._parts) else ""),
            )
        if self._options.gate == "token":
            raise RunError(
                "gates that depend on tokens cannot be merged into the base's weights", hint="export the adapter as it is"
            )
        for part in reversed(self._parts.values()):
            part.merge()
        self._detach_gates()


def _of_part(error: ConfigError, name: str) -> ConfigError:
    """Return a part's complaint with the dotted paths that the part's options have here."""
    where, hint = (text and text.replace("method.", f"method.{name}.") for text in (error.where, error.hint))
    return ConfigError(error.what, where=where, hint=hint)


class Combined(Method):
    """The paper's last row of Table 1."""

    Options = CombinedOptions
    default_lr = Lora.default_lr
    default_weighting: ClassVar[str] = "uncertainty"

    @classmethod
    def space(cls, options: PartsOptions) -> Space:
        """Return LoRA's learning rates, and what is tried of each part beside its rate."""
        own = {
            path.replace("method.", f"method.{name}.", 1): values
            for name, method, chosen in _used(options)
            for path, values in method.space(chosen).items()
            if path.startswith("method.")
        }
        return {"train.lr": Lora.search_space["train.lr"], **own}

    @classmethod
    def step_zero(cls, options: PartsOptions, architecture: ArchitectureName = "causal") -> StepZero:
        """Return that of the one part that does not start at the base; without one they all do, and so do all gated ones."""
        if options.gate != "none":
            return "base"
        kinds: set[StepZero] = {method.step_zero(chosen, architecture) for _, method, chosen in _used(options)}
        return "none" if "none" in kinds else "initial-tokens" if "initial-tokens" in kinds else "base"

    @classmethod
    def mergeable(cls, options: PartsOptions) -> bool:
        """Return whether every part is, and no gate depends on tokens."""
        return options.gate != "token" and all(method.mergeable(chosen) for _, method, chosen in _used(options))

    @classmethod
    def seeded(cls, options: PartsOptions) -> bool:
        """Return whether the initialisation of a part does."""
        return any(method.seeded(chosen) for _, method, chosen in _used(options))

    @classmethod
    def needs_definitions(cls, options: PartsOptions) -> bool:
        """Return whether a part does."""
        return any(method.needs_definitions(chosen) for _, method, chosen in _used(options))

    @classmethod
    def attach(cls, base: Base, options: PartsOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Attach the parts, one after the other.

        Raises:
            ConfigError: a part does not fit the base; the base is as it was.
        """
        return _CombinedAdaptation(base, options, seed, definitions)


def _used(options: PartsOptions) -> Iterator[tuple[str, type[Method], MethodOptions]]:
    """Yield name, method and options of each part that is used."""
    for name, chosen in options.parts.items():
        yield name, options.methods[name], chosen
