"""A trimmed base is its base: the same logits bit for bit, the same tokens and texts, as long as no dropped token is needed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests import tiny
from xeric.bases.base import Base
from xeric.bases.loading import base_identity, load_base
from xeric.bases.token_choice import Predictions, lowest_numbered, model_logits
from xeric.bases.trimmed_folder import trim_base, trimmed_folder
from xeric.bases.trimmed_tokenizer import always_kept, surfaces, tokens_of, trimmed, with_derivations
from xeric.bases.trimming import Trimmed
from xeric.errors import DataError, UserError

# The kinds of tokenizer on the shapes that commonly have them, and every other shape.
BASES = [*tiny.SHAPES, "llama-unigram", "llama-wordpiece", "t5-unigram", "mt5-unigram", "bart", "mbart-unigram"]
BASES += ["bert-wordpiece", "roberta", "electra-wordpiece", "modernbert", "distilbert-wordpiece"]
TEXT = "the river leaves at dawn\n\nthree red boats and a quiet dog"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def trim(base_folder: Callable[[str], Path], texts: Path, tmp_path: Path) -> Callable[..., tuple[Base, Base, Trimmed]]:
    """Trims a tiny base; the base, the trimmed one, and what was measured."""

    def call(shape: str = "llama", **options: Any) -> tuple[Base, Base, Trimmed]:
        folder = options.pop("folder", None) or base_folder(shape)
        result = trim_base(str(folder), [texts], tmp_path / "trimmed", device="cpu", **{"more": 5, **options})
        before, after = (load_base(str(path), device="cpu", precision="fp32") for path in (folder, tmp_path / "trimmed"))
        return before, after, result

    return call


@pytest.mark.parametrize("shape", BASES)
def test_logits_of_kept_tokens_are_equal_bit_for_bit(shape: str, trim: Callable[..., tuple[Base, Base, Trimmed]]) -> None:
    before, after, result = trim(shape)
    kept = list(result.kept)
    assert after.vocabulary == len(kept) < before.vocabulary
    assert after.parameters < before.parameters
    ids = after.tokenize("three red boats at dawn")
    assert [kept[token] for token in ids] == before.tokenize("three red boats at dawn")
    assert torch.equal(model_logits(after, ids), model_logits(before, [kept[token] for token in ids])[:, kept])
    tied = before.output_embeddings.weight is before.input_embeddings.weight
    assert (after.output_embeddings.weight is after.input_embeddings.weight) == tied
    assert [kept[token] for token in after.eos] == list(before.eos)
    assert kept[after.pad] == before.pad
    assert (after.bos if after.bos is None else kept[after.bos]) == before.bos


@pytest.mark.parametrize("shape", ["llama", "gemma3", "gpt2", "bloom"])
def test_greedy_texts_are_the_same_until_a_dropped_token_would_be_written(
    shape: str, trim: Callable[..., tuple[Base, Base, Trimmed]]
) -> None:
    before, after, result = trim(shape, more=25)
    kept, steps = list(result.kept), 0
    for start in ("the river", "a dog", "three", "boats and a"):
        ids = after.tokenize(start)
        for _ in range(20):
            best = int(model_logits(before, [kept[token] for token in ids])[-1].argmax())
            if best not in result.kept:
                break
            ids.append(int(model_logits(after, ids)[-1].argmax()))
            assert kept[ids[-1]] == best
            steps += 1
    assert steps > 20, "the comparison is of texts, not of first tokens"


@pytest.mark.parametrize("shape", ["llama", "gemma3"])
def test_text_that_needs_dropped_tokens_is_spelled_by_smaller_pieces(
    shape: str, trim: Callable[..., tuple[Base, Base, Trimmed]]
) -> None:
    before, after, _ = trim(shape, more=0)
    unseen = "नदी की नाव — Ωmega, ferry under cold rain 😀"
    assert len(after.tokenize(unseen)) > len(before.tokenize(unseen))
    assert after.continuation(after.tokenize(unseen)) == before.continuation(before.tokenize(unseen)) == unseen


@pytest.mark.parametrize("shape", ["bert-wordpiece", "t5-unigram"])
def test_without_bytes_it_is_spelled_by_characters(shape: str, trim: Callable[..., tuple[Base, Base, Trimmed]]) -> None:
    before, after, _ = trim(shape, more=0)
    unseen = "ferry under cold rain नदी की नाव"
    unknown = after.tokenizer.unk_token_id
    assert before.tokenizer.unk_token_id not in before.tokenize(unseen)
    assert unknown not in after.tokenize(unseen)
    assert len(after.tokenize(unseen)) > len(before.tokenize(unseen))


def test_any_choice_of_tokens_cuts_the_texts_that_they_spell_as_before() -> None:
    raw = tiny.tokenizer().backend_tokenizer
    described = json.loads(raw.to_str())
    words, rng, pieces = tiny._WORDS["English"] + tiny._WORDS["Hindi"], random.Random(0), tokens_of(described)
    compared = other = 0
    for _ in range(20):
        chosen = raw.encode(" ".join(rng.sample(words, 12)), add_special_tokens=False).ids
        kept = sorted(with_derivations(described, always_kept(described) | set(chosen)))
        cut = Tokenizer.from_str(json.dumps(trimmed(described, kept)))
        for text in (" ".join(rng.choices(words, k=2)) for _ in range(40)):
            before, after = (tokenizer.encode(text, add_special_tokens=False).ids for tokenizer in (raw, cut))
            if set(before) <= set(kept):
                assert [kept[token] for token in after] == before
                compared += max(len(pieces[token]) for token in before) > 3
            else:
                assert cut.decode(after) == text
                other += 1
    assert compared > 20
    assert other > 20


def test_without_the_pieces_in_between_a_token_would_not_be_made() -> None:
    merges = [("a", "b"), ("ab", "c"), ("c", "d")]
    raw = Tokenizer(models.BPE({piece: n for n, piece in enumerate(["a", "b", "c", "d", "ab", "abc", "cd"])}, merges))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    described = json.loads(raw.to_str())
    assert with_derivations(described, {5}) == {0, 1, 2, 4, 5}, "abc is made of ab, and not of cd"


def test_tokens_behind_dropped_ones_are_numbered_anew_wherever_they_are_named(tmp_path: Path, texts: Path) -> None:
    folder = tiny.write_base(tmp_path / "base", "llama")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokens = tokens_of(json.loads(tokenizer.backend_tokenizer.to_str()))
    last = max(tokens)
    ending = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", pad_token="<pad>", eos_token=tokens[last]
    )
    ending.save_pretrained(folder)
    generation = {
        "eos_token_id": [last, 2],
        "suppress_tokens": [1, last - 1],
        "bad_words_ids": [[last], [last - 1, 2]],
        "top_k": 50,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    result = trim_base(str(folder), [texts], tmp_path / "trimmed", more=0, device="cpu")
    new = {token: index for index, token in enumerate(result.kept)}
    assert last - 1 not in new, "so that an id has to move"
    written = json.loads((tmp_path / "trimmed/generation_config.json").read_text(encoding="utf-8"))
    assert written == {"eos_token_id": [new[last], 2], "suppress_tokens": [1], "bad_words_ids": [[new[last]]], "top_k": 50}
    assert load_base(str(tmp_path / "trimmed"), device="cpu").eos == (new[last], 2)


def test_the_base_says_which_tokens_are_near_and_how_often_a_dropped_one_would_win() -> None:
    predicted = Predictions(torch.tensor([0.1, 0.4, 0.2, 0.3]), (1, 1, 3))
    assert predicted.ranked([0, 2, 3]) == [3, 2, 0]
    assert predicted.dropped_wins([0, 1]) == 1
    assert predicted.dropped_probability([0, 1]) == pytest.approx(0.5)


def test_more_tokens_lose_less_probability(base_folder: Callable[[str], Path], texts: Path, tmp_path: Path) -> None:
    few, many = (trim_base(str(base_folder("llama")), [texts], tmp_path / str(more), more=more, device="cpu") for more in (0, 40))
    assert len(few.kept) < len(many.kept)
    assert few.dropped_probability is not None
    assert many.dropped_probability is not None
    assert few.dropped_probability > many.dropped_probability > 0
    assert few.positions == many.positions > 0


def test_tokens_of_other_scripts_come_last_where_the_base_cannot_say() -> None:
    assert lowest_numbered({5: "dog", 2: "नाव", 7: " cat", 3: "12"}, ["english letters"]) == [3, 5, 7]


def test_byte_level_pieces_are_read_as_text() -> None:
    read = surfaces(json.loads(tiny.tokenizer().backend_tokenizer.to_str())).values()
    assert " ferry" in read
    assert any("न" in text for text in read)
    assert "<s>" not in read


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stay_in_the_type_that_they_were_kept_in(dtype: torch.dtype, tmp_path: Path, texts: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny.write_base(tmp_path / "base", "llama")
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    result = trim_base(str(folder), [texts], tmp_path / "trimmed", more=0, device="cpu")
    assert f"torch.{result.stored}" == str(dtype)
    assert result.difference == 0
    with safe_open(tmp_path / "trimmed/model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {dtype}  # noqa: SIM118 - no mapping


def test_the_card_says_of_what_and_by_which_texts(trim: Callable[..., tuple[Base, Base, Trimmed]], texts: Path) -> None:
    before, after, result = trim("gemma3")
    card = (after.source / "README.md").read_text(encoding="utf-8")
    assert before.sha256["weights"] in card
    assert "texts.txt" in card
    assert f"{len(result.kept):,}" in card
    assert str(before.source.parent) not in card, "no path of the machine"
    source = json.loads((after.source / "source.json").read_text(encoding="utf-8"))
    assert source["trimmed"]["kept"] == list(result.kept)
    assert source["trimmed"]["base"] == "gemma3"


def test_in_the_cache_it_is_made_once_and_known_by_its_contents(
    base_folder: Callable[[str], Path], texts: Path, tmp_path: Path
) -> None:
    base = str(base_folder("llama"))
    first = trimmed_folder(base, [texts], more=3, device="cpu")
    made = first.stat().st_mtime_ns
    copy = texts.with_name("copy.txt")
    copy.write_text(TEXT, encoding="utf-8")
    assert trimmed_folder(base, [copy], more=3, device="cpu") == first
    assert first.stat().st_mtime_ns == made
    copy.write_text("cold rain near our town", encoding="utf-8")
    others = {trimmed_folder(base, [copy], more=3, device="cpu"), trimmed_folder(base, [texts], more=4, device="cpu")}
    assert len({first, *others}) == 3
    assert base_identity(str(first)) != base_identity(base)


def test_what_cannot_be_trimmed_is_refused_and_leaves_nothing(
    base_folder: Callable[[str], Path], texts: Path, tmp_path: Path
) -> None:
    base, output = str(base_folder("llama")), tmp_path / "out"
    with pytest.raises(UserError, match="nothing of the vocabulary"):
        trim_base(base, [texts], output, more=10_000, device="cpu")
    marked = tiny.write_base(tmp_path / "marked", "llama")
    described = json.loads((marked / "tokenizer.json").read_text(encoding="utf-8"))
    described["model"] = {"type": "WordLevel", "vocab": described["model"]["vocab"], "unk_token": "<pad>"}
    (marked / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UserError, match="not of the kinds BPE, Unigram and WordPiece"):
        trim_base(str(marked), [texts], output, device="cpu")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    output.mkdir()
    (output / "mine").touch()
    with pytest.raises(UserError, match="is not empty"):
        trim_base(base, [texts], output, device="cpu")


def test_a_model_that_uses_the_numbers_of_tokens_otherwise_is_refused(
    base_folder: Callable[[str], Path], texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.forward

    def with_numbers(self: Any, input_ids: Any = None, **options: Any) -> Any:
        output = plain(self, input_ids=input_ids, **options)
        output.logits = output.logits + 0.1 * input_ids[..., None]
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", with_numbers)
    with pytest.raises(DataError, match="logits of the kept tokens differ"):
        trim_base(str(base_folder("llama")), [texts], tmp_path / "out", more=0, device="cpu")
    assert not (tmp_path / "out").exists()
