"""The tokenizer of a pretrained base: byte-level BPE whose words keep their combining marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

__all__ = ["BOS", "EOS", "PAD", "SPECIAL", "characters_by_token", "read_tokenizer", "train_tokenizer"]

PAD, BOS, EOS = 0, 1, 2
SPECIAL = ("<pad>", "<s>", "</s>")

# GPT-2's pattern with marks counted as part of a word: without that every Devanagari vowel sign would be a piece of its own.
_PIECES = r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}\p{M}\u200c\u200d]+| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+|\s*\n+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Return a tokenizer trained on texts; it puts ``<s>`` first, and takes ``<s>`` inside a text for text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer in a file."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # the file does not hold this
    return tokenizer


def characters_by_token(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """Return how many characters begin in each token of the vocabulary: those of its bytes that are no continuation bytes."""
    size = tokenizer.get_vocab_size()
    byte = _byte_of_symbol()
    counts = np.zeros(size, dtype=np.int64)
    for symbol, token in tokenizer.get_vocab().items():
        if token not in (PAD, BOS, EOS):
            counts[token] = sum(byte[c] & 0xC0 != 0x80 for c in symbol)
    return counts


def _byte_of_symbol() -> dict[str, int]:
    """GPT-2's table of printable stand-ins for the 256 bytes, inverted."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(rest)}
