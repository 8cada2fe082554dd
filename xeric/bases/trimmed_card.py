"""The model card of a trimmed base and its ``source.json``: what it was made of, by which texts, and what was measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xeric.bases.named import GEMMA_NOTICE, NAMED_BASES
from xeric.bases.store import source_of
from xeric.bases.trimming import Trimmed
from xeric.data.vocabulary import VocabularyTexts
from xeric.files import expanded
from xeric.formatting import data_size

__all__ = ["trimmed_card", "trimmed_source"]


def trimmed_source(result: Trimmed, texts: VocabularyTexts, folder: Path, **choice: int) -> dict[str, Any]:
    """Return what the ``source.json`` of a trimmed base holds.

    Args:
        result: of the trimming.
        texts: that it was trimmed to.
        folder: of the base that it was made of.
        choice: the settings of the choice of tokens.
    """
    trimming = dataclasses.asdict(result) | {
        "base": _called(result.base),
        **choice,
        "files": [list(file) for file in texts.files],
    }
    return {"license": _license(result.base, folder), "trimmed": trimming}


def trimmed_card(result: Trimmed, texts: VocabularyTexts, folder: Path) -> str:
    """Return the card in Markdown; arguments as of :func:`trimmed_source`."""
    (before, after), (size_before, size_after) = result.parameters, result.sizes
    name, license_ = _called(result.base), _license(result.base, folder)
    lines = [
        f"# {name} with a trimmed vocabulary",
        "",
        f"Made by Xeric of `{name}`: rows of its embedding and its output layer were selected. Nothing was trained and nothing",
        "else was changed. The logits of the kept tokens are those of the base, so it reads and writes the same text as long as",
        "that needs none of the dropped tokens. What they would spell is spelled by smaller ones.",
        "",
        "| | before | after |",
        "|---|---:|---:|",
        f"| vocabulary | {result.vocabulary:,} | {len(result.kept):,} |",
        f"| parameters | {before:,} | {after:,} |",
        f"| weights ({result.stored}) | {data_size(size_before)} | {data_size(size_after)} |",
        "",
        f"{result.text_tokens:,} different tokens stand in the texts that it was trimmed to. The others are special and byte",
        "tokens, pieces that the tokenizer needs in between, and tokens that the base finds probable in such texts.",
        *([_dropped(result)] if result.positions else []),
        f"On a row of them the logits of the base and of this folder differ by {result.difference:.2g} at most (in float32).",
        "",
        "| made of | SHA-256 |",
        "|---|---|",
        f"| weights of `{name}` | `{result.base_sha256['weights']}` |",
        f"| its config and tokenizer | `{result.base_sha256['tokenizer']}` |",
        *(f"| text `{file}` | `{sha256}` |" for file, sha256 in texts.files),
        "",
        f"Licence: {license_ or 'that of the base; it is not stated in its files'}.",
    ]
    if "gemma" in f"{license_} {name}".lower():
        lines += ["", GEMMA_NOTICE]
    card = folder / "README.md"
    if card.is_file():
        lines += ["", "## Card of the base", "", _without_header(card.read_text(encoding="utf-8", errors="replace"))]
    return "\n".join(lines).rstrip() + "\n"


def _dropped(result: Trimmed) -> str:
    return (
        f"At {result.dropped_wins:,} of {result.positions:,} places of such texts the base's most probable next token is a "
        f"dropped one; on average the dropped tokens have {result.dropped_probability:.2%} of the probability."
    )


def _called(base: str) -> str:
    """Return a base's name as others know it: of a file or a folder here, what it is called."""
    path = expanded(base)
    return path.name if base not in NAMED_BASES and path.exists() else base


def _license(base: str, folder: Path) -> str | None:
    if base in NAMED_BASES:
        return NAMED_BASES.get(base).license
    stated = (source_of(folder) or {}).get("license")
    return stated if isinstance(stated, str) else None


def _without_header(card: str) -> str:
    """Return a card without the YAML in front of it."""
    if card.startswith("---\n"):
        _, _, card = card.removeprefix("---\n").partition("\n---\n")
    return card.strip()
