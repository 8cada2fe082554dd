"""The paper's combined method ("Ours"): LoRA + prompt prefix + fused embeddings, and learned weights of the tasks.

It is composition: each part is the method of its own file, attached to the same base, trained in its own learning-rate group, and
saved in its own folder. ``method.lora=false``, ``method.prefix=false`` and ``method.embedding=false`` take a part away. The
task weights belong to training (``train.weighting``): with this method they are ``uncertainty`` unless something else is asked
for (``train.weighting.name=uniform`` takes them away).

Trainable parameters: the sum of the parts'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from xeric.bases.base import Base
from xeric.config import Config
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup, StepZero
from xeric.methods.embedding import FusedEmbedding, FusedEmbeddingOptions
from xeric.methods.lora import Lora, LoraOptions
from xeric.methods.prefix import Prefix, PrefixOptions
from xeric.search_space import Space

__all__ = ["Combined", "CombinedOptions"]


class PartScales(Config):
    """Learning rate of each part, times the run's; the defaults give each part the rate that it has by itself."""

    lora: float = Field(default=1.0, gt=0, le=1e6)
    prefix: float = Field(default=Prefix.default_lr / Lora.default_lr, gt=0, le=1e6)
    embedding: float = Field(default=FusedEmbedding.default_lr / Lora.default_lr, gt=0, le=1e6)


class CombinedOptions(MethodOptions):
    """Options of the combined method.

    Attributes:
        lora: options of LoRA; false leaves it out.
        prefix: options of the prompt prefix; false leaves it out.
        embedding: options of the fused embeddings; false leaves them out.
        lr_scale: learning rate of each part, times the run's.
    """

    name: Literal["combined"] = "combined"
    lora: LoraOptions | Literal[False] = LoraOptions()
    prefix: PrefixOptions | Literal[False] = PrefixOptions()
    embedding: FusedEmbeddingOptions | Literal[False] = FusedEmbeddingOptions()
    lr_scale: PartScales = PartScales()

    @model_validator(mode="after")
    def _has_a_part(self) -> CombinedOptions:
        if not self.lora and not self.prefix and not self.embedding:
            raise ValueError("every part is left out; use the method 'none'")
        return self

    @property
    def parts(self) -> dict[str, MethodOptions]:
        """Options of the parts that are used, in the order in which they are attached."""
        chosen = {"prefix": self.prefix, "embedding": self.embedding, "lora": self.lora}
        return {name: options for name, options in chosen.items() if options}


_METHODS: dict[str, type[Method]] = {"prefix": Prefix, "embedding": FusedEmbedding, "lora": Lora}


class _CombinedAdaptation(Adaptation):
    def __init__(self, base: Base, options: CombinedOptions, seed: int, definitions: Mapping[str, str]) -> None:
        super().__init__(base)
        self._scales = options.lr_scale.model_dump()
        self._parts: dict[str, Adaptation] = {}
        try:
            for name, chosen in options.parts.items():
                self._parts[name] = _METHODS[name].attach(base, chosen, seed=seed, definitions=definitions)
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
        return [
            replace(group, lr_scale=group.lr_scale * self._scales[name])
            for name, part in self._parts.items()
            for group in part.groups()
        ]

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        return self._parts["prefix"].initial_tokens(task) if "prefix" in self._parts else ()

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
        """Fold LoRA into the base's weights where it is the only part.

        Raises:
            RunError: another part is on, which cannot be merged; nothing was changed.
        """
        if others := [name for name in self._parts if name != "lora"]:
            raise RunError(
                f"{' and '.join(others)} cannot be merged into the base's weights",
                hint="export the adapter as it is, or train with method.prefix=false method.embedding=false",
            )
        self._parts["lora"].merge()


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
    def space(cls, options: CombinedOptions) -> Space:
        """Return LoRA's learning rates, and what is tried of each part beside its rate."""
        spaces = {f"method.{name}.": _METHODS[name].space(chosen) for name, chosen in options.parts.items()}
        own = {
            where + path.removeprefix("method."): values
            for where, space in spaces.items()
            for path, values in space.items()
            if path.startswith("method.")
        }
        return {"train.lr": Lora.search_space["train.lr"], **own}

    @classmethod
    def step_zero(cls, options: CombinedOptions) -> StepZero:
        """Return that of the prefix; the other parts start at the base."""
        return Prefix.step_zero(options.prefix) if options.prefix else "base"

    @classmethod
    def mergeable(cls, options: CombinedOptions) -> bool:
        """Return whether LoRA is the only part."""
        return list(options.parts) == ["lora"]

    @classmethod
    def needs_definitions(cls, options: CombinedOptions) -> bool:
        """Return that of the prefix."""
        return Prefix.needs_definitions(options.prefix) if options.prefix else False

    @classmethod
    def attach(cls, base: Base, options: CombinedOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Attach the parts, one after the other.

        Raises:
            ConfigError: a part does not fit the base; the base is as it was.
        """
        return _CombinedAdaptation(base, options, seed, definitions)
