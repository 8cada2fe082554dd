"""The bundled bases are ordinary folders, as good as their cards say, and each good at its own languages."""

from __future__ import annotations

import math
import re

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from xeric.bases.bundled import PREFIX, bundled_bases
from xeric.bases.loading import load_base
from xeric.training.base_folder import BASE_FILES
from xeric.training.reference_passages import PASSAGES, measure_passages

NAMES = ["english", "multilingual"]
MEGABYTES = 50
ROUNDING = 0.002
"""Cards state three decimals; float32 sums differ in the sixth between machines."""

FAR = {"Spanish": 1.0, "Hindi": 5.0}
"""Bits per character by which the multilingual base is better than the English one: far beyond what a seed moves."""

SAME = 0.02
"""Bits per character within which the English base is at least as good on English."""

FOLDERS = {name.removeprefix(PREFIX): folder for name, folder in bundled_bases().items()}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """Bits per character of each base on each passage, by plain transformers alone."""
    found: dict[str, dict[str, float]] = {}
    for name in NAMES:
        model = AutoModelForCausalLM.from_pretrained(FOLDERS[name], dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(FOLDERS[name])
        found[name] = {}
        for language, text in PASSAGES.items():
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            assert ids.shape[1] <= model.config.max_position_embeddings
            with torch.no_grad():
                loss = float(model(ids, labels=ids).loss)
            found[name][language] = loss * (ids.shape[1] - 1) / math.log(2) / len(text)
    return found


def _stated(name: str) -> dict[str, float]:
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    return {
        language: float(bits) for language, bits in re.findall(r"^\| (\w+) passage \| ([\d.]+) \|$", card, flags=re.MULTILINE)
    }


@pytest.mark.parametrize("name", NAMES)
def test_bits_per_character_are_those_of_the_card(name: str, measured: dict[str, dict[str, float]]) -> None:
    assert _stated(name) == pytest.approx(measured[name], abs=ROUNDING)
    base = load_base(PREFIX + name, device="cpu", precision="fp32")
    ours = measure_passages(
        base.model, lambda text: base.tokenizer(text, add_special_tokens=False)["input_ids"], bos=base.tokenizer.bos_token_id
    )
    assert ours == pytest.approx(measured[name], abs=1e-4)


def test_the_multilingual_base_is_far_better_on_its_other_languages(measured: dict[str, dict[str, float]]) -> None:
    for language, far in FAR.items():
        assert measured["multilingual"][language] + far <= measured["english"][language], language


def test_the_english_base_is_at_least_as_good_on_english(measured: dict[str, dict[str, float]]) -> None:
    assert measured["english"]["English"] <= measured["multilingual"]["English"] + SAME


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_whole_and_in_bf16(name: str) -> None:
    assert sorted(path.name for path in FOLDERS[name].iterdir()) == sorted(BASE_FILES)
    with safe_open(FOLDERS[name] / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.bfloat16}  # noqa: SIM118


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_the_issue_of_a_base_is(name: str) -> None:
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    for part in ("licence", "tokens (padding included)", "hours on", "dropped for leaks", "exact copies", "## Samples"):
        assert part in card, part
    assert "not finished" not in card
    other = NAMES[1 - NAMES.index(name)]
    assert f"| bits per character, held-out text | this base | {other} |" in card
    for language in PASSAGES:
        assert len(re.findall(rf"^\| {language} \| [\d.]+ \| [\d.]+ \|$", card, flags=re.MULTILINE)) == 1


def test_together_they_are_small_enough_for_a_repository() -> None:
    size = sum(path.stat().st_size for name in NAMES for path in FOLDERS[name].iterdir())
    assert size <= MEGABYTES * 1_000_000
