"""GGUF files become ordinary bases: the same logits, the same tokens; what cannot be read is refused in one sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests import ggufs, tiny
from xeric.bases import store
from xeric.bases.gguf_header import HEADER_FILE, KeyValue, read_header
from xeric.bases.loading import base_identity, load_base
from xeric.errors import DataError, UserError

TEXTS = (
    "Hello world, it's 1234 o'clock.",
    "  two  spaces\n\n\tand a tab 12 345   ",
    "¡Hola! ¿Qué tal, señor Núñez?",
    "नमस्ते दुनिया, आज १२३ दिन हैं।",
    "Привет, мир 2024",
    "你好，世界",
    "こんにちは 世界",
    "สวัสดีชาวโลก",
    "한국어 텍스트",
    "مرحبا بالعالم ٣٤",
    "שלום עולם",
    "தமிழ் உரை",
    "😀👩‍👩‍👧‍👦 ✈️ ½ ² ①",
    "a\r\nb </s> <s>",
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return result


@pytest.mark.parametrize(
    ("shape", "changes"),
    [("llama", {"tie_word_embeddings": True}), ("llama", {"tie_word_embeddings": False}), ("qwen2", {}), ("gemma3", {})],
)
def test_a_converted_model_gives_the_logits_of_the_original(tmp_path: Path, shape: str, changes: dict[str, Any]) -> None:
    model = ggufs.random_model(shape, **changes)
    base = load_base(str(ggufs.write_gguf(tmp_path / "m.gguf", model, shape)), device="cpu", precision="fp32")
    ids = list(range(3, 60))
    # float16 in the folder: eleven bits of each weight.
    assert torch.allclose(logits(base.model, ids), logits(model, ids), atol=2e-2 * float(logits(model, ids).std()))
    tied = base.model.get_input_embeddings().weight is base.model.get_output_embeddings().weight
    assert tied == model.config.tie_word_embeddings
    assert base.context == model.config.max_position_embeddings


def test_weights_that_the_file_does_not_quantise_are_kept_exactly(tmp_path: Path) -> None:
    model = ggufs.random_model("gemma3")
    path = ggufs.write_gguf(tmp_path / "m.gguf", model, "gemma3", extra={"general.file_type": 0})
    base = load_base(str(path), device="cpu", precision="fp32")
    for name, weight in model.state_dict().items():
        # Norms are stored plus one, and float32 loses the last bit of some on the way.
        assert torch.allclose(base.model.state_dict()[name], weight, rtol=0, atol=3e-7), name


def test_quantised_weights_are_what_the_quantisation_says(tmp_path: Path) -> None:
    model = ggufs.random_model("qwen2")
    kind = gguf.GGMLQuantizationType.Q8_0
    base = load_base(
        str(ggufs.write_gguf(tmp_path / "m.gguf", model, "qwen2", quantization=kind)), device="cpu", precision="fp32"
    )
    name = "model.layers.1.mlp.down_proj.weight"
    expected = gguf.quants.dequantize(gguf.quants.quantize(model.state_dict()[name].numpy(), kind), kind)
    assert np.allclose(base.model.state_dict()[name].numpy(), expected, rtol=2**-10)
    assert not np.allclose(expected, model.state_dict()[name].numpy(), rtol=2**-10)


def test_a_byte_level_tokenizer_gives_the_ids_of_the_original(tmp_path: Path) -> None:
    original = tiny.tokenizer()
    base = load_base(str(ggufs.write_gguf(tmp_path / "m.gguf", ggufs.random_model("llama"), "llama")), precision="fp32")
    for text in TEXTS:
        assert base.tokenize(text) == original(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], text
        assert base.tokenizer.decode(base.tokenize(text), clean_up_tokenization_spaces=False) == text
    assert (base.bos, base.eos, base.pad) == (1, (2,), 0)
    assert base.has_chat_template
    assert base.tokenize("a</s>", special=True)[-1] == 2


def test_the_way_of_splitting_text_that_the_file_names_is_kept(tmp_path: Path) -> None:
    """``smollm``: every digit of every script apart, also from the space before it."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # "Ġà" joins a space to the first byte of a Devanagari digit: GPT-2's way would use it.
    vocabulary = {text: number for number, text in enumerate(["<pad>", "<s>", "</s>", *alphabet, "Ġà", "Ġ1"])}
    raw.model = models.BPE(vocabulary, [("Ġ", "à"), ("Ġ", "1")])
    raw.add_special_tokens([AddedToken(text, special=True) for text in ("<pad>", "<s>", "</s>")])
    from transformers import PreTrainedTokenizerFast

    original = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    model = ggufs.random_model("llama", vocabulary=len(vocabulary))
    path = ggufs.write_gguf(tmp_path / "m.gguf", model, "llama", tokenizer=original, pre="smollm")
    base = load_base(str(path), precision="fp32")
    for text in ("दिन १२", "x 12 34", *TEXTS):
        assert base.tokenize(text) == original(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], text


