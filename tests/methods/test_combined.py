"""The combined method is the sum of its parts: each can be taken away, and what remains is exactly the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import attached, rows
from tests.attached import attach, stir
from xeric.bases.base import Base
from xeric.config import apply_overrides, build, canonical_json
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions, method_options
from xeric.methods.combined import Combined, CombinedOptions, options_with

TASK = rows.task("one")
# In the order in which they are attached.
PARTS = ["prefix", "embedding", "lora"]
SMALL = {"prefix": {"length": 7}, "embedding": {"positions": 50}, "lora": {"rank": 3}}
KEPT = [tuple(part for part in PARTS if part != left) for left in PARTS] + [(part,) for part in PARTS] + [tuple(PARTS)]


def by_overrides(*overrides: str) -> MethodOptions:
    """The options as ``xeric train TASK --method combined OVERRIDES`` makes them."""
    return method_options(apply_overrides({}, ["method.name=combined", *overrides])["method"])


def options_of(kept: Sequence[str], **options: Any) -> dict[str, Any]:
    return {**{part: SMALL[part] if part in kept else False for part in PARTS}, **options}


def combined(base: Base, kept: Sequence[str] = PARTS, **options: Any) -> Adaptation:
    return attach(base, "combined", **options_of(kept, **options))


def observed(base: Base) -> tuple[list[torch.Tensor], float, list[str]]:
    task, decoding = rows.training_rows(base, TASK, 4), rows.decoding_rows(base, TASK, 4)
    texts = decode(base, decoding, DecodeOptions(batch_size=3), max_new_tokens=6)
    return attached.logits_of(base, task), attached.loss_of(base, task), texts


def assert_same(one: tuple[list[torch.Tensor], float, list[str]], other: tuple[list[torch.Tensor], float, list[str]]) -> None:
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one[0], other[0], strict=True))
    assert one[1:] == other[1:]


# --- composition ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", KEPT, ids="+".join)
def test_what_is_left_is_exactly_the_other_parts(kept: tuple[str, ...], open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    alone = [attach(base, part, **SMALL[part]) for part in kept]
    for part in alone:
        stir(part, 0.2)
    expected, states = observed(base), {name: tensor for part in alone for name, tensor in part.state().items()}
    for part in reversed(alone):
        part.detach()
    together = combined(base, kept)
    assert set(together.state()) == set(states)
    for part in PARTS:
        assert any(part in group.name for group in together.groups()) == (part in kept)
    together.load_state(states)
    assert_same(observed(base), expected)
    definition = (base.bos, *base.tokenize(f"{TASK.definition}\n\n"))
    assert together.initial_tokens("one") == (definition[:7] if "prefix" in kept else ())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_starts_and_trains_as_by_itself(part: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, TASK)
    states = []
    for method, options, lr in ((part, SMALL[part], 2e-3), ("combined", options_of([part], lr_scale={part: 2.0}), 1e-3)):
        adaptation = attach(base, method, **options)
        attached.fit(base, adaptation, task, lr=lr)
        states.append(adaptation.state())
        adaptation.detach()
    assert set(states[0]) == set(states[1])
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_one_key_takes_a_part_away() -> None:
    whole: Any = by_overrides()
    assert list(whole.parts) == PARTS
    for part in PARTS:
        options: Any = by_overrides(f"method.{part}=false")
        assert list(options.parts) == [name for name in PARTS if name != part]
        assert all(options.parts[name] == whole.parts[name] for name in options.parts)
        # What a run writes down reads back as what it was.
        assert method_options(options.model_dump(mode="json")) == options
    assert METHODS.get("combined").default_weighting == "uncertainty"


def test_options_of_parts_by_dotted_path() -> None:
    options: Any = by_overrides("method.lora.rank=4", "method.prefix.level=input", "method.lr_scale.prefix=3")
    assert options.lora.rank == 4
    assert options.lora == method_options({"name": "lora", "rank": 4})
    assert options.prefix == method_options({"name": "prefix", "level": "input"})
    assert options.lr_scale.prefix == 3
    assert options.lr_scale.embedding == by_overrides().lr_scale.embedding  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("override", "where", "complaint"),
    [
        ("method.prefix.lenght=4", "method.prefix.lenght", "unknown setting"),
        ("method.lora.rank=0", "method.lora.rank", "from 1 to 4096"),
        ("method.lora.rank=high", "method.lora.rank", "whole number"),
        ("method.prefix=true", "method.prefix", "expected"),
        ("method.lr_scale.lora=0", "method.lr_scale.lora", "above 0 and at most"),
        ("method.rank=4", "method.rank", "unknown setting"),
        ("method.prefix.name=lora", "method.prefix.name", "'prefix'"),
    ],
)
def test_mistakes_are_named_by_their_dotted_path(override: str, where: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        by_overrides(override)
    assert caught.value.where == where


def test_without_any_part_it_is_no_method() -> None:
    with pytest.raises(ConfigError, match="every part is left out"):
        by_overrides("method.lora=false", "method.prefix=false", "method.embedding=false")


# --- another part -----------------------------------------------------------------------------------------------------------


class Wider(Combined):
    """The combined method with a part that is registered beside the paper's."""

    Options = options_with(
        {"bottleneck": METHODS.get("bottleneck"), **CombinedOptions.methods},
        {**dict.fromkeys(CombinedOptions.methods, "a part"), "bottleneck": "options of the bottleneck adapter"},
    )


