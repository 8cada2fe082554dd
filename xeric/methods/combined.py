"""The paper's combined method ("Ours"): LoRA + prompt prefix + fused embeddings, and learned weights of the tasks.

It is composition: each part is the method of its own file, attached to the same base, trained in its own learning-rate group, and
saved in its own folder. ``method.lora=false``, ``method.prefix=false`` and ``method.embedding=false`` take a part away. The
task weights belong to training (``train.weighting``): with this method they are ``uncertainty`` unless something else is asked
for (``train.weighting.name=uniform`` takes them away).

The parts are those of :data:`xeric.methods.PARTS`. Beside the paper's three, which are on, others can be registered there; they
are off unless they are asked for (``method.NAME={}``), and a run that does not ask for one is the same run with and without it.

Trainable parameters: the sum of the parts'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base
from xeric.config import Config
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods import PARTS
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup, StepZero
from xeric.methods.lora import Lora
from xeric.search_space import Space

__all__ = ["Combined", "CombinedOptions", "PartsOptions", "options_with"]

_PAPER = ("lora", "prefix", "embedding")
"""The parts that are on unless they are switched off."""


class PartsOptions(MethodOptions):
    """Options of a combined method: those of each part, or false, under the part's name, and ``lr_scale`` by part.

    Attributes:
        methods: of the parts that there are, in the order in which they are attached.
    """

    methods: ClassVar[Mapping[str, type[Method]]] = {}

    name: Literal["combined"] = "combined"

    @property
    def parts(self) -> dict[str, MethodOptions]:
        """Options of the parts that are used, in the order in which they are attached."""
        return {name: options for name in self.methods if (options := getattr(self, name))}

    @model_validator(mode="after")
    def _has_a_part(self) -> PartsOptions:
        if not self.parts:
            raise ValueError("every part is left out; use the method 'none'")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the parts that nobody asked for, so that registering one changes no run that does without it."""
        data: dict[str, Any] = plain(self)
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
    scales = create_model("PartScales", __base__=Config, __module__=__name__, **rates)
    fields: dict[str, Any] = {name: _part(methods[name], on=name in _PAPER) for name in names}
    fields["lr_scale"] = (scales, scales())
    made = create_model("CombinedOptions", __base__=PartsOptions, __doc__=_said(summaries, names), __module__=__name__, **fields)
    made.methods = dict(methods)
    return made


def _part(method: type[Method], *, on: bool) -> tuple[Any, MethodOptions | Literal[False]]:
    """Return type and default of the setting of a part."""
    options: Any = method.Options
    return options | Literal[False], options() if on else False


def _said(summaries: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the docstring of the options, from which the page of settings is made."""
    said = {name: f"{summaries[name]}; false leaves it out." for name in names}
    said["lr_scale"] = "learning rate of each part, times the run's."
    lines = [f"        {name}: {what}" for name, what in said.items()]
    return "\n".join(["Options of the combined method.", "", "    Attributes:", *lines, ""])


CombinedOptions = options_with({part.name: PARTS.get(part.name) for part in PARTS}, {part.name: part.summary for part in PARTS})


class _CombinedAdaptation(Adaptation):
    def __init__(self, base: Base, options: PartsOptions, seed: int, definitions: Mapping[str, str]) -> None:
        super().__init__(base)
        self._options = options
        self._parts: dict[str, Adaptation] = {}
        try:
            for name, chosen in options.parts.items():
                self._parts[name] = options.methods[name].attach(base, chosen, seed=seed, definitions=definitions)
        except ConfigError as error:
            self.detach()
            raise _of_part(error, name) from None
        except BaseException:
            self.detach()
            raise

    def carried(self) -> set[str]:
        """Return what the parts carry."""
        return {name for part in self._parts.values() for name in part.carried()}

    def groups(self) -> list[ParameterGroup]:
        scales = self._options.model_dump()["lr_scale"]
        return [
            replace(group, lr_scale=group.lr_scale * scales[name])
            for name, part in self._parts.items()
            for group in part.groups()
        ]

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        return next(filter(None, (part.initial_tokens(task) for part in self._parts.values())), ())

    def save(self, folder: Path) -> None:
        for name, part in self._parts.items():
            (folder / name).mkdir(exist_ok=True)
            part.save(folder / name)

    def load(self, folder: Path) -> None:
        for name, part in self._parts.items():
            if not (folder / name).is_dir():
                raise DataError(f"holds no part {name!r} of a combined adaptation", where=str(folder))
            part.load(folder / name)

    def detach(self) -> None:
        for part in reversed(self._parts.values()):
            part.detach()
        self._parts = {}

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
        for part in reversed(self._parts.values()):
            part.merge()


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
        """Return that of the one part that does not start at the base; without one they all do."""
        kinds: set[StepZero] = {method.step_zero(chosen, architecture) for _, method, chosen in _used(options)}
        return "none" if "none" in kinds else "initial-tokens" if "initial-tokens" in kinds else "base"

    @classmethod
    def mergeable(cls, options: PartsOptions) -> bool:
        """Return whether every part is."""
        return all(method.mergeable(chosen) for _, method, chosen in _used(options))

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
