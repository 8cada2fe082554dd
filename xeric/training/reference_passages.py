"""Bits per character, and three short passages that every base is measured on, whatever it was trained on.

The passages were written for this purpose and say the same in each language; they are part of no corpus. What a card states of
them can be measured again by anybody, with the card's base and plain transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from xeric.training.bpe import BOS

__all__ = ["PASSAGES", "bits_per_character", "measure_passages"]

PASSAGES = {
    "English": (
        "When the last bus had gone, Marta counted the coins in her coat again. There were enough for bread "
        "but not for lamp oil, and the shop would close at six. She crossed the wet square slowly, thinking "
        "of what her brother had said about the letter. Nobody would come before Friday, he had promised, and "
        "she believed him, as one believes in the weather."
    ),
    "Spanish": (
        "Cuando salió el último autobús, Marta volvió a contar las monedas que llevaba en el abrigo. "
        "Alcanzaban para el pan, pero no para el aceite de la lámpara, y la tienda cerraba a las seis. Cruzó "
        "despacio la plaza mojada, pensando en lo que su hermano había dicho de la carta. Nadie vendría antes "
        "del viernes, le había prometido, y ella lo creyó como se cree en el tiempo."
    ),
    "Hindi": (
        "आख़िरी बस चली गई तो मार्था ने अपने कोट में रखे सिक्के फिर से गिने। रोटी के लिए काफ़ी थे, दीये के तेल "
        "के लिए नहीं, और दुकान छह बजे बंद हो जाती थी। वह भीगे चौक को धीरे-धीरे पार करती हुई सोचती रही कि उसके "
        "भाई ने चिट्ठी के बारे में क्या कहा था। उसने वादा किया था कि शुक्रवार से पहले कोई नहीं आएगा, और उसने "
        "मान लिया, जैसे लोग मौसम को मान लेते हैं।"
    ),
}

Encode = Callable[[str], Sequence[int]]
"""A text -> its token ids, special tokens left out."""


@torch.no_grad()
def bits_per_character(model: Any, encode: Encode, texts: Iterable[str], *, bos: int = BOS) -> float:
    """Return the bits that a model needs for a character of these texts, each read from its beginning.

    A text longer than the context is read in windows that know nothing of each other, each behind a BOS of its own: the price of
    a tokenizer that needs many tokens for a language.

    Args:
        model: causal.
        encode: its tokenizer.
        texts: at least one that is not empty.
        bos: id of the token that begins each window.
    """
    size = int(model.config.max_position_embeddings) - 1
    nats, characters = 0.0, 0
    for text in texts:
        ids = list(encode(text))
        for start in range(0, len(ids), size):
            row = torch.tensor([[bos, *ids[start : start + size]]], device=model.device)
            logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
            nats += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
        characters += len(text)
    return nats / math.log(2) / characters


def measure_passages(model: Any, encode: Encode, *, bos: int = BOS) -> dict[str, float]:
    """Return the bits per character of each reference passage, by language."""
    return {language: bits_per_character(model, encode, [text], bos=bos) for language, text in PASSAGES.items()}
