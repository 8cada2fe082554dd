"""PEFT's tuners by name (``peft:dora``, ``peft:ia3`` ...); which there are, and from where, :mod:`xeric.methods.peft_names` says.

One class serves all of them. A tuner's settings are the fields of its PEFT configuration class that hold plain data and
do not reach beyond the tuner's own layers: what trains the base's own parameters (``bias``), copies modules of it
(``modules_to_save``) or needs another model, data or library is left out. By default every linear layer but the output
layer is adapted; IA3 and norm tuning go on the modules that PEFT lists for the family, and must be told where it lists none.

The class of one tuner is an attribute of this module by the tuner's name: ``peft_tuners.dora``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, cast, get_type_hints

import peft
from pydantic import ConfigDict, Field, TypeAdapter, create_model, field_validator
from pydantic.errors import PydanticSchemaGenerationError
from transformers.pytorch_utils import Conv1D

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base
from xeric.config import Config
from xeric.errors import ConfigError, RunError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, StepZero
from xeric.methods.peft_adapter import PeftAdaptation, linear_layers, task_type
from xeric.methods.peft_names import TUNERS, Tuner

__all__ = ["PeftTuner"]

# Beside the fields that every PEFT configuration has: what goes beyond a tuner's own layers, or follows from the base.
_LEFT_OUT = {
    "alora_invocation_tokens",
    "bias",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "init_lora_weights",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "progressbar",
    "qalora_group_size",
    "runtime_offload_base_weight",
    "save_only_topk_weights",
    "target_parameters",
    "trainable_token_indices",
    "use_qalora",
}
_REFUSALS = (ValueError, TypeError, KeyError, ImportError, NotImplementedError)
_LARGEST = 1_000_000_000


class _Settings(Config):
    """Settings of one tuner; their defaults are PEFT's, which do not all satisfy PEFT's own annotations."""

    model_config = ConfigDict(validate_default=False, protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        # PEFT states no ranges; beyond this one its tensors could not be made.
        if any(abs(number) > _LARGEST for number in _numbers(value)):
            raise ValueError(f"expected a number from -{_LARGEST} to {_LARGEST}, found {value!r}")
        return value


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in a setting, however deep."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(inner)


class PeftTuner(Method):
    """One of PEFT's tuners; a subclass for each is made by name.

    Attributes:
        key: the tuner's name without ``peft:``.
        tuner: what Xeric knows about it.
    """

    key: ClassVar[str]
    tuner: ClassVar[Tuner]

    @classmethod
    def step_zero(cls, options: Any, architecture: ArchitectureName = "causal") -> StepZero:
        """Return whether PEFT starts the tuner at the base."""
        return "base" if cls.tuner.starts_at_base else "none"

    @classmethod
    def seeded(cls, options: Any) -> bool:
        """Return whether PEFT draws anything for the tuner, at its defaults."""
        return cls.tuner.seeded

    @classmethod
    def mergeable(cls, options: Any) -> bool:
        """Return whether PEFT can merge the tuner."""
        return cls.tuner.merges

    @classmethod
    def attach(cls, base: Base, options: Any, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Put PEFT's layers on.

        Raises:
            ConfigError: PEFT refuses the settings, or this base with them; the base is as it was.
        """
        if not cls.tuner.on_conv1d and _has_conv1d(base):
            raise ConfigError(
                f"{options.name} cannot be put on {base.name}: PEFT's {cls.key} takes no Conv1D layers, and this family has them",
                where="method.name",
                hint="use lora, peft:dora or peft:ia3",
            )
        try:
            config = _config(cls.tuner, base, options.options.model_dump())
            adaptation = _TunerAdaptation(base, config, seed=seed, name=options.name, merges=cls.tuner.merges)
        except _REFUSALS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ConfigError(
                f"{options.name} cannot be put on {base.name}: {reason}",
                where="method.options",
                hint="linear layers: " + ", ".join(linear_layers(base.model)),
            ) from None
        if not cls.tuner.on_scaled_embedding and any(hasattr(layer, "embed_scale") for layer in adaptation.adapted):
            adaptation.detach()
            raise ConfigError(
                f"{options.name} cannot be put on {base.name}'s embedding: PEFT's {cls.key} leaves out the factor that it has",
                where="method.options.target_modules",
                hint="take linear layers, or lora or peft:dora for the embedding",
            )
        return adaptation


class _TunerAdaptation(PeftAdaptation):
    def __init__(self, base: Base, config: peft.PeftConfig, *, seed: int, name: str, merges: bool) -> None:
        super().__init__(base, config, seed=seed, name=name)
        self._merges = merges

    def merge(self) -> None:
        """Fold the tuner into the base's weights where that is defined.

        Raises:
            RunError: it is not; nothing was changed.
        """
        if not self._merges:
            raise RunError(f"{self._name} cannot be merged into the base's weights", hint="export the adapter as it is")
        super().merge()


def _config(tuner: Tuner, base: Base, chosen: dict[str, Any]) -> peft.PeftConfig:
    kind = getattr(peft, tuner.config)
    names = {field.name for field in dataclasses.fields(kind)}
    settings = {**tuner.defaults, **tuner.fixed, **chosen}
    if "fan_in_fan_out" in names:
        settings["fan_in_fan_out"] = _has_conv1d(base)
    config: peft.PeftConfig = kind(task_type=task_type(base), **settings)
    return config


def _has_conv1d(base: Base) -> bool:
    return any(isinstance(module, Conv1D) for module in base.model.modules())


@functools.cache
def _method(key: str) -> type[PeftTuner]:
    """Return the method class of one tuner."""
    tuner = TUNERS[key]
    settings = _settings(key, tuner)
    name = f"peft:{key}"
    options: type[MethodOptions] = create_model(
        f"{settings.__name__}Options",
        __base__=MethodOptions,
        __doc__=f"Options of {name}: its name and the settings of PEFT's {tuner.config}.",
        name=(cast(Any, Literal[name]), name),
        options=(settings, Field(default_factory=settings)),
    )
    attributes = {
        "__doc__": tuner.summary,
        "__module__": __name__,
        "key": key,
        "tuner": tuner,
        "Options": options,
        "default_lr": tuner.lr,
    }
    return type(settings.__name__, (PeftTuner,), attributes)


def _settings(key: str, tuner: Tuner) -> type[_Settings]:
    """Return the settings model of a tuner, made from its PEFT configuration class."""
    kind = getattr(peft, tuner.config)
    hints = get_type_hints(kind)
    common = {field.name for field in dataclasses.fields(peft.PeftConfig)}
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in common | _LEFT_OUT | set(tuner.fixed) or not _is_plain(hints[field.name]):
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if field.name == "target_modules":
            default = "all-linear"
        default = tuner.defaults.get(field.name, default)
        fields[field.name] = (hints[field.name], default)
    return create_model(key.title().replace("_", ""), __base__=_Settings, **fields)


def _is_plain(hint: Any) -> bool:
    """Whether values of a type come from JSON and go back to it: no classes, functions or nested configurations."""
    try:
        schema = json.dumps(TypeAdapter(hint).json_schema())
    except (PydanticSchemaGenerationError, ValueError, TypeError):
        return False
    return '"properties"' not in schema and schema != "{}"


def __getattr__(attribute: str) -> type[PeftTuner]:
    if attribute in TUNERS:
        return _method(attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
