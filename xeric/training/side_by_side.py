"""Bases side by side, on text that none of them was trained on.

The bits per character that a training measures are those of its own held-out documents, the first tokens of each, and tokens are
not the same for two bases. Here every base reads the same characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from xeric.errors import DataError
from xeric.training.corpus import Corpus, open_corpus
from xeric.training.reference_passages import Encode, bits_per_character

__all__ = ["THIS_BASE", "common_held_out", "finished_trainings", "side_by_side"]

THIS_BASE = "this base"
_CHARACTERS = 1000
_TEXTS = 32


def finished_trainings(folders: Iterable[Path]) -> dict[str, Path]:
    """Return folders of trainings by their own names.

    Raises:
        DataError: a folder holds no base, or no corpus; or two have one name.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not (folder / "model.safetensors").is_file() or not (folder / "corpus" / "corpus.json").is_file():
            raise DataError("holds no trained base with its corpus", where=str(folder), hint="let its training end first")
        name = folder.resolve().name
        if name in found:
            raise DataError(f"two folders are called {name!r}", where=str(folder), hint="rename one of them")
        found[name] = folder
    return found


def side_by_side(model: Any, corpus: Corpus, others: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Return bits per character by language and base: :data:`THIS_BASE`, and each of the others by its name.

    Args:
        model: with its weights.
        corpus: that it was trained on.
        others: as from :func:`finished_trainings`.

    Raises:
        DataError: the trainings hold out different documents of a language.
    """
    corpora = {THIS_BASE: corpus} | {name: open_corpus(folder / "corpus") for name, folder in others.items()}
    models = {THIS_BASE: model} | {name: _open(folder) for name, folder in others.items()}
    texts = common_held_out(corpora)
    return {
        language: {name: bits_per_character(models[name], _encode(corpora[name]), passages) for name in corpora}
        for language, passages in texts.items()
    }


def common_held_out(corpora: Mapping[str, Corpus], *, characters: int = _CHARACTERS, texts: int = _TEXTS) -> dict[str, list[str]]:
    """Return the beginnings of documents, by language, that every corpus with that language holds out.

    Args:
        corpora: by name.
        characters: of each document, from its beginning.
        texts: at most so many of each language, in the first such corpus's own order.

    Raises:
        DataError: the corpora hold out different documents of a language.
    """
    found: dict[str, list[str]] = {}
    for language in dict.fromkeys(language for corpus in corpora.values() for language in corpus.held_out):
        first, *rest = [corpus.texts(corpus.held_out[language]) for corpus in corpora.values() if language in corpus.held_out]
        common = [text for text in first if all(text in held for held in rest)]
        if not common:
            hint = "train them on the same files, with the same corpus.held_out"
            raise DataError(f"the trainings hold out no {language} document in common", where=", ".join(corpora), hint=hint)
        found[language] = [text[:characters] for text in common[:texts]]
    return found


def _open(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _encode(corpus: Corpus) -> Encode:
    return lambda text: corpus.tokenizer.encode(text, add_special_tokens=False).ids