def test_an_unknown_way_of_splitting_text_is_refused_and_a_missing_one_said(tmp_path: Path) -> None:
    model = ggufs.random_model("llama")
    with pytest.raises(DataError, match=r"splits text in a way not known here \(nobody-knows\)"):
        load_base(str(ggufs.write_gguf(tmp_path / "a.gguf", model, "llama", pre="nobody-knows")))
    base = load_base(str(ggufs.write_gguf(tmp_path / "b.gguf", model, "llama", pre=None)))
    assert "does not say how its tokenizer splits text" in (base.source / "README.md").read_text(encoding="utf-8")


def test_a_sentencepiece_tokenizer_gives_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece")
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    for text, score, kind in ggufs.gemma_pieces():
        entry = model.pieces.add()
        entry.piece, entry.score, entry.type = (text.replace(" ", "▁") if kind == ggufs.USER_DEFINED else text), score, kind
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback = 2, True
    trainer.pad_id, trainer.bos_id, trainer.eos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.pad_piece, trainer.bos_piece, trainer.eos_piece, trainer.unk_piece = "<pad>", "<bos>", "<eos>", "<unk>"
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", False, False
    original = spm.SentencePieceProcessor(model_proto=model.SerializeToString())
    network = ggufs.random_model("gemma3")
    base = load_base(str(ggufs.write_gguf(tmp_path / "m.gguf", network, "gemma3")), precision="fp32")
    for text in ("hello world", "  hello   world\n\n\nworld ", "नमस्ते", "ñandú é", "Hello 1234", *TEXTS):
        assert base.tokenize(text) == original.encode(text), text
    assert (base.bos, base.eos, base.pad) == (1, (2,), 0)


