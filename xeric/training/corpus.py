"""Plain text and source tasks for pretraining: read, cleared of leaks, split, tokenised once, and kept beside the base.

Everything that the training draws from lies in one folder after :func:`prepare_corpus`: the tokenizer, one array of tokens with
the documents' places in it, and the pairs of the source tasks. A training that goes on later reads that folder and nothing else,
so the text folders may be gone by then. This module knows nothing about models or schedules.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from tokenizers import Tokenizer

from xeric.config import Config, digest
from xeric.data.leaks import LeakIndex
from xeric.data.tasks import load_task
from xeric.errors import DataError
from xeric.records import read_json, write_json
from xeric.text import normalize, words
from xeric.training.bpe import BOS, EOS, read_tokenizer, train_tokenizer
from xeric.training.source_tasks import SourceTask, below, read_dev_task, read_source_tasks, task_from_plain

__all__ = ["Corpus", "CorpusOptions", "TextSource", "open_corpus", "prepare_corpus"]

# Raised when a corpus made by older code is no longer what the present code would make.
_FORMAT = 1
_COMMON_WORDS = 400

Tokens = npt.NDArray[np.uint16]


class TextSource(Config):
    """One text file: documents separated by blank lines.

    Attributes:
        file: path below the text folder.
        license: as its source states it; printed on the card.
        origin: where it came from; printed on the card.
        characters: at most so many are used, whole documents drawn by content; None is all.
    """

    file: str
    license: str
    origin: str = ""
    characters: int | None = Field(default=None, ge=1)


class CorpusOptions(Config):
    """What a base learns from (``corpus.*``).

    Attributes:
        text: text files by language.
        source_tasks: task files by name, below the tasks folder.
        dev_tasks: task files that choices are made by; never trained on.
        target_tasks: task files of the published study; texts and rows that share a sequence with them are dropped.
        held_out: characters of each language that are kept out of training and measured on.
        vocabulary: size of the tokenizer's vocabulary, special tokens included.
        tokenizer_characters: characters of each language that the tokenizer is trained on.
    """

    text: dict[str, tuple[TextSource, ...]]
    source_tasks: tuple[str, ...] = ()
    dev_tasks: tuple[str, ...] = ()
    target_tasks: tuple[str, ...] = ()
    held_out: int = Field(default=200_000, ge=1)
    vocabulary: int = Field(default=8192, ge=260, le=65_536)
    tokenizer_characters: int = Field(default=4_000_000, ge=1)


@dataclass(frozen=True)
class Corpus:
    """What :func:`prepare_corpus` left in a folder.

    Attributes:
        tokenizer: byte-level BPE.
        tokens: all documents, each ``BOS text EOS``.
        documents: by language, ``[n, 2]`` first and last place (exclusive) of each training document in ``tokens``.
        held_out: likewise for the documents that are only measured on.
        sources: the source tasks' rows.
        dev: the dev tasks' rows, the first hundred by content.
        common: the most frequent words of each language, lower case.
        counts: documents, characters and drops, for the card.
        fingerprint: SHA-256 of tokens, places and pairs.
    """

    tokenizer: Tokenizer
    tokens: Tokens
    documents: dict[str, npt.NDArray[np.int64]]
    held_out: dict[str, npt.NDArray[np.int64]]
    sources: tuple[SourceTask, ...]
    dev: tuple[SourceTask, ...]
    common: dict[str, frozenset[str]]
    counts: dict[str, Any]
    fingerprint: str

    def texts(self, places: npt.NDArray[np.int64]) -> list[str]:
        """Return the documents at ``places`` as text."""
        rows = [self.tokens[start + 1 : end - 1].tolist() for start, end in places.tolist()]
        return list(self.tokenizer.decode_batch(rows, skip_special_tokens=False))


def prepare_corpus(options: CorpusOptions, folder: Path, text_dir: Path | None, tasks_dir: Path | None) -> Corpus:
    """Return the corpus in ``folder``, made from the source folders if it is not there or was made from other settings.

    Raises:
        DataError: a source is needed and missing, or holds no text.
    """
    key = digest({"corpus": options.model_dump(mode="json", exclude_defaults=True), "format": _FORMAT})
    index = folder / "corpus.json"
    if not index.is_file() or read_json(index).get("key") != key:
        _make(options, folder, key, text_dir, tasks_dir)
    return _read(folder, read_json(index))


def open_corpus(folder: Path) -> Corpus:
    """Return the corpus that lies in a folder, whatever it was made from.

    Raises:
        DataError: there is none.
    """
    if not (folder / "corpus.json").is_file():
        raise DataError("holds no corpus", where=str(folder), hint="give the folder of a training")
    return _read(folder, read_json(folder / "corpus.json"))


def _make(options: CorpusOptions, folder: Path, key: str, text_dir: Path | None, tasks_dir: Path | None) -> None:
    leaks = _target_index(options, tasks_dir)
    texts: dict[str, list[str]] = {}
    held: dict[str, list[str]] = {}
    counts: dict[str, Any] = {"text": {}}
    for language, sources in options.text.items():
        texts[language], held[language], counts["text"][language] = _language(sources, options.held_out, leaks, text_dir)
    refused = {*options.target_tasks, *options.dev_tasks}
    rows, counts["tasks"] = read_source_tasks(options.source_tasks, refused, leaks, tasks_dir)
    dev = [read_dev_task(name, tasks_dir) for name in options.dev_tasks]
    # Only now, when all sources have been read: a mistake in the settings leaves no folder behind.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.json").unlink(missing_ok=True)
    tokenizer = train_tokenizer(_sample(texts, options.tokenizer_characters), options.vocabulary)
    tokenizer.save(str(folder / "tokenizer.json"))
    places = _tokenise(tokenizer, texts, held, folder)
    write_json(folder / "sources.json", {"tasks": rows, "dev": dev})
    common = {language: _common_words(documents) for language, documents in texts.items()}
    write_json(folder / "corpus.json", {"key": key, "places": places, "common": common, "counts": counts})


def _language(
    sources: Sequence[TextSource], held_out: int, leaks: LeakIndex | None, text_dir: Path | None
) -> tuple[list[str], list[str], dict[str, Any]]:
    """Return the training documents of a language, in an order of their own, the held-out ones, and what was counted."""
    counts: Counter[str] = Counter()
    kept: list[str] = []
    used: dict[str, int] = {}
    seen: set[bytes] = set()
    for source in sources:
        size = 0
        for document in sorted(_documents(source, text_dir), key=_rank):
            if source.characters is not None and size + len(document) > source.characters:
                continue
            if (identity := hashlib.sha256(document.encode()).digest()) in seen:
                counts["duplicates"] += 1
            elif leaks and leaks.hits(document):
                counts["leaks"] += 1
                counts["leaked_characters"] += len(document)
            else:
                size += len(document)
                kept.append(document)
            seen.add(identity)
        used[source.file] = size
    kept.sort(key=_rank)
    cut = next((n for n, size in enumerate(np.cumsum([len(d) for d in kept]).tolist(), 1) if size >= held_out), len(kept))
    if cut >= len(kept):
        raise DataError(
            f"hold only {sum(used.values())} characters; {held_out} are to be held out",
            where=", ".join(used),
            hint="lower corpus.held_out",
        )
    totals = {"documents": len(kept) - cut, "characters": sum(map(len, kept[cut:])), "held_out_documents": cut}
    return kept[cut:], kept[:cut], {**totals, "held_out_characters": sum(map(len, kept[:cut])), **counts, "files": used}


def _documents(source: TextSource, text_dir: Path | None) -> list[str]:
    path = below(text_dir, source.file, "text_dir")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"cannot be read: {reason}", where=str(path)) from None
    return [block.strip() for block in normalize(text).split("\n\n") if block.strip()]


def _rank(document: str) -> bytes:
    """An order of documents that is the same everywhere and has nothing to do with their order in the files."""
    return hashlib.blake2b(document.encode("utf-8"), digest_size=8).digest()


def _target_index(options: CorpusOptions, tasks_dir: Path | None) -> LeakIndex | None:
    texts: dict[str, str] = {}
    for name in options.target_tasks:
        for instance in load_task(below(tasks_dir, f"{name}.json", "tasks_dir")).instances:
            for number, text in enumerate((instance.input, *instance.outputs)):
                texts[f"{name}/{instance.id}/{number}"] = text
    return LeakIndex(texts) if texts else None


def _sample(texts: Mapping[str, Sequence[str]], characters: int) -> Iterable[str]:
    for documents in texts.values():
        left = characters
        for document in documents:
            if left <= 0:
                break
            left -= len(document)
            yield document


def _tokenise(
    tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]], held: Mapping[str, Sequence[str]], folder: Path
) -> dict[str, dict[str, list[list[int]]]]:
    """Write all tokens into one array and return each document's place in it."""
    parts: list[Tokens] = []
    places: dict[str, dict[str, list[list[int]]]] = {"training": {}, "held_out": {}}
    at = 0
    for kind, group in (("training", texts), ("held_out", held)):
        for language, documents in group.items():
            places[kind][language] = []
            for encoding in tokenizer.encode_batch_fast(list(documents), add_special_tokens=False):
                parts.append(np.array([BOS, *encoding.ids, EOS], dtype=np.uint16))
                places[kind][language].append([at, at + len(parts[-1])])
                at += len(parts[-1])
    np.save(folder / "tokens.npy", np.concatenate(parts))
    return places


def _common_words(documents: Sequence[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for document in documents[:2000]:
        counts.update(words(document.lower()))
    return sorted(word for word, _ in counts.most_common(_COMMON_WORDS))


def _read(folder: Path, index: Mapping[str, Any]) -> Corpus:
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    tokens: Tokens = np.load(folder / "tokens.npy", allow_pickle=False)
    raw = (folder / "sources.json").read_bytes()
    seal = hashlib.sha256(tokens.tobytes() + json.dumps(index["places"], sort_keys=True).encode() + raw)
    rows = json.loads(raw)
    return Corpus(
        tokenizer=tokenizer,
        tokens=tokens,
        documents={name: np.array(places, dtype=np.int64) for name, places in index["places"]["training"].items()},
        held_out={name: np.array(places, dtype=np.int64) for name, places in index["places"]["held_out"].items()},
        sources=tuple(task_from_plain(row) for row in rows["tasks"]),
        dev=tuple(task_from_plain(row) for row in rows["dev"]),
        common={name: frozenset(found) for name, found in index["common"].items()},
        counts=index["counts"],
        fingerprint=seal.hexdigest(),
    )
