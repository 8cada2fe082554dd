"""A tokenizer as the metadata of a GGUF file, made of its ``tokenizer.json``.

Two kinds can be written. A byte-level BPE goes with its merges and the name of the rule by which it splits text
(:mod:`xeric.bases.gguf_tokenizer`). A SentencePiece BPE goes with a score for each token instead: llama.cpp joins the
two neighbours whose union has the highest score, so a token's score is minus the rank of its first merge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gguf import GGUFValueType, TokenType
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from xeric.bases.base import Base
from xeric.bases.gguf_header import KeyValue
from xeric.errors import UserError

__all__ = ["vocabulary_keys"]

_BLANK = "\u2581"
_FURTHER_ENDS = ("eot_token_id", "eom_token_id")
_SPECIAL = {"bos_token_id": "bos", "eos_token_id": "eos", "unknown_token_id": "unk", "padding_token_id": "pad"}


def vocabulary_keys(base: Base) -> dict[str, KeyValue]:
    """Return the keys ``tokenizer.*`` of a base's tokenizer.

    Raises:
        UserError: it is of neither kind that can be written.
    """
    described = json.loads(base.tokenizer.backend_tokenizer.to_str())
    tokens, types = _tokens(base, described)
    model = described["model"]
    if model["type"] == "BPE" and model.get("byte_fallback"):
        keys = _sentencepiece(described, tokens, types)
    elif model["type"] == "BPE" and (rule := _splitting(described["pre_tokenizer"])):
        keys = _byte_level(model, tokens, types, rule)
    else:
        raise UserError(
            f"the tokenizer of {base.name} cannot be written as GGUF: it splits text in a way that has no name here",
            hint="use --to merged, and llama.cpp's convert_hf_to_gguf.py on what that writes",
        )
    return {f"tokenizer.ggml.{key}": value for key, value in (keys | _special(base)).items()} | _template(base)


def _tokens(base: Base, described: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Return text and type of every token, one for each row of the embedding."""
    texts = {number: text for text, number in described["model"]["vocab"].items()}
    texts |= {token["id"]: token["content"] for token in described["added_tokens"]}
    # The rows behind the tokenizer's last token were never trained; a converter fills them up with names of this form.
    fillers = [f"[PAD{number}]" for number in range(base.vocabulary)]
    unused = [texts.get(number, filler) == filler for number, filler in enumerate(fillers)]
    types = [TokenType.UNUSED if is_unused else TokenType.NORMAL for is_unused in unused]
    for number, content in texts.items():
        if number < len(types) and content == described["model"].get("unk_token"):
            types[number] = TokenType.UNKNOWN
        elif number < len(types) and described["model"].get("byte_fallback") and _is_byte(content):
            types[number] = TokenType.BYTE
        elif number < len(types) and "gemma" in base.model.config.model_type and len(content) > 1 and set(content) == {_BLANK}:
            types[number] = TokenType.USER_DEFINED  # transformers keeps Gemma's runs of blanks as ordinary tokens
    for token in described["added_tokens"]:
        if token["id"] < len(types):
            types[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    return [texts.get(number, filler) for number, filler in enumerate(fillers)], [int(kind) for kind in types]


def _is_byte(content: str) -> bool:
    return len(content) == 6 and content.startswith("<0x") and content.endswith(">")


def _sentencepiece(described: Mapping[str, Any], tokens: list[str], types: list[int]) -> dict[str, KeyValue]:
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(described["model"]["merges"]):
        ranks.setdefault(left + right, rank)
    # What no merge makes must not be made.
    never = -float(len(described["model"]["merges"]) + 1)
    scores = [-float(ranks[token]) if token in ranks else never for token in tokens]
    # A user-defined token is found in the text as it is, not in the text whose blanks are replaced.
    texts = [
        token.replace(_BLANK, " ") if kind == TokenType.USER_DEFINED else token for token, kind in zip(tokens, types, strict=True)
    ]
    return {
        "model": KeyValue("llama", GGUFValueType.STRING),
        "pre": KeyValue("default", GGUFValueType.STRING),
        "tokens": KeyValue(texts, GGUFValueType.ARRAY, GGUFValueType.STRING),
        "scores": KeyValue(scores, GGUFValueType.ARRAY, GGUFValueType.FLOAT32),
        "token_type": KeyValue(types, GGUFValueType.ARRAY, GGUFValueType.INT32),
        "add_space_prefix": KeyValue(_adds_space(described), GGUFValueType.BOOL),
    }


def _adds_space(described: Mapping[str, Any]) -> bool:
    """Return whether a blank is put in front of a text."""
    pre = described["pre_tokenizer"] or {}
    return '"Prepend"' in json.dumps(described["normalizer"]) or pre.get("prepend_scheme", "never") != "never"


def _byte_level(model: Mapping[str, Any], tokens: list[str], types: list[int], rule: str) -> dict[str, KeyValue]:
    return {
        "model": KeyValue("gpt2", GGUFValueType.STRING),
        "pre": KeyValue(rule, GGUFValueType.STRING),
        "tokens": KeyValue(tokens, GGUFValueType.ARRAY, GGUFValueType.STRING),
        "token_type": KeyValue(types, GGUFValueType.ARRAY, GGUFValueType.INT32),
        "merges": KeyValue([" ".join(pair) for pair in model["merges"]], GGUFValueType.ARRAY, GGUFValueType.STRING),
    }


def _splitting(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    """Return llama.cpp's name of the rule by which a byte-level tokenizer splits text; None where it has none here."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    kinds = [step and step["type"] for step in steps]
    if kinds[-1] != "ByteLevel" or steps[-1]["add_prefix_space"]:
        return None
    if kinds == ["ByteLevel"] and steps[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1]["use_regex"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1]["use_regex"] and steps[0]["behavior"] == "Isolated":
        pattern = steps[0]["pattern"].get("Regex")
        return next((name for name, split in GGUF_PRE_TOKENIZER_SPLITS.items() if split == pattern), None)
    return None


def _special(base: Base) -> dict[str, KeyValue]:
    ids = {key: getattr(base.tokenizer, f"{name}_token_id") for key, name in _SPECIAL.items()}
    ids["eos_token_id"] = base.eos[0]
    if base.bos is not None:
        ids["bos_token_id"] = base.bos
    keys = {key: KeyValue(number, GGUFValueType.UINT32) for key, number in ids.items() if isinstance(number, int)}
    # llama.cpp ends a text at each of them, as at the end of text: a chat's ends of turn and of message.
    keys |= {key: KeyValue(end, GGUFValueType.UINT32) for key, end in zip(_FURTHER_ENDS, base.eos[1:], strict=False)}
    return keys | {
        "add_bos_token": KeyValue(base.bos is not None, GGUFValueType.BOOL),
        "add_eos_token": KeyValue(False, GGUFValueType.BOOL),
    }


def _template(base: Base) -> dict[str, KeyValue]:
    template = getattr(base.tokenizer, "chat_template", None)
    return {"tokenizer.chat_template": KeyValue(template, GGUFValueType.STRING)} if isinstance(template, str) else {}