def test_rotary_embeddings_scaled_as_in_llama_3_are_kept(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 8192
    model = ggufs.random_model("llama", rope_parameters=rope, head_dim=64, hidden_size=64, max_position_embeddings=131072)
    plain = 500000.0 ** -(np.arange(32) / 32)
    factors = plain / model.model.rotary_emb.inv_freq.numpy()
    assert factors.max() == pytest.approx(8.0)
    base = load_base(str(ggufs.write_gguf(tmp_path / "m.gguf", model, "llama", factors=factors)), precision="fp32")
    assert torch.allclose(base.model.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq, rtol=1e-4)
    with pytest.raises(DataError, match="rotary embeddings are scaled in a way not known here"):
        load_base(str(ggufs.write_gguf(tmp_path / "n.gguf", model, "llama", factors=factors**2)))


def test_rotary_embeddings_scaled_by_a_factor_are_kept(tmp_path: Path) -> None:
    model = ggufs.random_model("gemma3")
    extra = {"gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}
    base = load_base(str(ggufs.write_gguf(tmp_path / "m.gguf", model, "gemma3", extra=extra)), precision="fp32")
    kinds = base.model.config.rope_parameters
    assert kinds["full_attention"]["rope_type"] == "linear"
    assert kinds["full_attention"]["factor"] == 8.0
    assert kinds["sliding_attention"]["rope_type"] == "default"
    with pytest.raises(DataError, match=r"not known here \(longrope\)"):
        load_base(str(ggufs.write_gguf(tmp_path / "n.gguf", model, "gemma3", extra={"gemma3.rope.scaling.type": "longrope"})))


@pytest.mark.parametrize(
    ("named", "ends"), [({}, (2,)), ({"eot": 7}, (2, 7)), ({"eot": 2, "eom": 8}, (2, 8)), ({"eot": 7, "eom": 8}, (2, 7, 8))]
)
def test_a_chats_ends_of_turn_and_of_message_end_a_text(named: dict[str, int], ends: tuple[int, ...], tmp_path: Path) -> None:
    keys = {f"tokenizer.ggml.{end}_token_id": token for end, token in named.items()}
    path = ggufs.write_gguf(tmp_path / "m.gguf", ggufs.random_model("llama"), "llama", extra=keys)
    assert load_base(str(path)).eos == ends


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return ggufs.write_gguf(tmp_path / "a model.gguf", ggufs.random_model("llama"), "llama")


def test_a_file_is_converted_once_and_found_by_its_content(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_base(str(file))
    copy = tmp_path / "elsewhere.GGUF"
    copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(store, "_make", lambda *_, **__: pytest.fail("converted again"))
    again = load_base(str(copy))
    assert again.source == first.source
    assert base_identity(str(file)) == first.sha256
    assert not list((tmp_path / "home" / "working").iterdir())
    assert {oct(path.stat().st_mode & 0o777) for path in first.source.iterdir()} == {"0o644"}


def test_the_folder_opens_with_plain_transformers(file: Path) -> None:
    base = load_base(str(file))
    model = AutoModelForCausalLM.from_pretrained(base.source)
    assert model.dtype == torch.float32
    assert torch.equal(logits(model, [1, 5, 9]), logits(base.model, [1, 5, 9]))
    card = (base.source / "README.md").read_text(encoding="utf-8")
    source = json.loads((base.source / "source.json").read_text(encoding="utf-8"))
    assert "apache-2.0" in card
    assert f"| {source['bits_per_character']['hi']:.3f} |" in card


def test_two_conversions_of_a_file_are_the_same_bytes(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_base(str(file)).sha256
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "another"))
    assert load_base(str(file)).sha256 == first


def _broken(file: Path) -> Iterator[tuple[str, bytes, str]]:
    whole = file.read_bytes()
    yield "no.gguf", b"GG" * 40, "cannot be read as a GGUF file"
    yield "empty.gguf", b"", "cannot be read as a GGUF file"
    yield "header.gguf", whole[:200], "cannot be read"
    yield "short.gguf", whole[: len(whole) - 5000], "cannot be read"
    yield "version.gguf", whole[:4] + b"\x09" + whole[5:], "cannot be read as a GGUF file"
    yield "strange.gguf", whole.replace(b"llama", b"lxama"), "cannot be read"


def test_what_cannot_be_read_is_refused_in_one_sentence_and_leaves_nothing(file: Path, tmp_path: Path) -> None:
    for name, content, expected in _broken(file):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=expected) as caught:
            load_base(str(path))
        assert caught.value.exit_code == 2
        assert len(str(caught.value).splitlines()) == 1, name
        assert not list((tmp_path / "home" / "working").iterdir()), name
        assert not list((tmp_path / "home").glob("bases/*")), name


def test_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder") as caught:
        load_base(str(tmp_path / "nowhere.gguf"))
    assert "gemma-3-270m" in str(caught.value.hint)
    other = tmp_path / "weights.bin"
    other.write_bytes(b"x")
    with pytest.raises(DataError, match=r"neither a folder nor a \.gguf file"):
        load_base(str(other))


def test_a_cache_folder_that_cannot_be_written_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file", encoding="utf-8")
    monkeypatch.setenv("XERIC_HOME", str(blocked))
    with pytest.raises(UserError, match="blocked") as caught:
        load_base(str(file))
    assert "XERIC_HOME" in str(caught.value.hint)


def test_a_model_is_not_what_it_was_when_it_is_stored_otherwise(tmp_path: Path) -> None:
    """The rule of the test above is not vacuous: rows in another order change the logits."""
    model: PreTrainedModel = ggufs.random_model("llama")
    right = logits(model, list(range(3, 30)))
    weight = model.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    weight.copy_(weight.flip(0))
    assert not torch.allclose(right, logits(model, list(range(3, 30))), atol=2e-2 * float(right.std()))


def test_a_conversion_keeps_the_metadata_of_its_file_as_a_gguf_file_without_weights(file: Path) -> None:
    base = load_base(str(file))
    kept = read_header(base.source / HEADER_FILE)
    assert kept == read_header(file)
    fields = gguf.GGUFReader(file).fields
    assert set(kept) == {key for key in fields if not key.startswith("GGUF.")}
    assert {key: value.value for key, value in kept.items()} == {key: fields[key].contents() for key in kept}
    assert kept["general.license"] == KeyValue("apache-2.0", gguf.GGUFValueType.STRING)
    assert kept["tokenizer.ggml.token_type"].items == gguf.GGUFValueType.INT32
    assert gguf.GGUFReader(base.source / HEADER_FILE).tensors == []
    for name, content, _ in _broken(file):
        if name not in ("short.gguf", "version.gguf", "strange.gguf"):
            broken = file.with_name(name)
            broken.write_bytes(content)
            with pytest.raises(DataError, match="cannot be read"):
                read_header(broken)


def test_a_text_that_ends_behind_the_file_is_refused(tmp_path: Path) -> None:
    def header(length: int) -> bytes:
        return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 4) + b"name" + struct.pack("<IQ", 8, length) + b"tiny"

    path = tmp_path / "a.gguf"
    path.write_bytes(header(4))
    assert read_header(path)["name"].value == "tiny"
    for length in (5, 2**63, 2**64 - 1):
        path.write_bytes(header(length))
        with pytest.raises(DataError, match="cannot be read as a GGUF file"):
            read_header(path)
