"""A prefix that depends on the instance: it starts as the static one, and what a task's rows share is still computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests import attached, rows
from tests.attached import attach, stir
from xeric.bases import padded
from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, RunError
from xeric.methods import METHODS
from xeric.methods.base import method_options

TASK = rows.task("one")
KINDS: dict[str, dict[str, Any]] = {"mixture": {"count": 3}, "generated": {"size": 2}}
M = 5


def adaptive(base: Base, kind: str, **options: Any) -> Any:
    return attach(base, "adaptive_prefix", **{"kind": kind, "length": M, **KINDS[kind], **options})


def several(base: Base) -> EncodedTask:
    return rows.over_several_prefixes(rows.training_rows(base, TASK, 6, demonstrations=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gemma3", "t5", "bert"])
def test_the_start_is_the_static_prefix(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    """Also where the static one stands for no tokens: at random, and where the prompt is read in both directions."""
    base = open_base(shape)
    task = rows.training_rows(base, TASK, 4)
    for start in ("instruction", "random"):
        static = attach(base, "prefix", length=M, start=start)
        expected, tokens = attached.logits_of(base, task), static.initial_tokens("one")
        static.detach()
        adaptation = adaptive(base, kind, start=start)
        assert adaptation.initial_tokens("one") == tokens
        for ours, theirs in zip(attached.logits_of(base, task), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        adaptation.detach()


@pytest.mark.parametrize("kind", KINDS)
def test_prefixes_are_those_of_the_formula(kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = adaptive(base, kind)
    stir(adaptation)
    task = rows.training_rows(base, TASK, 2)
    inputs = [row.ids[: row.target_start] for row in task.rows]
    state = {name.removeprefix("prompt_prefix.0."): tensor for name, tensor in adaptation.state().items()}
    prefixes = adaptation.for_rows("one", inputs)
    done = 0
    for row, tokens in enumerate(inputs):
        with torch.no_grad():
            hidden = base.model.model(input_ids=torch.tensor([tokens])).last_hidden_state[0].mean(0)
        s, done = hidden / hidden.norm(), 0
        for layer, pair in enumerate(prefixes):
            for part, ours in zip(("keys", "values"), pair, strict=True):
                learned = state[f"{part}_{layer}"]
                if kind == "mixture":
                    expected = ((state["gate"] @ s).softmax(0)[:, None, None, None] * learned).sum(0)
                else:
                    size = learned.numel()
                    offset = F.gelu(state["down"] @ s + state["bias"]) @ state["up"][:, done : done + size]
                    expected, done = learned[0] + offset.view(learned.shape[1:]), done + size
                torch.testing.assert_close(ours[row], expected, rtol=1e-4, atol=1e-5)
    static = adaptation.keys_and_values("one")[0][0]
    torch.testing.assert_close(static, state["keys_0"].mean(0, keepdim=True))
    assert not torch.equal(prefixes[0][0][0], prefixes[0][0][1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "mistral", "bloom"])
def test_packed_shared_and_plain_are_the_same(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = adaptive(base, kind)
    stir(adaptation, 0.1)
    assert base.can_share_prefix()
    ways = {"packed": base.batching() == "packed", "shared": False, "plain": False}
    values = {}
    for way, packs in ways.items():
        base.packs_rows = packs
        values[way] = attached.gradients(base, adaptation, several(base), shared=way != "plain")
    assert set(values["plain"][1]) == set(adaptation.trainable())
    for way in ("packed", "shared"):
        attached.assert_same_gradients(values[way], values["plain"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_prefix_sees_the_static_prefix_and_is_run_once(
    kind: str, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: the prefix row behind the static prefix, then each row behind that with its own prefix in front."""
    base = open_base("llama")
    adaptation = adaptive(base, kind)
    stir(adaptation, 0.1)
    task = rows.training_rows(base, TASK, 3)
    prefix = task.prefixes[task.rows[0].prefix]
    runs: list[int] = []
    run_prefix = padded.run_prefix

    def counting(of: Base, row: Any, copies: int = 1) -> Any:
        runs.append(copies)
        return run_prefix(of, row, copies)

    monkeypatch.setattr(padded, "run_prefix", counting)
    logits, _ = base.target_logits(prefix, task.rows)
    assert runs == [1]
    from transformers import DynamicCache

    expected = []
    with torch.no_grad():
        for row in task.rows:
            cache = DynamicCache([(k, v) for k, v in adaptation.keys_and_values("one")])
            base.model(input_ids=torch.tensor([prefix.ids]), past_key_values=cache)
            own = adaptation.for_rows("one", [row.ids[: row.target_start]])
            pairs = [
                tuple(
                    torch.cat([part, states[:, :, M:]], dim=2)
                    for part, states in zip(pair, (layer.keys, layer.values), strict=True)
                )
                for pair, layer in zip(own, cache.layers, strict=True)
            ]
            output = base.model(input_ids=torch.tensor([row.ids]), past_key_values=DynamicCache(pairs)).logits[0]
            expected.append(output[row.target_start - 1 : -1])
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "t5", "bert"])
def test_gradients_are_those_of_finite_differences(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    """Along the gradient itself, where the slope is its length, for each parameter."""
    base = open_base(shape)
    adaptation = adaptive(base, kind)
    stir(adaptation, 0.3)
    task, step = rows.training_rows(base, TASK, 4), 1e-2
    _, gradients = attached.gradients(base, adaptation, task)
    for name, parameter in adaptation.trainable().items():
        size = float(gradients[name].norm())
        slope = attached.slope(base, task, {parameter: gradients[name]}, step)
        assert math.isclose(slope, size, rel_tol=0.05, abs_tol=3e-4), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gemma3", "t5", "bert"])
def test_texts_do_not_depend_on_how_they_are_computed(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    stir(adaptive(base, kind), 1.0)
    decoding = rows.decoding_rows(base, TASK, 5)
    alone = decode(base, decoding, DecodeOptions(batch_size=1), max_new_tokens=6)
    assert decode(base, decoding, DecodeOptions(batch_size=2), max_new_tokens=6) == alone
    assert decode(base, decoding, DecodeOptions(batch_size=5), max_new_tokens=6, shared=False) == alone
    beams = [decode(base, decoding, DecodeOptions(strategy="beam", beams=2, batch_size=n), max_new_tokens=6) for n in (1, 5)]
    assert beams[0] == beams[1]


def test_the_control_has_as_many_parameters(open_base: Callable[[str], Base]) -> None:
    """But for the gate, k d, or what leads to the inner width, r (d + 1)."""
    base = open_base("llama")
    for kind, times, rest in (("mixture", 3, 3 * 32), ("generated", 1 + 2, 2 * (32 + 1))):
        adaptation = adaptive(base, kind)
        count = attached.numbers(adaptation)
        adaptation.detach()
        control = attach(base, "prefix", length=times * M)
        assert count == attached.numbers(control) + rest
        control.detach()


def test_a_state_is_computed_once_for_each_input_without_a_graph(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = adaptive(base, "generated")
    runs = []
    handle = base.model.model.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    for _ in range(2):
        adaptation.for_rows("one", [(5, 6), (7,), (5, 6)])
    handle.remove()
    assert runs == [False, False]


def test_options_and_refusals(open_base: Callable[[str], Base]) -> None:
    method = METHODS.get("adaptive_prefix")
    assert method.space(method_options({"name": "adaptive_prefix"}))["method.count"] == (2, 4, 8)
    assert "method.size" in method.space(method_options({"name": "adaptive_prefix", "kind": "generated"}))
    with pytest.raises(ConfigError, match="'mixture' or 'generated'"):
        method_options({"name": "adaptive_prefix", "kind": "static"})
    base = open_base("llama")
    adaptation = adaptive(base, "mixture")
    with base.recomputing(), pytest.raises(RunError, match="gradient checkpointing"):
        attached.gradients(base, adaptation, rows.training_rows(base, TASK, 2))
    adaptation.detach()
    with pytest.raises(ConfigError, match="quarter of the context"):
        adaptive(base, "mixture", length=65)
