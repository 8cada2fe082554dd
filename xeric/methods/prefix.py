r"""A learned prompt prefix P = (p_1 .. p_m) in front of the task input (the paper's section on prompt prefixes).

``level: input`` puts m vectors in front of the embedding sequence (prompt tuning: Lester et al. 2021, arXiv 2104.08691, section
2); ``level: kv`` puts m pairs of key and value in front of every layer's own (prefix tuning: Li & Liang 2021, arXiv 2101.00190,
section 4.2, without the reparametrisation, which serves random starts). Keys are kept as attention uses them, after rotation, at
positions 0 .. m-1; rows begin at position m, and m counts against the context. On sliding-window layers P is seen only from
inside the window. P is the beginning of the prefix that the engine computes once for all instances.

P starts as tokens: the task's ``instruction`` or tokens drawn from the ``vocabulary``; the untrained method is then exactly the
base fed those tokens. The row's BOS token becomes P's first. Or it starts at ``random``, which trains far worse (Li & Liang,
section 7.4); then the row keeps its BOS token, behind P.

On an encoder-decoder base, ``input`` puts P before the encoder's embeddings, and ``kv`` before the decoder's self-attention. On
an encoder both stand before the whole row. There the keys and values of tokens depend on what follows them, so ``kv`` starts
*from* the tokens (as they are when they are read alone) and not exactly at them.

With a gate (in :mod:`xeric.methods.combined`), ``kv`` is no beginning of the row. Each layer attends to P with a softmax of its
own, times a gate that starts at 0 (LLaMA-Adapter, arXiv 2303.16199), so that step 0 is exactly the base whatever P starts as; P
takes no position of the row, and is seen on sliding-window layers from everywhere (:mod:`xeric.bases.attention_addition`).

Trainable parameters of each prefix: m d (``input``), or 2 m h over the layers, h the layer's key-value heads times their size
(``kv``). It is no change of the base's weights, so it cannot be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from xeric.bases.architecture import ArchitectureName
from xeric.bases.attention_addition import attention_modules, begin_adding, computes_by_sdpa, end_adding
from xeric.bases.base import Base
from xeric.bases.protocols import AttendedPrefix, KeysAndValues
from xeric.errors import ConfigError, DataError, UnknownNameError
from xeric.json_io import read_json
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup, StepZero
from xeric.methods.gates import Gate, PartGates
from xeric.methods.module_adaptation import ModuleAdaptation
from xeric.methods.prefix_start import OnePrefix, make_prefix
from xeric.search_space import Range

__all__ = ["Prefix", "PrefixAdaptation", "PrefixOptions", "check_takes_prefix"]

_CHILD = "prompt_prefix"
_SHARED = ""


class PrefixOptions(MethodOptions):
    """Options of the prompt prefix.

    Attributes:
        level: ``kv`` (keys and values in every layer) or ``input`` (vectors before the embeddings).
        scope: a prefix for each ``task``, or one that all tasks share (``shared``).
        start: ``instruction``, ``vocabulary`` or ``random``.
        length: m; None is the length of the instruction (at most a quarter of the context), and 16 for the other starts. An
            instruction is cut, or said again, to a given length.
        text: takes the place of the tasks' definitions for ``instruction``; a prefix that several tasks share needs it.
    """

    name: Literal["prefix"] = "prefix"
    level: Literal["kv", "input"] = "kv"
    scope: Literal["task", "shared"] = "task"
    start: Literal["instruction", "vocabulary", "random"] = "instruction"
    length: int | None = Field(default=None, ge=1, le=4096)
    text: str | None = Field(default=None, min_length=1)

    @property
    def as_long_as_definition(self) -> bool:
        """Whether its length is that of a task's definition."""
        return self.start == "instruction" and self.length is None and self.text is None


