"""A tokenizer with a part of its tokens: the same pieces for a text whose tokens are all kept, smaller ones for any other.

It is edited as the JSON that ``tokenizers`` writes (``Tokenizer.to_str``). Why the pieces are the same:

* *BPE* (Sennrich et al. 2016, arXiv 1508.07909) joins, again and again, the two neighbours whose pair stands first among the
  merges. A merge is kept where both parts and their union are. What the merges of a text make on the way to its tokens is kept as
  well (:func:`with_derivations`), so at every step the pair that was joined before is there and still the first one.
* *Unigram* (Kudo 2018, arXiv 1804.10959) takes the segmentation with the highest score. The best one is still there, and none is
  new. The score of an unknown character is derived from the lowest score of all, so the piece that has it is kept.
* *WordPiece* takes the longest piece that fits, from left to right. The longest one is still there, and none is new.

What no piece spells is spelled by byte tokens where the tokenizer has them; they are always kept.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tokenizers import pre_tokenizers

from xeric.errors import UserError

__all__ = ["always_kept", "check_can_be_trimmed", "surfaces", "tokens_of", "trimmed", "with_derivations"]

_KINDS = ("BPE", "Unigram", "WordPiece")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BLANK = "\u2581"
_FRAMES = ("BertProcessing", "RobertaProcessing")

Described = Mapping[str, Any]
"""A tokenizer as ``json.loads(tokenizer.to_str())`` gives it."""


def check_can_be_trimmed(described: Described, name: str) -> None:
    """Check that a tokenizer is of a kind whose tokens can be dropped.

    Args:
        described: the tokenizer.
        name: of its base, for the message.

    Raises:
        UserError: it is not.
    """
    model = described["model"]
    marks = [model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix")]
    if model.get("type") not in _KINDS or (model["type"] == "BPE" and any(marks)):
        raise UserError(
            f"the vocabulary of {name} cannot be trimmed: its tokenizer is not of the kinds BPE, Unigram and WordPiece",
            hint="take the base as it is",
        )


def tokens_of(described: Described) -> dict[int, str]:
    """Return every token, added ones included, by its id."""
    return _pieces(described["model"]) | {token["id"]: token["content"] for token in described["added_tokens"]}


def always_kept(described: Described) -> set[int]:
    """Return the ids of the tokens that no choice drops: special and added ones, the unknown, bytes or else characters."""
    model, pieces = described["model"], _pieces(described["model"])
    kept = {token["id"] for token in described["added_tokens"]}
    kept |= {number for number, piece in pieces.items() if piece == model.get("unk_token")}
    if is_byte_level(described):
        alphabet = set(pre_tokenizers.ByteLevel.alphabet())
        kept |= {number for number, piece in pieces.items() if piece in alphabet}
    elif model.get("byte_fallback"):
        kept |= {number for number, piece in pieces.items() if _BYTE.fullmatch(piece)}
    else:
        # No bytes to fall back on: what its characters cannot spell would become the unknown token.
        begin, end = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
        kept |= {number for number, piece in pieces.items() if len(piece.removeprefix(begin).removesuffix(end)) == 1}
    kept |= set(_around_text(described.get("post_processor")))
    if described.get("padding"):
        kept.add(described["padding"]["pad_id"])
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        kept |= {scores.index(min(scores))} | ({model["unk_id"]} if model["unk_id"] is not None else set())
    return kept


def with_derivations(described: Described, ids: Iterable[int]) -> set[int]:
    """Return token ids together with those of all pieces that the merges of a BPE make on the way to them.

    What a merge joins inside a token does not depend on what stands around it, as long as the token comes out: so each token is
    derived from its characters by itself.
    """
    kept, model = set(ids), described["model"]
    if model["type"] != "BPE":
        return kept
    ranks: dict[tuple[str, str], int] = {}
    for rank, merge in enumerate(_merges(model)):
        ranks.setdefault(merge, rank)
    pieces, vocab = _pieces(model), model["vocab"]
    for number in list(kept):
        for piece in _derived(pieces.get(number, ""), ranks):
            if piece in vocab:
                kept.add(vocab[piece])
    return kept


def surfaces(described: Described) -> dict[int, str]:
    """Return the text of every ordinary token, by its id; tokens without a text of their own (bytes, halves of characters) lack.

    Marks of the tokenizer (of a blank, of the continuation of a word) are taken off: what is left is what a reader sees.
    """
    added = {token["id"] for token in described["added_tokens"]}
    byte_level = is_byte_level(described)
    numbers = _byte_numbers() if byte_level else {}
    result: dict[int, str] = {}
    for number, piece in _pieces(described["model"]).items():
        if number in added or _BYTE.fullmatch(piece):
            continue
        if byte_level:
            try:
                result[number] = bytes(numbers[character] for character in piece).decode("utf-8")
            except (KeyError, UnicodeDecodeError):
                continue
        else:
            result[number] = piece.replace(_BLANK, " ").removeprefix("##")
    return result


def is_byte_level(described: Described) -> bool:
    """Return whether the pieces are spelled in characters that stand for bytes (Radford et al. 2019, GPT-2)."""
    steps = described.get("pre_tokenizer") or {}
    return any(step.get("type") == "ByteLevel" for step in steps.get("pretokenizers", [steps]))


def trimmed(described: Described, kept: Sequence[int]) -> dict[str, Any]:
    """Return a tokenizer with some of its tokens, numbered anew in their old order.

    Args:
        described: the tokenizer.
        kept: ids of the tokens, ascending; the new id of a token is its index here.
    """
    new = {number: index for index, number in enumerate(kept)}
    result = copy.copy(dict(described))
    model = result["model"] = dict(described["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {piece: new[number] for piece, number in model["vocab"].items() if number in new}
    if model["type"] == "BPE":
        vocab = model["vocab"]
        model["merges"] = [
            [left, right] for left, right in _merges(model) if left in vocab and right in vocab and left + right in vocab
        ]
    result["added_tokens"] = [token | {"id": new[token["id"]]} for token in described["added_tokens"] if token["id"] in new]
    result["post_processor"] = _renumbered(described.get("post_processor"), new)
    if result.get("padding"):
        result["padding"] = result["padding"] | {"pad_id": new[result["padding"]["pad_id"]]}
    return result


def _pieces(model: Mapping[str, Any]) -> dict[int, str]:
    if model["type"] == "Unigram":
        return {number: piece for number, (piece, _) in enumerate(model["vocab"])}
    return {number: piece for piece, number in model["vocab"].items()}


def _merges(model: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def _derived(token: str, ranks: Mapping[tuple[str, str], int]) -> Collection[str]:
    """Return all pieces that merging a token's characters makes, the characters included."""
    parts = list(token)
    made = set(parts)
    while len(parts) > 1:
        rank, at = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts)))
        if rank == len(ranks):
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        made.add(parts[at])
    return made


