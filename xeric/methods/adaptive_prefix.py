r"""A prompt prefix that depends on the instance: P(x) in place of one P for all inputs x of a task.

It is a prefix of keys and values (:mod:`xeric.methods.prefix`) that adapts in one of two ways. Both depend on s(x), the direction
of the frozen base's state of the input: the mean over the input's tokens, run alone, of the last hidden states, divided by its
length. The base is frozen, so s(x) is computed once for each input.

- ``mixture``: k prefixes P_j and a gate over them, P(x) = sum_j p_j(x) P_j with p(x) = softmax(W s(x)), after SMoP (Choi et al.,
  EMNLP 2023). SMoP picks one prefix for each instance; a sum has a gradient for every P_j and for the gate, and costs no more
  where P is keys and values. All P_j start alike, so step 0 is the static prefix whatever W is; W is drawn (normal, 1), so that
  they part ways.
- ``generated``: P(x) = P + U gelu(V s(x) + b), with U = 0 at the start, so that step 0 is the static prefix, after IDPG (Wu et
  al. 2022, arXiv 2204.04497, which generates input vectors) and Control Prefixes (Clive et al. 2021, arXiv 2110.08329).

**The shared prefix.** The columns of an instance see P(x). Those of the task prefix (definition and demonstrations), which come
before the input, see the static prefix: the mean of the P_j, or P. So their states do not depend on the instance, and they are
still computed once. An encoder-decoder base has P(x) in its decoder; an encoder reads the whole row in both directions, so there
all columns see P(x), and nothing is shared in any case.

Trainable parameters for each prefix of n numbers, on a base of hidden size d: k n + k d (``mixture``), or
(1 + r) n + r (d + 1) (``generated``). The control with as many parameters is the method ``prefix`` with k times, or 1 + r times,
the length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base
from xeric.bases.protocols import KeysAndValues
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, StepZero
from xeric.methods.prefix import Prefix, PrefixAdaptation, PrefixOptions, check_takes_prefix
from xeric.methods.prefix_start import OnePrefix, drawn_numbers, make_prefix
from xeric.search_space import Space

__all__ = ["AdaptivePrefix", "AdaptivePrefixOptions"]

_KEPT_STATES = 10_000
"""States of inputs that are kept; each takes 4 d bytes."""


class AdaptivePrefixOptions(MethodOptions):
    """Options of a prompt prefix that depends on the instance.

    Attributes:
        kind: ``mixture`` (a gate over several learned prefixes) or ``generated`` (learned offsets to one).
        count: k, prefixes of a mixture.
        size: r, inner width of what generates the offsets.
        scope: as of the method ``prefix``.
        start: likewise.
        length: likewise.
        text: likewise.
    """

    name: Literal["adaptive_prefix"] = "adaptive_prefix"
    kind: Literal["mixture", "generated"] = "mixture"
    count: int = Field(default=4, ge=2, le=256)
    size: int = Field(default=8, ge=1, le=1024)
    scope: Literal["task", "shared"] = "task"
    start: Literal["instruction", "vocabulary", "random"] = "instruction"
    length: int | None = Field(default=None, ge=1, le=4096)
    text: str | None = Field(default=None, min_length=1)

    @property
    def static(self) -> PrefixOptions:
        """Options of the static prefix that it starts as."""
        return PrefixOptions(scope=self.scope, start=self.start, length=self.length, text=self.text)


class _Mixture(OnePrefix):
    """The mean of k prefixes, as the static one, and their weighted sums.

    The prefixes are kept one above the other along the batch: keys and values of layer i are ``[k, heads, m, head size]``.
    """

    def __init__(self, start: OnePrefix, count: int, width: int, seed: int, number: int) -> None:
        pairs = start.keys_and_values()
        super().__init__(start.ids, None, [pair and (_times(pair[0], count), _times(pair[1], count)) for pair in pairs])
        self.gate = nn.Parameter(drawn_numbers((count, width), seed, number, 1.0))

    def keys_and_values(self) -> list[KeysAndValues]:
        """Return the mean of the prefixes."""
        return [pair and (pair[0].mean(0, keepdim=True), pair[1].mean(0, keepdim=True)) for pair in super().keys_and_values()]

    def for_states(self, states: torch.Tensor) -> list[KeysAndValues]:
        """Return the prefixes of B inputs, by their states ``[B, d]``."""
        weights = (states[:, None] * self.gate).sum(-1).softmax(-1)
        return [pair and (_weighted(weights, pair[0]), _weighted(weights, pair[1])) for pair in super().keys_and_values()]


class _Generated(OnePrefix):
    """A static prefix, and what generates offsets to it."""

    def __init__(self, start: OnePrefix, size: int, width: int, seed: int, number: int) -> None:
        pairs = start.keys_and_values()
        super().__init__(start.ids, None, pairs)
        self.down = nn.Parameter(drawn_numbers((size, width), seed, number, 1.0))
        self.bias = nn.Parameter(torch.zeros(size))
        self.up = nn.Parameter(torch.zeros(size, sum(part.numel() for pair in pairs if pair for part in pair)))

    def resize(self, length: int) -> None:
        """Take another length, the offsets too."""
        self.up.data = self.up.new_zeros(self.up.shape[0], self.up.shape[1] // self.length * length)
        super().resize(length)

    def for_states(self, states: torch.Tensor) -> list[KeysAndValues]:
        """Return the prefixes of B inputs, by their states ``[B, d]``."""
        inner = F.gelu((states[:, None] * self.down).sum(-1) + self.bias)
        offsets = inner @ self.up
        done = 0
        prefixes: list[KeysAndValues] = []
        for pair in self.keys_and_values():
            if pair is None:
                prefixes.append(None)
                continue
            parts = []
            for part in pair:
                offset = offsets[:, done : done + part.numel()].view(-1, *part.shape[1:])
                parts.append(part + offset.to(part.dtype))
                done += part.numel()
            prefixes.append((parts[0], parts[1]))
        return prefixes


def _times(states: torch.Tensor, count: int) -> torch.Tensor:
    return states.detach().repeat(count, 1, 1, 1)


def _weighted(weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Return sums ``[B, heads, m, head size]`` of states ``[k, heads, m, head size]`` with weights ``[B, k]``."""
    return torch.einsum("bk,khmd->bhmd", weights.to(states.dtype), states)


