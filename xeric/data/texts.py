"""Plain, unlabelled text to train on before a task: read, in one form, without leaks, some of it held out.

Adaptive pretraining (Gururangan et al. 2020, arXiv 2004.10964) goes on with the base's own objective on text in the language or
the domain of the task. This module makes documents; :meth:`xeric.data.encoding.Encoder.text_rows` makes rows of them.

1. *Files*: text in an encoding of Unicode, or in the ``encoding`` given; no other is guessed: a wrong guess would be unnoticed. A
   folder stands for all ``*.txt`` files in it and below it, in the order of their paths; files and folders whose names begin with
   a dot are passed over. A document with bytes that are no text, in a file that is text otherwise, is left out and counted.
2. *Documents* are parted by blank lines, after each file was brought into the form that tasks are brought into
   (:func:`xeric.data.text_form.one_form`). A document that stands there twice is used once.
3. *Leaks*: a document that shares with a test output what :mod:`xeric.data.leaks` takes as telling is not used, neither for
   training nor for dev.
4. *Draw*: whole documents up to ``max_characters``, then whole documents for dev. Both are drawn by seed and content: names and
   order of the files do not matter, and neither does where they lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from xeric.config import Config, Seed, digest
from xeric.data.leaks import LeakReport, find_leaks
from xeric.data.tasks import Instance
from xeric.data.text_form import one_form
from xeric.encodings import REPLACEMENT, Text, decode, decode_as, existing, not_unicode, read_bytes
from xeric.errors import DataError, UnknownNameError
from xeric.languages import language
from xeric.text import script_shares

__all__ = ["TEXT", "Document", "PreparedTexts", "TextOptions", "prepare_texts", "read_documents", "texts_digest"]

TEXT = "text"
"""Stands where rows of a task have the name of their task."""

# Of the documents' characters, for the look at their script.
_SAMPLE = 200_000


class TextOptions(Config):
    """How plain text becomes documents and rows (``stages.N.corpus.*``).

    Attributes:
        window: tokens of a row, its BOS apart; never more than the base's context holds. A longer document becomes several rows.
        dev_fraction: share of the characters that is held out, in whole documents, to select by; 0 for none.
        max_characters: whole documents are drawn up to so many characters; None takes all.
        split_seed: draws the documents, and those held out; apart from every other seed.
        keep_indentation: keep blanks at the start of a line (program code).
        encoding: of the files, as Python names it; None for the encodings of Unicode.
        leak_check: look for test outputs in the documents and leave those out that give one away.
    """

    window: int = Field(default=512, ge=8, le=1_000_000)
    dev_fraction: float = Field(default=0.05, ge=0, le=0.5)
    max_characters: int | None = Field(default=None, ge=1, le=10**12)
    split_seed: Seed = 0
    keep_indentation: bool = False
    encoding: str | None = None
    leak_check: bool = True


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        id: name of its file and number of the document in it, from 1.
        text: in the one form.
        is_odd: whether it holds bytes that are no text.
    """

    id: str
    text: str
    is_odd: bool = False

    @property
    def key(self) -> str:
        """The SHA-256 of its text."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class PreparedTexts:
    """Documents, ready to be trained on.

    Attributes:
        train: what is trained on.
        dev: what selects; empty where no document is short enough to be held out.
        counts: read, dropped by reason, sizes, leaks: for the record.
        notes: what the user should know.
        leaks: what the leak check found; see :meth:`xeric.data.leaks.LeakReport.summary`.
        fingerprint: SHA-256 of what is really used; names and places of files are not in it.
        options: how the documents were made, and are to be made into rows.
    """

    train: tuple[Document, ...]
    dev: tuple[Document, ...]
    counts: dict[str, Any]
    notes: tuple[str, ...]
    leaks: dict[str, Any]
    fingerprint: str
    options: TextOptions

    @property
    def definitions(self) -> dict[str, str]:
        """No definitions: text is no task."""
        return {}


def prepare_texts(
    paths: Sequence[Path | str],
    options: TextOptions | None = None,
    *,
    protect: Mapping[str, Sequence[Instance]] | None = None,
    languages: Iterable[str] = (),
) -> PreparedTexts:
    """Read texts, take out what gives test outputs away, and hold some out.

    Args:
        paths: text files, and folders of them.
        options: see there; None for the defaults.
        protect: test sets by task that the texts must not give away.
        languages: of these tasks; text in another script gets a note.

    Raises:
        UserError: there is no such encoding.
        DataError: a file is missing or is no text in its encoding, a folder holds no ``*.txt`` file, or nothing is left.
    """
    options = options or TextOptions()
    files = _files(paths)
    documents = list(_documents(files, options))
    read = [document for document in documents if not document.is_odd]
    unique = list({document.text: document for document in reversed(read)}.values())
    report = find_leaks(protect or {}, {TEXT: [Instance(d.id, d.text, ()) for d in unique]}) if options.leak_check else None
    leaking = report.instances(TEXT) if report else frozenset()
    clean = sorted((d for d in unique if d.id not in leaking), key=lambda d: _draw(options.split_seed, "train", d))
    used = list(_up_to(clean, options.max_characters))
    if not used:
        raise _nothing_left(files, read, leaking)
    dev = _held_out(used, options)
    selecting = set(dev)
    train = tuple(d for d in used if d not in selecting)
    drops = {"broken_encoding": len(documents) - len(read), "exact_duplicate": len(read) - len(unique)}
    counts = {
        "files": len(files),
        "documents": len(documents),
        "drops": {reason: count for reason, count in drops.items() if count},
        "leaks_removed": len(leaking),
        "not_drawn": len(clean) - len(used),
        "train": len(train),
        "dev": len(dev),
        "characters": {"train": sum(len(d.text) for d in train), "dev": sum(len(d.text) for d in dev)},
    }
    sides = {"train": sorted(d.key for d in train), "dev": sorted(d.key for d in dev)}
    notes = tuple(_notes(train, dev, report, languages, options))
    leaks = report.summary() if report else {"checked": False}
    return PreparedTexts(train, dev, counts, notes, leaks, digest(sides), options)


def read_documents(paths: Sequence[Path | str], options: TextOptions) -> list[Document]:
    """Return the documents of text files and of folders of them, in their order.

    Raises:
        UserError, DataError: as :func:`prepare_texts`.
    """
    return list(_documents(_files(paths), options))


def texts_digest(paths: Sequence[Path | str], options: TextOptions) -> str:
    """Return the SHA-256 of the set of documents in texts, whatever the files are called and wherever they lie.

    Raises:
        DataError: as :func:`prepare_texts`.
    """
    return digest(sorted({document.key for document in _documents(_files(paths), options) if not document.is_odd}))


def _files(paths: Sequence[Path | str]) -> list[Path]:
    files: list[Path] = []
    for path in map(existing, paths):
        if path.is_dir():
            texts = (p for p in path.rglob("*") if p.suffix.lower() == ".txt")
            below = [p for p in texts if not any(part.startswith(".") for part in p.relative_to(path).parts)]
            if not below:
                raise DataError("holds no *.txt file", where=str(path), hint="name a text file, or a folder of *.txt files")
            files += sorted(p for p in below if p.is_file())
        elif path.exists():
            files.append(path)
        else:
            raise DataError("no such file or folder", where=str(path), hint="name a text file, or a folder of *.txt files")
    return list({file.resolve(): file for file in files}.values())


def _documents(files: Iterable[Path], options: TextOptions) -> Iterator[Document]:
    for file in files:
        read = _text(file, options.encoding)
        blocks = one_form(read.text, keep_indentation=options.keep_indentation).split("\n\n")
        for number, block in enumerate(blocks, 1):
            if block.strip():
                yield Document(f"{file.name}:{number}", block, bool(read.odd) and REPLACEMENT in block)


def _text(file: Path, encoding: str | None) -> Text:
    content = read_bytes(file)
    decoded = decode_as(content, encoding) if encoding else decode(content)
    if decoded is None:
        hint = "give its encoding, as in stages.0.corpus.encoding=cp1252, or save it as UTF-8"
        raise not_unicode(file, content, hint)
    if encoding and not decoded.is_mostly_sound:
        raise DataError(f"is not {encoding} text", where=f"{file}, line {decoded.odd[0]}", hint="set another corpus.encoding")
    return decoded


def _draw(seed: int, what: str, document: Document) -> str:
    return hashlib.sha256(f"{seed}:{what}:{document.key}".encode()).hexdigest()


def _up_to(documents: Iterable[Document], characters: int | None) -> Iterator[Document]:
    """Yield the documents that fit together, in their order; one that is too long for what is left is passed over."""
    size = 0
    for document in documents:
        if characters is None or size + len(document.text) <= characters:
            size += len(document.text)
            yield document


def _held_out(documents: Sequence[Document], options: TextOptions) -> tuple[Document, ...]:
    """Return documents drawn for dev until they make up the share asked for; at most twice as much, and never the longest one."""
    target = int(options.dev_fraction * sum(len(d.text) for d in documents))
    longest = max(documents, key=lambda d: (len(d.text), d.key))
    drawn: list[Document] = []
    size = 0
    for document in sorted(documents, key=lambda d: _draw(options.split_seed, "dev", d)):
        if size < target and size + len(document.text) <= 2 * target and document != longest:
            drawn.append(document)
            size += len(document.text)
    return tuple(drawn)


def _nothing_left(files: Sequence[Path], read: Sequence[Document], leaking: frozenset[str]) -> DataError:
    where = ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    if not read:
        return DataError("hold no text" if len(files) > 1 else "holds no text", where=where)
    if leaking:
        hint = "take texts that the tasks were not made from, or part them into shorter documents by blank lines"
        return DataError("nothing is left beside documents that give test outputs away", where=where, hint=hint)
    hint = "raise corpus.max_characters, or part the text into shorter documents by blank lines"
    return DataError("every document is longer than corpus.max_characters", where=where, hint=hint)


def _notes(
    train: Sequence[Document],
    dev: Sequence[Document],
    report: LeakReport | None,
    languages: Iterable[str],
    options: TextOptions,
) -> Iterator[str]:
    if leaking := report.instances(TEXT) if report else ():
        many = len(leaking) > 1
        yield f"{len(leaking)} document{'s give' if many else ' gives'} away test outputs and {'are' if many else 'is'} not used"
    if options.dev_fraction and not dev:
        yield "the documents are too long or too few to hold some out: nothing is selected by, all planned steps are taken"
    names, scripts = _scripts(languages)
    sample, size = [], 0
    for document in train:
        sample.append(document.text[:_SAMPLE])
        size += len(sample[-1])
        if size >= _SAMPLE:
            break
    shares = script_shares("\n".join(sample))
    share = sum(shares.get(script, 0.0) for script in scripts)
    if scripts and shares and share < 0.5:
        yield f"{share:.0%} of the letters are in the script of {' and '.join(names)} ({', '.join(sorted(scripts))})"


def _scripts(languages: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the languages with known scripts, and these scripts; neither where the scripts of one of them are unknown."""
    names, scripts = list(dict.fromkeys(languages)), set[str]()
    for name in names:
        try:
            own_scripts = language(name).scripts
        except UnknownNameError:
            own_scripts = ()
        if not own_scripts:
            return [], set()
        scripts.update(own_scripts)
    return names, scripts