def test_a_registered_part_is_off_and_changes_no_run_that_does_without_it() -> None:
    for options in ({}, {"prefix": False}, {"lora": {"rank": 4}, "lr_scale": {"lora": 2.0}}):
        plain, wider = build(CombinedOptions, options, where="method"), build(Wider.Options, options, where="method")
        assert canonical_json(wider) == canonical_json(plain)
        assert build(Wider.Options, wider.model_dump(mode="json"), where="method") == wider


def test_a_registered_part_is_switched_on_tuned_trained_and_saved_like_the_others(
    open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    base = open_base("llama")
    before, modules = observed(base), [(name, type(module)) for name, module in base.model.named_modules()]
    options: Any = build(Wider.Options, options_of(["prefix", "embedding"], bottleneck={"size": 4}), where="method")
    assert list(options.parts) == ["bottleneck", "prefix", "embedding"]
    assert build(Wider.Options, options.model_dump(mode="json"), where="method") == options
    assert Wider.space(options)["method.bottleneck.size"] == METHODS.get("bottleneck").search_space["method.size"]
    adaptation = Wider.attach(base, options, seed=1, definitions=attached.DEFINITIONS)
    scales = {group.name: group.lr_scale for group in adaptation.groups()}
    assert scales == {"bottleneck": 0.5, "bottleneck biases": 0.5, "prefix": pytest.approx(150), "embedding": 50}
    attached.fit(base, adaptation, rows.training_rows(base, TASK))
    trained = observed(base)
    adaptation.save(tmp_path)
    adaptation.detach()
    assert_untouched(base, modules)
    assert_same(observed(base), before)
    again = Wider.attach(base, options, seed=2, definitions=attached.DEFINITIONS)
    again.load(tmp_path)
    assert_same(observed(base), trained)


# --- training ---------------------------------------------------------------------------------------------------------------


def test_each_part_has_its_learning_rate_group(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    for options, scales in (({}, [150.0, 50.0, 1.0]), ({"lr_scale": {"prefix": 2.0, "lora": 0.5}}, [2.0, 50.0, 0.5])):
        adaptation = combined(base, **options)
        groups = adaptation.groups()
        assert [group.name for group in groups] == PARTS
        assert [group.lr_scale for group in groups] == pytest.approx(scales)
        assert [group.weight_decay for group in groups] == [False, False, True]
        names = [name for group in groups for name in group.parameters]
        assert len(set(names)) == len(names) == sum(p.requires_grad for p in base.model.parameters())
        adaptation.detach()
    # So that at the combined method's own rate each part has the rate that it has by itself.
    rate = METHODS.get("combined").default_lr
    rates = [rate * group.lr_scale for group in combined(base).groups()]
    assert rates == pytest.approx([METHODS.get(part).default_lr for part in PARTS])


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
@pytest.mark.parametrize("level", ["kv", "input"])
def test_shared_is_plain_in_loss_and_every_gradient(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    options = {**SMALL, "prefix": {"length": 7, "level": level}}
    adaptation = attach(base, "combined", **options)
    stir(adaptation, 0.05)
    task = rows.over_several_prefixes(rows.training_rows(base, TASK, 6, demonstrations=2, definition=False))
    shared, plain = (attached.gradients(base, adaptation, task, shared=way) for way in (True, False))
    assert set(plain[1]) == set(adaptation.trainable())
    attached.assert_same_gradients(shared, plain)


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
def test_parameters_are_the_sum_of_the_parts(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    counts = []
    for part in PARTS:
        alone = attach(base, part, **SMALL[part])
        counts.append(attached.numbers(alone))
        alone.detach()
    adaptation = combined(base)
    assert attached.numbers(adaptation) == sum(counts)
    attached.fit(base, adaptation, rows.training_rows(base, TASK, 4), steps=1)
    assert attached.numbers(adaptation) == sum(counts)


# --- merging, saving, leaving -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [kept for kept in KEPT if kept != ("lora",)], ids="+".join)
def test_merging_is_refused_and_changes_nothing(kept: tuple[str, ...], open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = combined(base, kept)
    stir(adaptation, 0.2)
    before = observed(base)
    with pytest.raises(RunError, match="cannot be merged") as caught:
        adaptation.merge()
    assert [part for part in PARTS if part in caught.value.what] == [part for part in kept if part != "lora"]
    assert_same(observed(base), before)


def test_lora_alone_is_merged(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = combined(base, ["lora"])
    stir(adaptation, 0.2)
    logits, loss, texts = observed(base)
    adaptation.merge()
    assert not any("lora" in name for name, _ in base.model.named_parameters())
    merged = observed(base)
    assert merged[1] == pytest.approx(loss, rel=1e-5)
    assert merged[2] == texts
    for ours, expected in zip(merged[0], logits, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "where", "hint"),
    [
        ({"prefix": {"length": 65}}, "method.prefix.length", "at most 64"),
        ({"prefix": {"scope": "shared"}}, "method.prefix.text", "method.prefix.scope=task"),
        ({"embedding": {"segment": False}}, "method.embedding.segment", "method.embedding.segment=true"),
        ({"lora": {"targets": ["nothing"]}}, "method.lora.targets", "c_proj"),
    ],
)
def test_a_part_that_does_not_fit_leaves_the_base_as_it_was(
    options: dict[str, Any], where: str, hint: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base("gpt2")
    before, modules = observed(base), [(name, type(module)) for name, module in base.model.named_modules()]
    with pytest.raises(ConfigError) as caught:
        attach(base, "combined", definitions={"one": "A.", "two": "B."}, **options)
    assert caught.value.where == where
    assert hint in (caught.value.hint or "")
    assert_untouched(base, modules)
    assert_same(observed(base), before)
    combined(base).detach()


def assert_untouched(base: Base, modules: list[tuple[str, type]]) -> None:
    assert [(name, type(module)) for name, module in base.model.named_modules()] == modules
    assert not attached.hooks_left(base)
    assert not any(p.requires_grad or p.grad is not None for p in base.model.parameters())
    assert (base.learned_prefix, base.embedding_addition, base.layout) == (None, None, None)
    assert not hasattr(base.model, "peft_config")
    assert not base.model.training


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
def test_trained_parts_leave_no_trace(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    before, modules = observed(base), [(name, type(module)) for name, module in base.model.named_modules()]
    weights = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    adaptation = combined(base)
    attached.fit(base, adaptation, rows.training_rows(base, TASK))
    assert observed(base)[1] != before[1]
    adaptation.detach()
    assert_untouched(base, modules)
    after = dict(base.model.named_parameters())
    assert set(after) == set(weights)
    assert all(torch.equal(after[name], weight) for name, weight in weights.items())
    assert_same(observed(base), before)


def test_each_part_is_saved_as_by_itself(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    adaptation = combined(base)
    stir(adaptation, 0.2)
    expected = observed(base)
    adaptation.save(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == {
        *("prefix/prefix.safetensors", "prefix/prefix.json", "embedding/embedding.safetensors", "embedding/embedding.json"),
        *("lora/adapter_model.safetensors", "lora/adapter_config.json"),
    }
    adaptation.detach()
    # Each folder is one that the part's own method reads.
    for part in PARTS:
        attach(base, part, **SMALL[part], seed=7).load(tmp_path / part)
    assert_same(observed(base), expected)


def test_saved_folders_are_checked(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    saved = combined(base, ["prefix", "lora"])
    saved.save(tmp_path)
    saved.detach()
    other = combined(base)
    with pytest.raises(DataError, match="holds no part 'embedding'"):
        other.load(tmp_path)
    other.detach()
    other = attach(base, "combined", prefix=SMALL["prefix"], embedding=False, lora={"rank": 4})
    with pytest.raises(DataError, match="a lora of other layers or other sizes"):
        other.load(tmp_path)
