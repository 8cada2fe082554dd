"""How well a model predicts a text, in a unit that bases with different tokenizers share: bits per character."""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["bits_per_character"]

_WINDOW = 1024


@torch.no_grad()
def bits_per_character(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Return minus the log2-likelihood of a text divided by its number of characters (Unicode code points).

    A row begins with the BOS token where the tokenizer puts one there. Without it the first token cannot be predicted, and is not
    counted. A text of more than 1,024 tokens is read in windows, each beginning in the
    middle of the one before: every token is predicted once, after at least 512 others where there are as many.

    Args:
        model: a causal model.
        tokenizer: its tokenizer.
        text: not empty.
    """
    model.eval()
    ids = torch.tensor([tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]], device=model.device)
    nats, predicted = 0.0, 1
    for start in range(0, max(ids.shape[1] - _WINDOW // 2, 1), _WINDOW // 2):
        window = ids[:, start : start + _WINDOW]
        logits = model(input_ids=window).logits[0, predicted - start - 1 : -1].float()
        targets = window[0, predicted - start :]
        nats -= float(logits.log_softmax(-1).gather(1, targets[:, None]).double().sum())
        predicted = start + window.shape[1]
    return nats / math.log(2) / len(text)
