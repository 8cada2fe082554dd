"""What a card states of a base beside others: the same characters for each, none of them trained on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import tiny
from tests.training.test_corpus import write_sources
from xeric.errors import DataError
from xeric.text import dominant_script, normalize
from xeric.training.corpus import Corpus, CorpusOptions, prepare_corpus
from xeric.training.reference_passages import PASSAGES, bits_per_character, measure_passages
from xeric.training.side_by_side import THIS_BASE, common_held_out, finished_trainings


def _prepared(folder: Path, options: CorpusOptions, sources: Path) -> Corpus:
    return prepare_corpus(options, folder, sources / "text", sources / "tasks")


@pytest.mark.parametrize("context", [256, 24])
def test_bits_are_those_of_a_token_by_token_computation(tmp_path: Path, context: int) -> None:
    folder = tiny.write_base(tmp_path, max_position_embeddings=context)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = ["the river ferry leaves", "नदी की नाव, and some words that it has never seen before: ¡año!"]
    bits, characters = 0.0, 0
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for place, token in enumerate(ids):
            begin = place - place % (context - 1)
            with torch.no_grad():
                logits = model(torch.tensor([[tokenizer.bos_token_id, *ids[begin:place]]])).logits[0, -1]
            bits -= float(logits.double().log_softmax(-1)[token]) / math.log(2)
        characters += len(text)
    assert len(ids) > 24, "one text must be longer than the short context"
    found = bits_per_character(model, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"], texts)
    assert found == pytest.approx(bits / characters, rel=1e-4)


def test_passages_are_what_they_say_and_fit_one_context_in_bytes_of_any_script() -> None:
    scripts = {"English": "Latin", "Spanish": "Latin", "Hindi": "Devanagari"}
    assert PASSAGES.keys() == scripts.keys()
    for language, text in PASSAGES.items():
        assert text == normalize(text).strip()
        assert 250 <= len(text) <= 400
        assert dominant_script(text) == scripts[language]


def test_a_base_that_gives_every_token_the_same_chance_needs_the_bits_of_its_tokens(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny.write_base(tmp_path, max_position_embeddings=2048))
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    encode = tiny.tokenizer().backend_tokenizer.encode
    found = measure_passages(model, lambda text: encode(text, add_special_tokens=False).ids)
    for language, text in PASSAGES.items():
        tokens = len(encode(text, add_special_tokens=False).ids)
        assert found[language] == pytest.approx(tokens * math.log2(tiny.VOCABULARY) / len(text), rel=1e-5)


def test_held_out_text_is_what_every_training_holds_out(tmp_path: Path) -> None:
    options = write_sources(tmp_path)
    english = options.model_copy(update={"text": {"English": options.text["English"]}, "vocabulary": 500})
    fewer = options.model_copy(update={"held_out": 800})
    corpora = {name: _prepared(tmp_path / name, o, tmp_path) for name, o in (("all", options), ("en", english), ("fewer", fewer))}

    found = common_held_out(corpora, characters=50, texts=3)

    assert list(found) == ["English", "Spanish", "Hindi"]
    for language, texts in found.items():
        assert 1 <= len(texts) <= 3
        for corpus in corpora.values():
            if language in corpus.documents:
                assert all(any(held.startswith(text) for held in corpus.texts(corpus.held_out[language])) for text in texts)
                assert not any(
                    document.startswith(text) for document in corpus.texts(corpus.documents[language]) for text in texts
                )
    assert all(len(text) == 50 for texts in found.values() for text in texts)


def test_trainings_that_hold_out_different_text_are_not_compared(tmp_path: Path) -> None:
    for name, documents in (("a", 40), ("b", 60)):
        write_sources(tmp_path / name, documents=documents)
    path = tmp_path / "b" / "text" / "English" / "a.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("the ", "thy "), encoding="utf-8")
    corpora = {}
    for name in "ab":
        options = write_sources(tmp_path / f"{name}-options")
        english = options.model_copy(update={"text": {"English": options.text["English"]}})
        corpora[name] = _prepared(tmp_path / f"{name}-corpus", english, tmp_path / name)
    with pytest.raises(DataError, match="no English document in common"):
        common_held_out(corpora)


def test_a_folder_without_a_base_is_refused_before_hours_of_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained base"):
        finished_trainings([tmp_path])
    assert finished_trainings([]) == {}
    assert THIS_BASE
