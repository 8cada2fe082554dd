"""Picture prefixes: what they start as, and that every engine computes the same of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import attached, drawn, rows
from tests.attached import assert_same_gradients, attach, stir
from xeric.bases.base import Base
from xeric.data.pictures import BLANK, Picture
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, RunError
from xeric.methods import picture

SHAPES = ["llama", "gpt2", "gemma3", "bloom"]
TASK = rows.task("one")
PARTS = {"prefix": {"length": 5}, "embedding": {}, "lora": {"rank": 2}, "picture": {"encoder": "pixels", "length": 3}}


def training_rows(base: Base, pictures: Sequence[Picture | None], count: int = 6) -> EncodedTask:
    """Rows of the same instance, each with its own picture."""
    same = TASK.instances[0]
    ids = [str(number) for number in range(count)]
    openings = base.openings(dict(zip(ids, pictures, strict=True)))
    pairs = [(id_, same.input, same.outputs[0]) for id_ in ids]
    return base.encoder("one").training_rows(rows.prompt(TASK), pairs, openings)


def combined(base: Base, scale: float, **changes: Any) -> Any:
    made = attach(base, "combined", **{**PARTS, **changes})
    stir(made, scale)
    assert base.instance_vectors is not None
    base.instance_vectors.standardise([drawn.picture(name) for name in ("a", "b", "c")])
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_padded_and_plain_rows_have_the_same_losses_and_gradients(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = combined(base, 0.1)
    pictures = [drawn.picture("a"), None, drawn.picture("b"), BLANK, drawn.picture("a"), None]
    task = training_rows(base, pictures)
    expected = attached.gradients(base, adaptation, task, shared=False)
    ways = []
    for packs in (True, False):
        base.packs_rows = packs and base.batching() == "packed"
        ways.append(base.batching())
        assert_same_gradients(attached.gradients(base, adaptation, task), expected)
    assert "shared" in ways
    assert all(expected[1][f"picture_prefix.{name}"].abs().max() > 0 for name in ("inner_weight", "outer_weight", "outer_bias"))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_depends_on_its_own_picture_alone(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    combined(base, 0.5, lora=False, embedding=False)
    seen = [drawn.picture(name) for name in ("a", "b", "c", "a", "b", "c")]
    task = training_rows(base, seen)
    decoding = replace(
        task, rows=tuple(replace(r, ids=r.ids[: r.target_start], kinds=r.kinds[: r.target_start]) for r in task.rows)
    )
    texts = decode(base, decoding, DecodeOptions(batch_size=4), max_new_tokens=8)
    assert texts[:3] == texts[3:]
    with torch.no_grad():
        logits = attached.logits_of(base, task)
    torch.testing.assert_close(logits[0], logits[3], rtol=1e-4, atol=1e-4)
    assert (logits[0] - logits[1]).abs().max() > 1e-2
    for number, row in enumerate(decoding.rows[:3]):
        alone = replace(decoding, rows=(row,))
        assert decode(base, alone, DecodeOptions(), max_new_tokens=8, shared=False) == [texts[number]]
        assert decode(base, alone, DecodeOptions(strategy="beam", beams=2), max_new_tokens=8) != []


def test_an_untrained_prefix_is_the_base_fed_its_tokens_whatever_the_picture(open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    attach(base, "picture", encoder="pixels", length=5, text="turn")
    assert base.instance_vectors is not None
    task = training_rows(base, [drawn.picture(str(number)) for number in range(6)])
    tokens = base.instance_vectors.initial_tokens
    words = base.tokenize("turn")
    assert tokens == tuple([*words * 5][:5])
    told = rows.with_tokens_for_vectors(task, base.vocabulary, tokens)
    assert told != task
    ours, expected = (attached.logits_of(base, of) for of in (task, told))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [None, 7])
def test_vectors_are_those_of_the_formula(width: int | None, open_base: Callable[[str], Base]) -> None:
    """Computed by hand from features of pixels: v_j = e_j + s (W_j a + b_j)."""
    base = open_base("llama")
    plain = base.input_embeddings.weight.detach().clone()  # type: ignore[union-attr, operator]
    adaptation = attach(base, "picture", encoder="pixels", length=2, width=width, text="turn")
    stir(adaptation)
    assert base.instance_vectors is not None
    shown_picture = drawn.picture("a")
    trained_on = [drawn.picture(name) for name in ("a", "b", "c", "d", "b")]
    base.instance_vectors.standardise(trained_on)
    (ids,) = base.instance_vectors.ids([shown_picture])
    made = base.input_embeddings(torch.tensor([[3, *ids, 4]]))
    p = {name.removeprefix("picture_prefix."): value for name, value in adaptation.state().items()}
    from xeric.data.pictures import read_pixels

    seen = np.stack([read_pixels(shown, 8).reshape(-1) for shown in (shown_picture, *trained_on)]).astype(np.float64) / 255
    mean, spread = seen[1:].mean(0), seen[1:].std(0)
    # The border of every picture is white: places of one colour are seen as 0.
    assert 0 < (spread == 0).sum() < len(spread) / 2
    a = torch.from_numpy(np.divide(seen[0] - mean, spread, out=np.zeros_like(mean), where=spread > 0))
    if width is not None:
        a = torch.nn.functional.gelu(p["inner_weight"].double() @ a + p["inner_bias"].double())
    change = (p["outer_weight"].double() @ a + p["outer_bias"].double()).reshape(2, -1)
    start = plain[list(base.instance_vectors.initial_tokens)].double()
    spread = plain[:4096].double().std()
    expected = torch.cat([plain[[3]].double(), start + spread * change, plain[[4]].double()])
    torch.testing.assert_close(made[0].double(), expected, rtol=1e-4, atol=1e-5)
    assert sum(v.numel() for v in adaptation.trainable().values()) == (
        2 * 32 * (192 + 1) if width is None else 7 * (192 + 1) + 2 * 32 * (7 + 1)
    )


def standardised(base: Base, names: Sequence[str], **options: Any) -> Any:
    """An adaptation that has taken statistics of pictures, and what its map then sees of each of a few."""
    adaptation = attach(base, "picture", **{"encoder": "pixels", "length": 1, "width": None, **options})
    assert base.instance_vectors is not None
    base.instance_vectors.standardise([drawn.picture(name) for name in names])
    return adaptation


def test_features_that_hardly_vary_are_not_seen_and_rare_ones_are_cut_off() -> None:
    made = picture._Map(3, 1, 2, None, 0)
    features = torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0], [1.0, 5.0, 0.0], [3.0, 5.0, 0.0005]])
    made.standardise(features)
    with torch.no_grad():
        made.outer_weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
        (seen,) = made(torch.tensor([[4.0, 9.0, 0.0], [100.0, 5.0, 1.0]])).detach().transpose(0, 1)
    assert seen.tolist() == [[2.0, 0.0], [8.0, 0.0]]


def test_statistics_are_of_the_first_training_kept_with_the_weights_and_no_parameters(
    open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    base = open_base("llama")
    adaptation = standardised(base, "abcd")
    stir(adaptation)
    state = adaptation.state()
    assert (
        {"picture_prefix.center", "picture_prefix.scale"} == set(adaptation.fixed()) == set(state) - set(adaptation.trainable())
    )
    assert base.instance_vectors is not None
    base.instance_vectors.standardise([drawn.picture(name) for name in "ef"])
    assert all(torch.equal(tensor, state[name]) for name, tensor in adaptation.state().items())
    assert set(state) == adaptation.carried()
    task = training_rows(base, [drawn.picture(name) for name in "abcdef"])
    before = attached.logits_of(base, task)
    adaptation.save(tmp_path)
    adaptation.detach()
    again = attach(base, "picture", encoder="pixels", length=1, width=None)
    again.load(tmp_path)
    after = attached.logits_of(base, training_rows(base, [drawn.picture(name) for name in "abcdef"]))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_map_is_trained_by_lora_no_more_than_alone(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "combined", **{**PARTS, "prefix": False, "embedding": False})
    names = {name for name in adaptation.trainable() if "picture_prefix" in name}
    assert names == {f"picture_prefix.{n}" for n in ("inner_weight", "inner_bias", "outer_weight", "outer_bias")}


def test_detached_it_leaves_no_hook_and_a_base_without_it_looks_at_no_picture(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "picture", encoder="pixels")
    adaptation.detach()
    assert attached.hooks_left(base) == []
    assert base.openings({"1": drawn.picture("a")}) == {}


def test_what_does_not_fit_is_named(open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch) -> None:
    base = open_base("llama")
    with pytest.raises(ConfigError, match="a quarter of the context") as caught:
        attach(base, "picture", encoder="pixels", length=200)
    assert caught.value.where == "method.length"
    monkeypatch.setattr(base, "tokenize", lambda _: [])
    with pytest.raises(ConfigError, match="no tokens") as caught:
        attach(base, "picture", encoder="pixels")
    assert caught.value.where == "method.text"
    assert base.instance_vectors is None


def test_merging_is_refused(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    with pytest.raises(RunError, match="cannot be merged"):
        attach(base, "picture", encoder="pixels").merge()
