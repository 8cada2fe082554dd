"""Encoder-decoder bases: the prompt in the encoder, the target in the decoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests import rows, tiny
from tests.attached import attach, gradients, loss_of, stir
from tests.bases.naive import greedy
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.seq2seq import Seq2Seq
from xeric.data.texts import TEXT
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, DataError, RunError

SHAPES = ["t5", "mt5", "bart", "mbart"]


def architecture(base: Base) -> Seq2Seq:
    assert isinstance(base.architecture, Seq2Seq)
    return base.architecture


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_is_the_librarys_own(shape: str, open_base: Callable[[str], Base]) -> None:
    """Row by row, through ``labels``, with the decoder fed what the base's files say."""
    base = open_base(shape)
    task = rows.training_rows(base, rows.task("one"))
    start, total, count = architecture(base).start, 0.0, 0
    for row in task.rows:
        prompt = [*task.prefix_of(row).ids, *row.ids[: row.target_start]]
        target = list(row.ids[row.target_start :])
        assert prompt[-1] == target[-1] == 2, "both sides end with </s>"
        output = base.model(
            input_ids=torch.tensor([prompt]),
            decoder_input_ids=torch.tensor([[*start, *target[:-1]]]),
            labels=torch.tensor([[*[-100] * (len(start) - 1), *target]]),
        )
        total, count = total + float(output.loss) * len(target), count + len(target)
    assert loss_of(base, task) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "start", "begins", "end"),
    [("t5", (0,), None, (2,)), ("bart", (2, 1), 1, (2,)), ("mbart", (2, 5), 5, (2,)), ("t5-bpe", (0,), None, (2,))],
)
def test_rows_begin_and_end_as_the_files_say(
    shape: str, start: tuple[int, ...], begins: int | None, end: tuple[int, ...], open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    assert (architecture(base).start, base.bos, architecture(base).input_end) == (start, begins, end)
    prefix = rows.decoding_rows(base, rows.task("one")).prefixes[0]
    assert (prefix.ids[0] == begins) == (begins is not None)


def test_the_start_may_stand_in_the_config_of_older_files(tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path, "mbart")
    (folder / "generation_config.json").unlink()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": 2, "forced_bos_token_id": 7}))
    assert architecture(load_base(str(folder), device="cpu", precision="fp32")).start == (2, 7)


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_are_those_of_the_plainest_decoding(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("said"))
    expected = greedy(base, task, 8)
    assert len(set(expected)) > 3
    for size in (1, 5):
        assert decode(base, task, DecodeOptions(batch_size=size), max_new_tokens=8) == expected


@pytest.mark.parametrize("level", ["kv", "input"])
@pytest.mark.parametrize("shape", SHAPES)
def test_texts_after_a_learned_prefix(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    before = decode(base, rows.decoding_rows(base, rows.task("one")), DecodeOptions(), max_new_tokens=8)
    stir(attach(base, "prefix", level=level), 2.0)
    task = rows.decoding_rows(base, rows.task("one"))
    texts = decode(base, task, DecodeOptions(batch_size=5), max_new_tokens=8)
    assert texts == greedy(base, task, 8)
    assert texts != before


@pytest.mark.parametrize(
    "strategy", [{"strategy": "beam", "beams": 3}, {"strategy": "mbr", "candidates": 2}, {"strategy": "sample"}]
)
def test_other_strategies(strategy: dict[str, object], open_base: Callable[[str], Base]) -> None:
    base = open_base("bart")
    attach(base, "combined")
    task = rows.decoding_rows(base, rows.task("one"))
    options = DecodeOptions(batch_size=6, **strategy)  # type: ignore[arg-type]
    texts = decode(base, task, options, max_new_tokens=8, seed=3)
    assert decode(base, task, options, max_new_tokens=8, seed=3) == texts
    assert len(set(texts)) > 3
    if not options.random:
        assert decode(base, task, options.model_copy(update={"batch_size": 1}), max_new_tokens=8) == texts


def test_a_stop_text_ends_a_text(open_base: Callable[[str], Base]) -> None:
    base = open_base("bart")
    task = rows.decoding_rows(base, rows.task("one"))
    whole = next(text for text in decode(base, task, DecodeOptions(), max_new_tokens=8) if len(text) > 4)
    stop = next(character for character in whole[1:] if not character.isspace())
    cut = decode(base, task, DecodeOptions(stop=(stop,)), max_new_tokens=8)
    assert whole.partition(stop)[0].strip() in cut
    assert not any(stop in text for text in cut)


def test_prompt_and_target_have_a_context_each(tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, "bart", max_position_embeddings=96)
    task = rows.task("one")
    room = base.encoder("one").target_context
    assert room == 96 - 2, "what the decoder begins with takes up positions"
    layout = rows.prompt(task, 0)
    encoded = base.encoder("one").training_rows(layout, [("fits", "a " * 60, "b"), ("too long", "a", "b " * 100)])
    assert [row.id for row in encoded.rows] == ["fits"]
    assert encoded.cuts == {"input": 1, "target_too_long": 1}
    row = encoded.rows[0]
    assert len(encoded.prefix_of(row).ids) + row.target_start == 96
    with pytest.raises(DataError, match="new tokens are more than the 94"):
        base.encoder("one").decoding_rows(layout, [("x", "a")], 95)


@pytest.mark.parametrize("shape", ["t5", "bart"])
def test_gradient_checkpointing_gives_the_same_gradients(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.training_rows(base, rows.task("one"), 4)
    adaptation = attach(base, "lora")
    plain = gradients(base, adaptation, task)
    with base.recomputing():
        losses, again = gradients(base, adaptation, task)
    assert losses["one"] == pytest.approx(plain[0]["one"], rel=1e-6)
    for name, gradient in plain[1].items():
        assert (again[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


def test_gradient_checkpointing_refuses_keys_and_values(open_base: Callable[[str], Base]) -> None:
    base = open_base("t5")
    adaptation = attach(base, "prefix")
    with base.recomputing(), pytest.raises(RunError, match="gradient checkpointing"):
        gradients(base, adaptation, rows.training_rows(base, rows.task("one"), 4))


def test_bottleneck_adapters_are_on_both_stacks(open_base: Callable[[str], Base]) -> None:
    for shape in SHAPES:
        base = open_base(shape)
        names = {name.partition(".bottleneck")[0] for name in attach(base, "bottleneck").trainable()}
        encoder, decoder = (sum(f"{side}." in name for name in names) for side in ("encoder", "decoder"))
        assert (encoder, decoder) == (4, 6), shape


def test_plain_text_is_refused_in_a_sentence(open_base: Callable[[str], Base]) -> None:
    with pytest.raises(ConfigError, match="only causal bases"):
        open_base("t5").encoder(TEXT).text_rows(TEXT, [("a", "the river")], 8)


def test_a_chat_template_plays_no_part(tmp_path: Path) -> None:
    assert not tiny.open_base(tmp_path, "t5", chat_template=tiny.chat_template()).has_chat_template


def test_a_start_that_nothing_declares_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path, "bart")
    for name in ("config.json", "generation_config.json"):
        data = json.loads((folder / name).read_text())
        unset = dict.fromkeys(("decoder_start_token_id", "bos_token_id", "pad_token_id"))
        (folder / name).write_text(json.dumps(data | unset))
    with pytest.raises(DataError, match="decoder begins with"):
        load_base(str(folder), device="cpu", precision="fp32")
