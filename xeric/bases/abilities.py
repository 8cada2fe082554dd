"""What an opened causal model can do beyond computing rows whole, found out by trying: each way is compared with the plain one.

So a family whose state is not held by a cache of keys and values, or whose layers look across packed rows, is detected before
anything is trained or written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from xeric.bases.base import Base
from xeric.bases.packing import packable, packed_states
from xeric.bases.padded import padded_logits, padded_states
from xeric.bases.shared_prefix import run_prefix
from xeric.bases.stepping import Steps
from xeric.data.rows import InstanceRow, PrefixRow, RowGroup

__all__ = ["has_plain_output", "packs_rows", "shares_prefix", "writes_in_steps"]

# Rotary embeddings whose frequencies depend on the length of the current row: a prefix run alone would be rotated differently.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
_TOLERANCE = 1e-3


def shares_prefix(base: Base) -> bool:
    """Whether rows behind a prefix that was run once have the logits that they have when computed whole."""
    prefix, rows = _test_rows(base)
    return not _rope_depends_on_length(base) and _same(
        base,
        lambda: padded_logits(base, prefix, rows, shared=False)[0],
        lambda: padded_logits(base, prefix, rows, shared=True)[0],
    )


def writes_in_steps(base: Base) -> bool:
    """Whether rows that join and leave between steps have the logits that they have when computed whole."""
    prefix, rows = _test_rows(base)
    return _same(base, lambda: padded_logits(base, prefix, rows, shared=False)[0], lambda: _stepwise_logits(base))


def packs_rows(base: Base) -> bool:
    """Whether packed rows of two prefixes, of several lengths, have the states that they have when computed whole."""
    prefix, (longer, shorter) = _test_rows(base)
    other = PrefixRow("", prefix.ids[3:], prefix.kinds[3:], 0)
    groups = [RowGroup(prefix, (longer, shorter)), RowGroup(other, (shorter, longer))]

    def plain() -> torch.Tensor:
        return torch.cat([padded_states(base, before, rows, shared=False)[0] for before, rows in groups])

    return packable(base) and _same(base, plain, lambda: packed_states(base, groups)[0])


def has_plain_output(base: Base) -> bool:
    """Whether logits are what the output layer, a linear one, gives of the backbone's last hidden states: no caps, no scales."""
    prefix, rows = _test_rows(base)
    with torch.no_grad(), base.mode(training=False), base.autocast(), _without_learned_prefix(base):
        logits, _ = padded_logits(base, prefix, rows[:1], shared=False)
        hidden, _ = padded_states(base, prefix, rows[:1], shared=False)
        return torch.equal(base.output_embeddings(hidden), logits)


def _rope_depends_on_length(base: Base) -> bool:
    text = base.model.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope] + [value for value in rope.values() if isinstance(value, dict)]
    return any(kind.get("rope_type", kind.get("type")) in _LENGTH_DEPENDENT_ROPE for kind in kinds)


def _stepwise_logits(base: Base) -> torch.Tensor:
    """Return the logits of both rows' targets, three each, where the second row joins a step later and the first leaves first."""
    prefix, rows = _test_rows(base)
    prompts = [InstanceRow("", 0, row.ids[: row.target_start], row.kinds[: row.target_start], row.target_start) for row in rows]
    first, second = (row.ids[row.target_start :] for row in rows)
    steps = Steps(base, prefix, run_prefix(base, prefix), prompts, 2, 3, greedy=False)
    logits, computed, lengths = steps.read(prompts)
    steps.join(computed, lengths, [0])
    alone = steps.step(first[:1])
    steps.join(computed, lengths, [1])
    both = steps.step([first[1], second[0]])
    steps.leave(0)
    last = steps.step(second[1:2])
    return torch.cat([logits[:1], alone, both[:1], logits[1:], both[1:], last])


def _same(base: Base, plain: Callable[[], torch.Tensor], other: Callable[[], torch.Tensor]) -> bool:
    with torch.no_grad(), base.mode(training=False), base.autocast(), _without_learned_prefix(base):
        expected = plain()
        try:
            computed = other()
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError):
            return False
    scale = 1.0 if expected.dtype == torch.float32 and base.precision == "fp32" else 100.0
    return bool((expected - computed).abs().max() <= _TOLERANCE * scale * expected.abs().max().clamp_min(1.0))


def _test_rows(base: Base) -> tuple[PrefixRow, tuple[InstanceRow, InstanceRow]]:
    tokens = [token for token in range(min(64, base.vocabulary)) if token not in base.eos][:12]
    prefix = PrefixRow("", tuple(tokens[:7]), (0,) * 7, 0)
    return prefix, (InstanceRow("", 0, tuple(tokens[7:]), (0,) * 5, 2), InstanceRow("", 0, tuple(tokens[8:]), (0,) * 4, 1))


@contextlib.contextmanager
def _without_learned_prefix(base: Base) -> Iterator[None]:
    learned, base.learned_prefix = base.learned_prefix, None
    attended, base.attention_addition = base.attention_addition, None
    try:
        yield
    finally:
        base.learned_prefix, base.attention_addition = learned, attended