class PrefixAdaptation(ModuleAdaptation):
    """The prefixes of all tasks, as a child of the base's model: they follow it to other devices and types of state."""

    unmergeable = "a prompt prefix is no change of the base's weights, so it cannot be merged into them"

    def __init__(self, base: Base, options: PrefixOptions, seed: int, definitions: Mapping[str, str]) -> None:
        super().__init__(base, options)
        self._static = options
        texts = _texts(options, definitions)
        # A random start runs tokens too: they show the shapes of the layers' states, the values are drawn.
        with torch.no_grad(), base.mode(training=False), base.autocast():
            made = [self._make(text, seed, number) for number, text in enumerate(texts.values())]
        self._numbers = {task: number for number, task in enumerate(texts)}
        self._prefixes = made
        base.model.add_module(_CHILD, nn.ModuleList(made))
        base.learned_prefix = self
        self._gates: PartGates | None = None
        self._gate_of: dict[nn.Module, tuple[str, Gate]] = {}

    def _make(self, text: str, seed: int, number: int) -> OnePrefix:
        """Return a prefix at its start: the one with a number, that starts from a text."""
        return make_prefix(self.base, self._static, text, seed, number)

    def _of(self, task: str) -> OnePrefix:
        name = _SHARED if _SHARED in self._numbers else task
        if name not in self._numbers:
            raise UnknownNameError("task with a learned prefix", task, self._numbers)
        return self._prefixes[self._numbers[name]]

    # What the engine asks of a learned prefix (xeric.bases.protocols.LearnedPrefix).

    per_row = False

    def for_rows(self, task: str, inputs: Sequence[tuple[int, ...]]) -> Sequence[KeysAndValues]:
        """Return nothing: all rows of a task have the same prefix."""
        return ()

    def length(self, task: str) -> int:
        """Return m."""
        return self._of(task).length

    def vectors(self, task: str) -> torch.Tensor | None:
        """Return a task's vectors ``[m, hidden]``, or None."""
        return self._of(task).vectors

    def keys_and_values(self, task: str) -> Sequence[KeysAndValues]:
        """Return a task's keys and values, one pair per layer, or nothing."""
        return self._of(task).keys_and_values()

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        """Return the tokens that a task's prefix starts as; none of a gated one."""
        return () if self._gates else self._of(task).ids

    # What attention asks of a gated one (xeric.bases.protocols.AttentionAddition).

    def __call__(self, attention: nn.Module, task: str, columns: slice) -> AttendedPrefix | None:
        """Return what a layer attends to apart; see :class:`xeric.bases.protocols.AttentionAddition`."""
        layer, gate = self._gate_of[attention]
        pair = self._of(task).keys_and_values()[attention.layer_idx]  # type: ignore[index]
        assert self._gates is not None
        if pair is None:
            return None
        factor = gate(self._gates.states(layer))
        return AttendedPrefix(*pair, factor[:, columns] if factor.ndim > 1 else factor)

    def add_gates(self, gates: PartGates) -> None:
        """Take the prefix out of the rows: each layer attends to it apart, times a gate that starts at 0.

        Raises:
            ConfigError: the base computes attention by code of its own, which has no place for that.
        """
        if not computes_by_sdpa(self.base):
            kind = self.base.model.config.model_type
            raise ConfigError(
                f"{self.base.name} ({kind}) computes attention by code of its own, so its prefix takes no gate",
                where="method.gate",
                hint="use method.gate=none, or leave the prefix out with method.prefix=false",
            )
        self._gates = gates
        for layer, attention in _self_attentions(self.base, gates.layers).items():
            self._gate_of[attention] = layer, gates.add(layer, "closed")
        self.base.learned_prefix, self.base.attention_addition = None, self
        begin_adding(self.base, list(self._gate_of))

    def carried(self) -> set[str]:
        """Return the shared prefix; the prefix of one task is of no use for another."""
        return super().carried() if _SHARED in self._numbers else set()

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what :meth:`state` returned; a shared prefix as long as the definition takes the length that it has there.

        That is the length of another definition where it goes on from other tasks.
        """
        if _SHARED in self._numbers and self._static.as_long_as_definition:
            (prefix,) = self._prefixes
            name, dimension = prefix.positions
            # What has no such dimension is no prefix, which is said below.
            length = next(iter(state[f"{_CHILD}.0.{name}"].shape[dimension:]), prefix.length)
            if length != prefix.length:
                prefix.resize(length)
        super().load_state(state)

    def groups(self) -> list[ParameterGroup]:
        """Return one group: the prefixes of all tasks."""
        # Decay would pull a prefix towards 0, away from the tokens it started as.
        return [ParameterGroup("prefix", self.parameters_under(f"{_CHILD}."), weight_decay=False)]

    def describe(self) -> dict[str, Any]:
        """Return the tasks, and the tokens that their prefixes start as."""
        return {"tasks": list(self._numbers), "initial_tokens": [list(prefix.ids) for prefix in self._prefixes]}

    def load(self, folder: Path) -> None:
        """Read back what :meth:`save` wrote.

        Raises:
            DataError: there are no such prefixes, or they are of other tasks or sizes.
        """
        # The weights carry numbers, not names: prefixes of other tasks could be of the same sizes.
        path = folder / f"{self._options.name}.json"
        described = read_json(path)
        saved = described.get("tasks") if isinstance(described, dict) else None
        if saved != list(self._numbers):
            raise DataError(f"holds prefixes of {_named(saved)}, not of {_named(self._numbers)}", where=str(path))
        super().load(folder)

    def detach(self) -> None:
        """Take the prefixes off."""
        self.base.learned_prefix = None
        if self._gate_of:
            self.base.attention_addition = None
            end_adding(self.base)
        delattr(self.base.model, _CHILD)
        self._prefixes = []


def _self_attentions(base: Base, layers: Sequence[str]) -> dict[str, nn.Module]:
    """Return the self-attention module of each layer that a prefix precedes (a decoder's, where there is one), by the layer."""
    names = {module: name for name, module in base.model.named_modules()}
    modules: dict[str, nn.Module] = {}
    for attention in attention_modules(base):
        layer = next((layer for layer in layers if names[attention].startswith(f"{layer}.")), None)
        # The first one in a layer: a decoder's cross-attention follows its self-attention.
        if layer is not None:
            modules.setdefault(layer, attention)
    if base.architecture.name != "seq2seq":
        return modules
    decoder = set(base.model.get_decoder().modules())
    return {layer: attention for layer, attention in modules.items() if attention in decoder}


def _named(tasks: object) -> str:
    names = [str(task) for task in tasks] if isinstance(tasks, Iterable) else []
    return ", ".join(name or "all tasks together" for name in names) or "no task"


def _texts(options: PrefixOptions, definitions: Mapping[str, str]) -> dict[str, str]:
    """Return the text that each prefix starts from, tasks in alphabetical order; the shared one's name is empty."""
    if options.scope == "task":
        if not definitions:
            raise ConfigError(
                "a prefix for each task needs to know the tasks", where="method.scope", hint="use method.scope=shared"
            )
        return {task: options.text or definition for task, definition in sorted(definitions.items())}
    texts = [options.text] if options.text else sorted(set(definitions.values()))
    if options.start == "instruction" and len(texts) != 1:
        raise ConfigError(
            f"{len(texts)} definitions cannot start one shared prefix",
            where="method.text",
            hint="give a text for it, or take method.scope=task, or another method.start",
        )
    return {_SHARED: texts[0] if texts else ""}


def check_takes_prefix(base: Base, level: str) -> None:
    """Check that a base takes a learned prefix of a level.

    Raises:
        ConfigError: it does not.
    """
    if not base.architecture.takes_prefix(base, level):
        raise ConfigError(
            f"{base.name} cannot continue a computed prefix, so it takes no learned one", where="method.name", hint=_why_not(base)
        )


def _why_not(base: Base) -> str:
    if base.architecture.name == "encoder":
        return "it keeps no keys and values; use method.level=input"
    return "its rotary embeddings depend on the row's length, or it keeps no keys and values; use lora or bottleneck"


class Prefix(Method):
    """The learned prompt prefix.

    The default learning rate is a hundred times LoRA's and more: a prefix is few numbers, and at the rates of 1e-3 to 1e-2 that
    the literature takes for thousands of steps it had hardly moved after the few dozen that small data allow (docs/log.md).
    """

    Options = PrefixOptions
    default_lr = 3e-2
    search_space = {"train.lr": Range(low=3e-3, high=3e-1), "method.length": (16, 32, 64, 128)}

    @classmethod
    def seeded(cls, options: PrefixOptions) -> bool:
        """Return whether its start is drawn."""
        return options.start != "instruction"

    @classmethod
    def step_zero(cls, options: PrefixOptions, architecture: ArchitectureName = "causal") -> StepZero:
        """Return what the start stands for.

        Where the prompt is read in both directions, the keys and values of tokens depend on all of a row, so those that a prefix
        starts with are not those of a row that begins with its tokens.
        """
        inexact = options.level == "kv" and architecture != "causal"
        return "none" if options.start == "random" or inexact else "initial-tokens"

    @classmethod
    def ungated(cls, options: PrefixOptions) -> str | None:
        """Return why it takes no gates: vectors before the embeddings are in no layer."""
        return None if options.level == "kv" else "a prefix of vectors (level: input) is in no layer, so it takes no gates"

    @classmethod
    def mergeable(cls, options: PrefixOptions) -> bool:
        """Return False: P is no change of the weights."""
        return False

    @classmethod
    def needs_definitions(cls, options: PrefixOptions) -> bool:
        """Return whether there is a prefix for each task, or a shared one that starts from their definition."""
        return options.scope == "task" or (options.start == "instruction" and options.text is None)

    @classmethod
    def attach(cls, base: Base, options: PrefixOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Put the prefixes in front of the rows of the tasks.

        Raises:
            ConfigError: the base cannot continue a computed state, the prefix takes too much of its context, or there is no text
                to start from.
        """
        check_takes_prefix(base, options.level)
        return PrefixAdaptation(base, options, seed, definitions)