def _byte_numbers() -> dict[str, int]:
    """Return the byte that each character of the byte-level alphabet stands for (``bytes_to_unicode`` of GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), 256)]
    others = [number for number in range(256) if number not in printable]
    return {chr(number): number for number in printable} | {chr(256 + n): number for n, number in enumerate(others)}


def _around_text(processor: Any) -> Iterator[int]:
    """Yield the tokens that a post-processor puts around a text."""
    if isinstance(processor, list):
        for step in processor:
            yield from _around_text(step)
    elif isinstance(processor, dict):
        if processor.get("type") == "TemplateProcessing":
            yield from (number for entry in processor["special_tokens"].values() for number in entry["ids"])
        elif processor.get("type") in _FRAMES:
            yield from (processor[key][1] for key in ("sep", "cls"))
        yield from _around_text(processor.get("processors", []))


def _renumbered(processor: Any, new: Mapping[int, int]) -> Any:
    """Return a post-processor (what is put around a text) with new ids."""
    if isinstance(processor, list):
        return [_renumbered(step, new) for step in processor]
    if not isinstance(processor, dict):
        return processor
    result = {key: _renumbered(value, new) for key, value in processor.items()}
    if processor.get("type") == "TemplateProcessing":
        result["special_tokens"] = {
            token: entry | {"ids": [new[number] for number in entry["ids"]]}
            for token, entry in processor["special_tokens"].items()
        }
    if processor.get("type") in _FRAMES:
        result |= {key: [processor[key][0], new[processor[key][1]]] for key in ("sep", "cls")}
    return result