class _AdaptivePrefixAdaptation(PrefixAdaptation):
    """Prefixes that depend on the rows' inputs, whose states are kept."""

    per_row = True

    def __init__(self, base: Base, options: AdaptivePrefixOptions, seed: int, definitions: Mapping[str, str]) -> None:
        self._adaptive = options
        self._states: dict[tuple[int, ...], torch.Tensor] = {}
        super().__init__(base, options.static, seed, definitions)
        self._options = options

    def _make(self, text: str, seed: int, number: int) -> OnePrefix:
        static = make_prefix(self.base, self._adaptive.static, text, seed, number)
        width = int(self.base.model.config.get_text_config(decoder=True).hidden_size)
        made: OnePrefix
        if self._adaptive.kind == "mixture":
            made = _Mixture(static, self._adaptive.count, width, seed, number)
        else:
            made = _Generated(static, self._adaptive.size, width, seed, number)
        return made.to(self.base.device)

    def for_rows(self, task: str, inputs: Sequence[tuple[int, ...]]) -> Sequence[KeysAndValues]:
        prefix: Any = self._of(task)
        return prefix.for_states(torch.stack([self._state_of(tokens) for tokens in inputs]))  # type: ignore[no-any-return]

    @torch.no_grad()
    def _state_of(self, tokens: tuple[int, ...]) -> torch.Tensor:
        """Return s(x) ``[d]`` of an input's tokens."""
        if tokens not in self._states:
            if len(self._states) >= _KEPT_STATES:
                del self._states[next(iter(self._states))]
            with self.base.mode(training=False), self.base.autocast():
                states = self.base.architecture.token_states(self.base, tokens or (self.base.pad,))
            self._states[tokens] = F.normalize(states.float().mean(0), dim=0)
        return self._states[tokens]


class AdaptivePrefix(Method):
    """A learned prompt prefix that depends on the instance; its rate is that of the static one."""

    Options = AdaptivePrefixOptions
    default_lr = Prefix.default_lr

    @classmethod
    def space(cls, options: AdaptivePrefixOptions) -> Space:
        """Return what is tried of a static prefix, and how much of it depends on the instance."""
        own: Space = {"method.count": (2, 4, 8)} if options.kind == "mixture" else {"method.size": (4, 8, 16)}
        return {**Prefix.search_space, **own}

    @classmethod
    def step_zero(cls, options: AdaptivePrefixOptions, architecture: ArchitectureName = "causal") -> StepZero:
        """Return that of the static prefix."""
        return Prefix.step_zero(options.static, architecture)

    @classmethod
    def mergeable(cls, options: AdaptivePrefixOptions) -> bool:
        """Return False: P(x) is no change of the weights."""
        return False

    @classmethod
    def needs_definitions(cls, options: AdaptivePrefixOptions) -> bool:
        """Return whether the static prefix does."""
        return Prefix.needs_definitions(options.static)

    @classmethod
    def attach(
        cls, base: Base, options: AdaptivePrefixOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS
    ) -> Adaptation:
        """Put the prefixes before the instances of the tasks.

        Raises:
            ConfigError: as of the method ``prefix``.
        """
        check_takes_prefix(base, "kv")
        return _AdaptivePrefixAdaptation(base, options, seed, definitions)
