"""How a byte-level tokenizer of a GGUF file splits text before it merges bytes.

The file only names the rule (``tokenizer.ggml.pre``). transformers knows most names; for the rest it silently uses GPT-2's rule,
which gives other tokens, mainly for numbers. The names of llama.cpp (``llama-vocab.cpp``) that mean GPT-2's rule, or GPT-2's rule
with every digit separate, are listed here; an unknown one is refused.
"""

from __future__ import annotations

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from xeric.errors import DataError

__all__ = ["with_splitting"]

_AS_GPT2 = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais"})
_DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})


def with_splitting(tokenizer: PreTrainedTokenizerBase, name: str | None, *, where: str) -> list[str]:
    """Make a byte-level tokenizer split text by the rule that the file names.

    Args:
        tokenizer: as transformers rebuilt it; changed in place.
        name: the value of ``tokenizer.ggml.pre``; None in files older than that key.
        where: the file, for messages.

    Returns:
        Remarks that belong into the model's card.

    Raises:
        DataError: the rule is unknown.
    """
    if name in GGUF_PRE_TOKENIZER_SPLITS or name in _AS_GPT2:
        return []
    if name in _DIGITS_APART:
        # `Digits` takes every character of Unicode's category N, as llama.cpp's \p{N} does: Devanagari and Arabic digits too.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
        return []
    if name is None or name == "default":
        return ["The file does not say how its tokenizer splits text; GPT-2's way is taken."]
    raise DataError(f"its tokenizer splits text in a way not known here ({name})", where=where, hint="take the original weights")
