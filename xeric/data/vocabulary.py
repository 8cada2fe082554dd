"""The texts by which the vocabulary of a base is chosen (:mod:`xeric.bases.trimming`), read from files of every kind.

* *Task files*: definitions, positive examples and the inputs of all instances; outputs of those instances alone that may be
  trained on. Which are tested is drawn by ``split_seed`` as a run draws it (``data.split_seed``, other settings of the split at
  their defaults); their outputs are not read. Inputs are what a model is given anyway.
* *Tables* (CSV, TSV, JSON rows, Parquet): every cell. Which of its rows will be tested is unknown here: give rows for training.
* *Anything else* is plain text, a folder stands for the ``*.txt`` files below it; see :mod:`xeric.data.texts`.

Each text is read as it stands in a row of the plain layout too (behind a blank, before a line break): there it can be cut into
other tokens than by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xeric.config import digest
from xeric.data.catalog import Catalog
from xeric.data.cleaning import clean
from xeric.data.importing import read_table
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.splits import SplitOptions, split
from xeric.data.tasks import Example, Task, load_task
from xeric.data.texts import TextOptions, read_documents
from xeric.encodings import existing, read_bytes, text_of
from xeric.errors import DataError
from xeric.files import files_below, is_of_other_programs, shown_path
from xeric.json_io import parse_json

__all__ = ["VocabularyTexts", "read_vocabulary_texts"]

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".pq")


@dataclass(frozen=True)
class VocabularyTexts:
    """Texts that a vocabulary has to spell.

    Attributes:
        texts: each once, as the files have it.
        segments: each once, as rows have it: with the words and the white space of the prompt around it.
        files: name and SHA-256 of each file.
    """

    texts: tuple[str, ...]
    segments: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the segments; names and places of files are not in it."""
        return digest(sorted(self.segments))


def read_vocabulary_texts(
    sources: Sequence[Path | str], *, split_seed: int = 0, tasks_dirs: Sequence[Path | str] = ()
) -> VocabularyTexts:
    """Read the texts of files.

    Args:
        sources: task files, tables, text files, folders of text files; or names of tasks, where there is no such file.
        split_seed: draws the instances of a task that are tested.
        tasks_dirs: folders to look for tasks in, before those of ``XERIC_TASKS`` and the bundled ones.

    Raises:
        DataError: a file is missing, cannot be read, or all of them together hold no text.
    """
    texts: dict[str, None] = {}
    segments: dict[str, None] = {}
    files = [_file(source, tasks_dirs) for source in sources]
    for source in files:
        if source.suffix.lower() == ".json" and (task := _task(source)) is not None:
            own_texts, own_segments = _of_task(task, split_seed)
        else:
            own_texts = list(_of_table(source) if _is_table(source) else _of_text(source))
            own_segments = [segment for text in own_texts for segment in _segments(text)]
        texts |= dict.fromkeys(text for text in own_texts if text.strip())
        segments |= dict.fromkeys(own_segments)
    if not texts:
        raise DataError("no text is in the files that the vocabulary is chosen by", where=", ".join(map(str, sources)))
    return VocabularyTexts(tuple(texts), tuple(segments), tuple(_digests(files)))


def _file(source: Path | str, tasks_dirs: Sequence[Path | str]) -> Path:
    """Return the file or folder that is meant: one of this path, else the file of a task of this name."""
    path = existing(source)
    if path.exists():
        return path
    catalog = Catalog.of(tasks_dirs)
    if str(source) in catalog.names():
        return catalog.find(str(source))
    raise DataError(
        "there is no such file, folder or task",
        where=shown_path(source),
        hint="give task files, tables, text files, folders of *.txt files, or names of tasks (`xeric tasks list`)",
    )


def _task(path: Path) -> Task | None:
    """Return the task of a JSON file; None where it holds rows."""
    content = parse_json(text_of(read_bytes(path), path), str(path), as_written=True)
    return load_task(path) if isinstance(content, dict) and "Definition" in content else None


def _of_task(task: Task, split_seed: int) -> tuple[list[str], list[str]]:
    sides = split(clean(task), SplitOptions(split_seed=split_seed))
    task = sides.task
    pairs = [(example.input, example.output) for example in task.positive_examples]
    pairs += [(instance.input, output) for instance in sides.pool for output in instance.outputs]
    inputs = [instance.input for instance in sides.held_out]
    texts = [task.definition, *(text for pair in pairs for text in pair), *inputs]
    segments = list(_segments(task.definition))
    for shown, output in pairs:
        segments += _segments(shown, output)
    return texts, [*segments, *(segment for text in inputs for segment in _segments(text))]


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (*_TABLES, ".json")


def _of_table(path: Path) -> Iterator[str]:
    table = read_table(path)
    yield from table.columns
    for _, row in table.rows:
        for value in row.values():
            yield from (str(item) for item in (value if isinstance(value, list) else [value]) if item is not None)


def _of_text(path: Path) -> Iterator[str]:
    return (document.text for document in read_documents([path], TextOptions()) if not document.is_odd)


def _segments(text: str, output: str | None = None) -> Iterator[str]:
    """Yield the segments of rows that hold a text: alone, as a definition, in a demonstration, as an input, as a target."""
    output = text if output is None else output
    prompt = build_prompt(Task("", text, ()), [Example(text, output)], PromptOptions())
    yield from (segment.text for segment in prompt.prefixes[-1])
    yield from (prompt.before_input.text, prompt.after_input.text)
    yield from dict.fromkeys([text, output, f"{prompt.before_text}{text}", f"{prompt.before_target}{output}"])


def _digests(sources: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for source in sources:
        for file in sorted(files_below(source)) if source.is_dir() else [source]:
            if not source.is_dir() or (file.suffix.lower() == ".txt" and not is_of_other_programs(file.name)):
                yield file.name, hashlib.sha256(read_bytes(file)).hexdigest()
