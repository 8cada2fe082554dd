"""The tokens that a tokenizer puts around a text."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

__all__ = ["around_text"]


def around_text(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens that a tokenizer puts before and after a text: ``<s>`` and ``</s>``, a language code, or nothing."""
    text = [int(i) for i in tokenizer("a", add_special_tokens=False)["input_ids"]]
    whole = [int(i) for i in tokenizer("a")["input_ids"]]
    start = next((n for n in range(len(whole)) if whole[n : n + len(text)] == text), 0)
    return tuple(whole[:start]), tuple(whole[start + len(text) :])
