"""The settings of a base to pretrain (``xeric pretrain CONFIG.yaml``)."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from xeric.config import Config, apply_overrides, build, digest, load_yaml
from xeric.errors import UnknownNameError
from xeric.training.corpus import CorpusOptions
from xeric.training.mixture import MixtureOptions
from xeric.training.optimizer import OptimizerOptions

__all__ = ["PretrainConfig", "Schedule", "Shape", "bundled_recipes", "find_recipe", "load_pretrain_config"]

# Settings that say how long, how often and how fast; everything else is part of a training's identity.
_FREE = {"schedule", "title", "evaluate_every", "checkpoint_seconds", "compile", "device", "threads", "workers"}


class Shape(Config):
    """The model (``shape.*``), by transformers' names."""

    model_type: Literal["llama", "qwen3"] = "llama"
    hidden_size: int = Field(default=256, ge=8)
    num_hidden_layers: int = Field(default=6, ge=1)
    intermediate_size: int = Field(default=640, ge=8)
    num_attention_heads: int = Field(default=8, ge=1)
    num_key_value_heads: int = Field(default=4, ge=1)
    max_position_embeddings: int = Field(default=1024, ge=8)
    rope_theta: float = Field(default=10_000.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Shape:
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        if self.hidden_size % (2 * heads):
            raise ValueError(f"hidden_size={self.hidden_size} is not an even number of channels for each of {heads} heads")
        if heads % groups:
            raise ValueError(f"num_key_value_heads={groups} does not divide num_attention_heads={heads}")
        return self


class Schedule(Config):
    """How long to train (``schedule.*``); may be changed between sessions.

    Attributes:
        warmup_steps: steps over which the learning rate rises from 0.
        stable_characters: once so many characters were read, the decay begins; 1 begins it at once.
        decay_characters: characters over which the learning rate then falls linearly to 0.
    """

    warmup_steps: int = Field(default=200, ge=0)
    stable_characters: int = Field(ge=1)
    decay_characters: int = Field(ge=1)


class PretrainConfig(Config):
    """A base to pretrain.

    Attributes:
        title: one line, the card's heading.
        seed: of initial weights and of everything drawn.
        corpus: what it learns from.
        mixture: what a step is made of.
        shape: the model.
        optimizer: how weights move.
        schedule: how long.
        precision: of matrix products.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        compile: let torch compile the model: it pays on CUDA; on the CPU it was measured to gain nothing.
        threads: CPU threads; None leaves torch's own choice. On a busy machine several that wait for each other are slower than
            one.
        workers: processes that make batches ahead; 0 makes them in the training process, which is enough for a CPU.
        evaluate_every: steps between measurements on held-out text.
        checkpoint_seconds: least time between checkpoints.
    """

    title: str
    seed: int = 0
    corpus: CorpusOptions
    mixture: MixtureOptions = MixtureOptions()
    shape: Shape = Shape()
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: Schedule
    precision: Literal["bf16", "fp32"] = "bf16"
    device: str = "auto"
    compile: bool = False
    threads: int | None = Field(default=None, ge=1)
    workers: int = Field(default=0, ge=0)
    evaluate_every: int = Field(default=250, ge=1)
    checkpoint_seconds: float = Field(default=180.0, ge=0)

    @model_validator(mode="after")
    def _rows_fit(self) -> PretrainConfig:
        longest, context = self.mixture.longest, self.shape.max_position_embeddings
        if longest > context:
            raise ValueError(f"the mixture has rows of {longest} tokens, but shape.max_position_embeddings={context}")
        return self

    @property
    def key(self) -> str:
        """Identity of a training: equal for settings that differ only in how long or how fast; a setting added later keeps it."""
        return digest(self.model_dump(mode="json", exclude=_FREE, exclude_defaults=True))


def bundled_recipes() -> dict[str, Path]:
    """Return the configs that the bundled bases were made from, by name."""
    root = Path(str(importlib.resources.files("xeric"))) / "bundled" / "bases"
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Return the config of a name: a bundled one's (``english``), or the path of a file.

    Raises:
        UnknownNameError: it is neither a bundled one nor a path.
    """
    recipes = bundled_recipes()
    path = Path(name)
    if name in recipes:
        return recipes[name]
    if not path.suffix and len(path.parts) < 2 and not path.is_file():
        raise UnknownNameError("pretraining config", name, recipes)
    return path


def load_pretrain_config(path: Path, overrides: Iterable[str] = ()) -> PretrainConfig:
    """Return the settings in a YAML file.

    Args:
        path: of the file.
        overrides: dotted settings (``optimizer.lr=1e-3``) that go before those of the file.

    Raises:
        DataError: the file cannot be read or is not YAML.
        ConfigError: a setting is unknown, missing or ill-typed; ``where`` is its dotted path.
    """
    return build(PretrainConfig, apply_overrides(load_yaml(path), overrides))
