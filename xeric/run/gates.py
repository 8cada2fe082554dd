"""What the gates of a combined method have learned, by part and layer: for the record of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.data.rows import EncodedTask, RowGroup
from xeric.methods.base import Adaptation
from xeric.methods.combined import GatedAdaptation
from xeric.methods.gates import Gate
from xeric.records import GateValue

__all__ = ["gate_values"]

_ROWS = 32
_MIDDLE = (0.05, 0.95)


def gate_values(base: Base, adaptation: Adaptation, tasks: Sequence[EncodedTask]) -> dict[str, tuple[GateValue, ...]]:
    """Return the values of all gates by part, layers in order; empty where there are no gates.

    Gates that depend on tokens are looked at on the first 32 training rows, of the tasks by turns, each computed by itself.

    Args:
        base: with the method attached.
        adaptation: the method's parts.
        tasks: training rows.
    """
    gates = adaptation.gates.by_part if isinstance(adaptation, GatedAdaptation) and adaptation.gates else {}
    if not gates:
        return {}
    values = _on_rows(base, [gate for by_layer in gates.values() for gate in by_layer.values()], tasks)
    return {part: tuple(_summary(where, values[gate]) for where, gate in by_layer.items()) for part, by_layer in gates.items()}


def _summary(where: str, values: torch.Tensor) -> GateValue:
    low, high = (round(float(values.quantile(share)), 6) for share in _MIDDLE)
    return GateValue(layer=where, mean=round(float(values.mean()), 6), low=low, high=high)


@torch.no_grad()
def _on_rows(base: Base, gates: Sequence[Gate], tasks: Sequence[EncodedTask]) -> Mapping[Gate, torch.Tensor]:
    """Return the values ``[N]`` of each gate: one of a scalar gate, else one for each token of the rows."""
    seen: dict[Gate, list[torch.Tensor]] = {gate: [gate(None).detach()] for gate in gates if gate.direction is None}
    by_token = [gate for gate in gates if gate.direction is not None]

    def note(gate: Any, _: object, value: torch.Tensor) -> None:
        # Rows of no task are those that the engine tries a base with.
        if base.layout is not None and any(task for task, _ in base.layout.tasks):
            seen.setdefault(gate, []).append(value.detach().flatten().float().cpu())

    by_turns = chain.from_iterable(zip_longest(*([(task, row) for row in task.rows] for task in tasks)))
    rows = islice((item for item in by_turns if item is not None), _ROWS if by_token else 0)
    with contextlib.ExitStack() as stack, base.mode(training=False), base.autocast():
        for gate in by_token:
            stack.callback(gate.register_forward_hook(note).remove)
        for task, row in rows:
            weights = torch.ones(row.target_tokens, device=base.device)
            # By itself and whole: no column is padding.
            base.target_losses([RowGroup(task.prefix_of(row), (row,))], weights, shared=False)
    return {gate: torch.cat(values).cpu() for gate, values in seen.items()}
