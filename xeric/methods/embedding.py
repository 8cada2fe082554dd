r"""Fused embeddings (the paper's Figure 1): e_t = word(t) + g_pos * pos(t) + g_seg * seg(t).

pos and seg are learned tables of positions and segments (normal, 0.02); segments are the paper's "paragraphs": prefix,
instruction, demonstration, input, target. The gates g_pos and g_seg, one number a channel, are 0 at the start, so step 0 is
exactly the base; the first steps move the gates, then gates and tables. Both sums reach every decoding step, since they are made
where the base embeds its tokens. A base with a position table of its own (GPT-2, OPT, BART, BERT) uses that and gets segments
only. Encoder and decoder of one base share both tables; positions count from 0 in each. An encoder's own token types, which tell
prompt and target apart, are used beside the five segments.

Trainable parameters: (N + 1) d for the table of N positions and its gate (where the base has no table of its own), and 6 d for
the table of five segments and its gate. The base's weights hold no such sums, so they cannot be merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from xeric.bases.base import Base
from xeric.data.rows import SEGMENT_KINDS
from xeric.errors import ConfigError, RunError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup
from xeric.methods.gates import Gate, PartGates
from xeric.methods.module_adaptation import ModuleAdaptation
from xeric.search_space import Range

__all__ = ["FusedEmbedding", "FusedEmbeddingOptions"]

_CHILD = "fused_embedding"
_STD = 0.02
# Learned position tables, by the last part of their name in the families that have one.
_POSITION_TABLES = {"wpe", "embed_positions", "position_embeddings", "position_embedding"}


class FusedEmbeddingOptions(MethodOptions):
    """Options of fused embeddings.

    Attributes:
        position: whether positions are added.
        segment: whether segments are added.
        positions: rows N of the position table; what stands further on uses the last.
    """

    name: Literal["embedding"] = "embedding"
    position: bool = True
    segment: bool = True
    positions: int = Field(default=1024, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _adds_something(self) -> FusedEmbeddingOptions:
        if not self.position and not self.segment:
            raise ValueError("adds neither positions nor segments")
        return self


class _Gated(nn.Module):
    """A learned table with a gate for each channel; float32 whatever the base is in."""

    def __init__(self, rows: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, width, generator=generator) * _STD)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.gate * F.embedding(index.clamp(max=len(self.table) - 1), self.table)


class _FusedEmbeddingAdaptation(ModuleAdaptation):
    """A forward hook on the base's embeddings; where the rows' columns stand, the engine says (``Base.layout``)."""

    unmergeable = "fused embeddings depend on where a token stands, so they cannot be merged into the base's weights"

    def __init__(self, base: Base, options: FusedEmbeddingOptions, seed: int) -> None:
        super().__init__(base, options)
        weight = base.input_embeddings.weight
        assert isinstance(weight, torch.Tensor)
        generator = torch.Generator().manual_seed(seed)
        rows = {"position": min(options.positions, base.context), "segment": len(SEGMENT_KINDS)}
        wanted = {"position": options.position and not _has_position_table(base), "segment": options.segment}
        if not any(wanted.values()):
            raise ConfigError(
                f"{base.name} has a position table of its own, so there is nothing to add",
                where="method.segment",
                hint="use method.segment=true",
            )
        parts = {name: _Gated(rows[name], weight.shape[1], generator) for name, use in wanted.items() if use}
        self._parts = nn.ModuleDict(parts).to(weight.device)
        base.model.add_module(_CHILD, self._parts)
        self._hooks = [layer.register_forward_hook(self._fuse) for layer in base.embedding_layers]
        base.embedding_addition = self
        self._gate: Gate | None = None

    def __call__(self, positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        index = {"position": positions, "segment": kinds}
        parts: list[torch.Tensor] = [part(index[name]) for name, part in self._parts.items()]
        return torch.stack(parts).sum(0)

    def _fuse(self, _: nn.Module, args: tuple[torch.Tensor, ...], words: torch.Tensor) -> torch.Tensor:
        if self.base.layout is None:
            raise RunError(
                "fused embeddings need to know where a row's tokens stand", hint="compute rows with target_logits() or decode()"
            )
        addition = self(*self.base.layout.next_columns(words.shape[1]))
        if self._gate is not None:
            addition = self._gate(words) * addition
        return words + addition.to(words.dtype)

    def add_gates(self, gates: PartGates) -> None:
        """Put one gate on the sums, beside those for each channel; one for each token depends on its word's embedding."""
        weight = self.base.input_embeddings.weight
        assert isinstance(weight, torch.Tensor)
        self._gate = gates.add("embedding", "open", weight.shape[1])

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("embedding", self.parameters_under(f"{_CHILD}."), weight_decay=False)]

    def describe(self) -> dict[str, Any]:
        return {"segments": list(SEGMENT_KINDS)}

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.base.embedding_addition = None
        delattr(self.base.model, _CHILD)


def _has_position_table(base: Base) -> bool:
    return any(
        isinstance(module, nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES
        for name, module in base.model.named_modules()
    )


class FusedEmbedding(Method):
    """Gated position and segment embeddings beside the base's own."""

    Options = FusedEmbeddingOptions
    default_lr = 1e-2
    search_space = {"train.lr": Range(low=1e-3, high=1e-1)}

    @classmethod
    def ungated(cls, options: FusedEmbeddingOptions) -> None:
        """Return None: it takes gates."""

    @classmethod
    def mergeable(cls, options: FusedEmbeddingOptions) -> bool:
        """Return False: the sums depend on where a token stands."""
        return False

    @classmethod
    def attach(
        cls, base: Base, options: FusedEmbeddingOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS
    ) -> Adaptation:
        """Put gates (0) and tables (normal, drawn by the seed) beside the base's embedding.

        Raises:
            ConfigError: only positions are asked for, and the base has its own.
        """
        return _FusedEmbeddingAdaptation(base, options, seed)
