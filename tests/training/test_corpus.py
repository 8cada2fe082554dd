"""What a base is pretrained on: the corpus, its exercises, and the rows made of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from xeric.config import build
from xeric.data.encoding import Encoder
from xeric.data.prompts import PromptOptions, build_prompt, choose_demonstrations
from xeric.data.tasks import Example, Task
from xeric.errors import ConfigError, DataError
from xeric.text import words
from xeric.training.bpe import BOS, EOS, characters_by_token
from xeric.training.corpus import Corpus, CorpusOptions, prepare_corpus
from xeric.training.definitions import DEFINITIONS
from xeric.training.exercises import EXERCISES, Exercise
from xeric.training.mixture import Length, Mixture, MixtureOptions
from xeric.training.passages import Texts, shorten
from xeric.training.prefetch import Prefetch

_VOCABULARY = {
    language: text.split()
    for language, text in {
        "English": "the river ferry leaves every morning with red boats while an old quiet dog sleeps under grey rain near our",
        "Spanish": "el río lleva barcas rojas cada mañana mientras un viejo perro duerme bajo la lluvia gris del pueblo año",
        "Hindi": "नदी की नाव हर सुबह लाल बत्तियों के साथ चलती है और एक बूढ़ा शांत कुत्ता बारिश में हमारे छोटे गाँव के पास सोता",
    }.items()
}
_END = {"English": ".", "Spanish": ".", "Hindi": "।"}


def document(language: str, rng: random.Random, *, verse: bool = False) -> str:
    """A document of random sentences, some long enough to be shortened."""

    def clause() -> str:
        return " ".join(rng.choice(_VOCABULARY[language]) for _ in range(rng.randrange(4, 9)))

    lines = [
        clause().capitalize() + (f", {clause()}; {clause()}" if rng.random() < 0.5 else "") + _END[language] for _ in range(8)
    ]
    return "\n".join(line[:60].strip() for line in lines) if verse else " ".join(lines)


def write_sources(folder: Path, *, documents: int = 40) -> CorpusOptions:
    """Write text and task files of three languages, and return the options that name them."""
    text: dict[str, list[dict[str, str]]] = {}
    for language in _VOCABULARY:
        rng = random.Random(language)
        path = folder / "text" / language / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n\n".join(document(language, rng, verse=n % 4 == 0) for n in range(documents)), encoding="utf-8")
        text[language] = [{"file": f"{language}/a.txt", "license": "CC0", "origin": "this test"}]
    for name in ("source", "dev", "target"):
        tiny.write_task(folder / "tasks", name, instances=12, seed=sum(map(ord, name)))
    names = {"source_tasks": ["source"], "dev_tasks": ["dev"], "target_tasks": ["target"]}
    return build(CorpusOptions, {"text": text, **names, "held_out": 1500, "vocabulary": 700, "tokenizer_characters": 100_000})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    options = write_sources(folder)
    return prepare_corpus(options, folder / "out", folder / "text", folder / "tasks")


@pytest.fixture
def texts() -> Callable[[str], Texts]:
    def make(language: str) -> Texts:
        rng = random.Random(language)
        return Texts(language, [document(language, rng, verse=n % 3 == 0) for n in range(30)], frozenset({"the", "el", "की"}))

    return make


# --- corpus -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Naïve café, 12 boats.\n\n  Two  spaces", "¿Qué año? ¡Señor!", "क्षमा कीजिए। नदी\u200c की नाव", "<s> 漢字 🙂"]
)
def test_tokenizer_round_trip(corpus: Corpus, text: str) -> None:
    ids = corpus.tokenizer.encode(text, add_special_tokens=False).ids
    assert corpus.tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not {BOS, EOS} & set(ids)


def test_tokenizer_keeps_hindi_words_whole(corpus: Corpus) -> None:
    split = corpus.tokenizer.pre_tokenizer
    assert split is not None
    assert len(split.pre_tokenize_str("बत्तियों के")) == 2


def test_documents_come_back_as_they_were(corpus: Corpus) -> None:
    for language, places in corpus.documents.items():
        found = corpus.texts(places)
        assert len(found) == corpus.counts["text"][language]["documents"]
        assert sum(map(len, found)) == corpus.counts["text"][language]["characters"]
        rng = random.Random(language)
        written = {document(language, rng, verse=n % 4 == 0) for n in range(40)}
        assert {*found, *corpus.texts(corpus.held_out[language])} == written


def test_held_out_documents_are_not_trained_on(corpus: Corpus) -> None:
    for language, places in corpus.held_out.items():
        assert not {*corpus.texts(places)} & {*corpus.texts(corpus.documents[language])}
        assert corpus.counts["text"][language]["held_out_characters"] >= 1500


def test_characters_are_counted_by_token(corpus: Corpus) -> None:
    counts = characters_by_token(corpus.tokenizer)
    for places in corpus.documents.values():
        rows = [corpus.tokens[start:end].astype(np.int64) for start, end in places.tolist()]
        assert sum(int(counts[row].sum()) for row in rows) == sum(map(len, corpus.texts(places)))


def test_leaks_are_dropped_and_counted(tmp_path: Path) -> None:
    options = write_sources(tmp_path)
    target = tmp_path / "tasks" / "target.json"
    task = json.loads(target.read_text(encoding="utf-8"))
    secret = "Nobody but the ferryman knew that seven silver coins were hidden beneath the third plank of the boat."
    task["Instances"][3]["output"] = [secret]
    target.write_text(json.dumps(task), encoding="utf-8")
    text = tmp_path / "text" / "English" / "a.txt"
    before = text.read_text(encoding="utf-8")
    text.write_text(f"{before}\n\nIt is said: {secret} So it was.\n\n{before.split(chr(10) * 2)[0]}", encoding="utf-8")
    source = tmp_path / "tasks" / "source.json"
    rows = json.loads(source.read_text(encoding="utf-8"))
    rows["Instances"][0]["input"] = f"Tell me more. {secret}"
    source.write_text(json.dumps(rows), encoding="utf-8")

    corpus = prepare_corpus(options, tmp_path / "out", tmp_path / "text", tmp_path / "tasks")

    counts = corpus.counts["text"]["English"]
    assert (counts["leaks"], counts["duplicates"]) == (1, 1)
    assert corpus.counts["tasks"]["leaks"] == 1
    everything = " ".join(corpus.texts(corpus.documents["English"])) + " ".join(
        x for s in corpus.sources for p in s.pairs for x in p
    )
    assert "silver coins" not in everything


def test_corpus_is_made_once(tmp_path: Path) -> None:
    options = write_sources(tmp_path)
    first = prepare_corpus(options, tmp_path / "out", tmp_path / "text", tmp_path / "tasks")
    again = prepare_corpus(options, tmp_path / "out", None, None)
    assert first.fingerprint == again.fingerprint
    with pytest.raises(DataError, match="is not known"):
        prepare_corpus(options.model_copy(update={"vocabulary": 600}), tmp_path / "out", None, None)


def test_target_task_is_refused_as_source(tmp_path: Path) -> None:
    options = write_sources(tmp_path).model_copy(update={"source_tasks": ("target",)})
    with pytest.raises(DataError, match="never trained on"):
        prepare_corpus(options, tmp_path / "out", tmp_path / "text", tmp_path / "tasks")


def test_at_most_so_many_characters_of_a_file(tmp_path: Path) -> None:
    options = write_sources(tmp_path)
    capped = {name: (sources[0].model_copy(update={"characters": 6000}),) for name, sources in options.text.items()}
    corpus = prepare_corpus(options.model_copy(update={"text": capped}), tmp_path / "out", tmp_path / "text", tmp_path / "tasks")
    assert all(4500 < sum(c["files"].values()) <= 6000 for c in corpus.counts["text"].values())


# --- exercises --------------------------------------------------------------------------------------------------------------


def _units(text: str) -> list[str]:
    return [unit for unit in text.split("\n") if unit]


def _is_subsequence(short: list[str], long: list[str]) -> bool:
    rest = iter(long)
    return all(any(a == b for b in rest) for a in short)


def _filled(source: str) -> tuple[list[str], Counter[str]]:
    shown, _, bank = source.rpartition("\nWords: ")
    return shown.split(" "), Counter(bank.split(", "))


_CHECKS: dict[str, Callable[[str, str, int], bool]] = {
    "copy": lambda x, y, n: x == y,
    "nth_sentence": lambda x, y, n: y in x and (n != 1 or x.startswith(y)) and (n != -1 or x.endswith(y)),
    "first_sentence": lambda x, y, n: x.startswith(y) and x != y,
    "last_sentence": lambda x, y, n: x.endswith(y) and x != y,
    "first_words": lambda x, y, n: y.split() == x.split()[:n],
    "remove_intruders": lambda x, y, n: _is_subsequence(y.split(" "), x.split(" ")) and x != y,
    "word_order": lambda x, y, n: sorted(x.split()) == sorted(y.split()),
    "sentence_order": lambda x, y, n: sorted(_units(x)) == sorted(_units(y)),
    "fill_gap": lambda x, y, n: (
        Counter(y.split(" ")) - Counter(_filled(x)[0]) == Counter(part for word in _filled(x)[1].elements() for part in [word])
    ),
    "missing_word": lambda x, y, n: "___" in x and y in words(x),
    "shorten": lambda x, y, n: len(y) < len(x) and _is_subsequence([w.lower() for w in words(y)], [w.lower() for w in words(x)]),
    "key_sentence": lambda x, y, n: y in x,
    "continue": lambda x, y, n: bool(x and y),
    "first_line": lambda x, y, n: y not in x or len(y) < 61,
    "keywords": lambda x, y, n: len(y.split(", ")) == n and _is_subsequence(y.split(", "), words(x)),
    "from_keywords": lambda x, y, n: all(word in y for word in x.split(", ")),
    "numbered_line": lambda x, y, n: f"{n}. {y}" in _units(x),
    "asked_line": lambda x, y, n: f"{_units(x)[0].removeprefix('Line ')}. {y}" in _units(x)[1:],
    "line_with_word": lambda x, y, n: [u for u in _units(x)[1:] if _units(x)[0] in words(u)] == [y],
    "replace_word": lambda x, y, n: _replaced(x) == y,
    "remove_repeats": lambda x, y, n: list(dict.fromkeys(_units(x))) == _units(y),
    "punctuate": lambda x, y, n: words(x) == words(y.lower()),
    "untangle": lambda x, y, n: _is_subsequence(_units(y), _units(x)) and _units(x)[0] == _units(y)[0],
    "name_lines": lambda x, y, n: y == f"{len(_units(x))}: {_units(x)[-1]}",
}


def _replaced(source: str) -> str:
    rule, _, text = source.partition("\n")
    old, _, new = rule.partition(" -> ")
    return " ".join(new if part == old else part for part in text.split(" "))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
@pytest.mark.parametrize("language", list(_VOCABULARY))
def test_answer_follows_from_the_input(exercise: Exercise, language: str, texts: Callable[[str], Texts]) -> None:
    source, rng, made = texts(language), random.Random(exercise.name), 0
    for _ in range(300):
        n = rng.choice(exercise.numbers)
        pair = exercise.make(rng, source, rng.randrange(60, 500), n)
        if pair:
            made += 1
            assert _CHECKS[exercise.name](*pair, n), pair
    assert made >= 10


def test_continuation_is_what_the_document_says(texts: Callable[[str], Texts]) -> None:
    source, rng = texts("Spanish"), random.Random(1)
    kinds = {exercise.name: exercise for exercise in EXERCISES}
    for _ in range(50):
        for name in ("continue", "first_line"):
            pair = kinds[name].make(rng, source, 300, 0)
            if pair:
                first, second = pair if name == "continue" else pair[::-1]
                assert any(first + joint + second in d for d in source.documents for joint in (" ", "\n"))


def test_every_exercise_is_checked_and_worded() -> None:
    names = [exercise.name for exercise in EXERCISES]
    assert sorted(_CHECKS) == sorted(DEFINITIONS) == sorted(names)
    assert all(len(set(DEFINITIONS[name])) >= 6 for name in names)


def test_definitions_name_their_number() -> None:
    rng = random.Random(0)
    for exercise in EXERCISES:
        for n in exercise.numbers:
            for _ in range(20):
                assert "{" not in exercise.definition(rng, n)
    nth = next(exercise for exercise in EXERCISES if exercise.name == "nth_sentence")
    assert all("third" in nth.definition(rng, 3) for _ in range(20))
    assert all("last" in nth.definition(rng, -1) for _ in range(20))


@pytest.mark.parametrize(
    ("sentence", "short"),
    [
        ("The boat (a red one) left at dawn with the dog.", "The boat left at dawn with the dog."),
        (
            "The old ferry left the little town at dawn, because the river was high.",
            "The old ferry left the little town at dawn.",
        ),
        (
            "La vieja barca salió del pueblo al amanecer, porque el río estaba alto.",
            "La vieja barca salió del pueblo al amanecer.",
        ),
        ("पुरानी नाव सुबह गाँव से निकल गई, क्योंकि नदी ऊँची थी।", "पुरानी नाव सुबह गाँव से निकल गई।"),
    ],
)
def test_shortening(sentence: str, short: str) -> None:
    assert shorten(sentence) == short


# --- rows -------------------------------------------------------------------------------------------------------------------


def _mixture(corpus: Corpus, seed: int = 0) -> Mixture:
    lengths = (Length(tokens=128, share=0.5), Length(tokens=256, share=0.5))
    return Mixture(corpus, MixtureOptions(tokens=512, windows=lengths, rows=lengths, source_share=0.3), seed)


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_rows_are_laid_out_as_the_prompt_module_does(corpus: Corpus, shown: int) -> None:
    pairs = [("The river.", "el río"), ("an old dog", "un perro (viejo)"), ("नदी की नाव", "barcas ¡rojas!")]
    examples = tuple(Example(x, y) for x, y in pairs[:shown])
    task = Task("t", "Say it again.", (), positive_examples=examples)
    chosen, _ = choose_demonstrations(task, (), shown, None)
    prompt = build_prompt(task, chosen, PromptOptions(demonstrations=shown))
    tokenizer = corpus.tokenizer
    encoder = Encoder(lambda text, special: tokenizer.encode(text, add_special_tokens=False).ids, BOS, (EOS,), 1024)
    source, target = pairs[shown]
    encoded = encoder.training_rows(prompt, [("i", source, target)])
    row = encoded.rows[0]

    ids, targets = _mixture(corpus).encode(task.definition, pairs[: shown + 1])

    assert ids == [*encoded.prefix_of(row).ids, *row.ids]
    last = range(len(ids) - row.target_tokens, len(ids))
    assert list(targets)[-row.target_tokens :] == list(last)
    learned = tokenizer.decode(list(targets.values()), skip_special_tokens=False)
    assert learned == "".join(f" {y}</s>" for _, y in pairs[: shown + 1])
    # Where an answer ends in the middle of the row, what stands there is the blank line, and EOS is what is learned.
    ends = [place for place, token in targets.items() if token != ids[place]]
    assert len(ends) == shown
    for place, (_, y) in zip(ends, pairs[:shown], strict=True):
        assert tokenizer.decode(ids[:place], skip_special_tokens=False).endswith(y)
        assert tokenizer.decode(ids[place : place + 2]).startswith("\n")


def test_batches_are_a_function_of_seed_and_step(corpus: Corpus) -> None:
    one, two, other = _mixture(corpus), _mixture(corpus), _mixture(corpus, seed=1)
    for step in (5, 0, 3):
        for a, b, c in zip(one.step(step), two.step(step), other.step(step), strict=True):
            assert (a.ids == b.ids).all()
            assert (a.targets == b.targets).all()
            assert a.ids.shape != c.ids.shape or (a.ids != c.ids).any()


def test_batches_made_ahead_are_the_same(tmp_path: Path) -> None:
    options = write_sources(tmp_path)
    corpus = prepare_corpus(options, tmp_path / "out", tmp_path / "text", tmp_path / "tasks")
    mixture = _mixture(corpus)
    ahead = Prefetch(options, tmp_path / "out", mixture.options, 0, workers=1)
    try:
        for step in (0, 1, 7, 8):
            for a, b in zip(mixture.step(step), ahead.step(step), strict=True):
                assert (a.ids == b.ids).all()
                assert (a.targets == b.targets).all()
                assert (a.labels == b.labels).all()
    finally:
        ahead.close()


def test_an_epoch_reads_every_window_once(corpus: Corpus) -> None:
    mixture = _mixture(corpus)
    last = max(int(places[-1, 1]) for places in corpus.documents.values())
    windows = last // 256 - 1
    seen = Counter(mixture._window(256 * n, 256).tobytes() for n in range(windows))
    assert len(seen) == windows
    stream = corpus.tokens[:last].astype(np.int64).tobytes()
    assert all(window in stream for window in seen)


def test_targets_are_outputs(corpus: Corpus) -> None:
    mixture = _mixture(corpus)
    for step in range(10):
        _, rows = mixture.step(step)
        flat = rows.ids.flatten()
        assert rows.ids.shape[1] in (128, 256)
        assert (flat[rows.targets] != 0).all()
        assert (rows.ids[:, 0] == BOS).all()
        assert ((rows.ids == EOS).sum(axis=1) == 1).all()
        assert 0 < len(rows.targets) < (flat != 0).sum()
        assert (flat[rows.targets] == rows.labels)[rows.labels != EOS].all()
        assert (rows.labels == EOS).sum() >= len(rows.ids)


def test_lengths_must_divide_the_micro_batch() -> None:
    with pytest.raises(ConfigError, match="must divide"):
        build(MixtureOptions, {"tokens": 1000})
