"""The twelve starter tasks are what they say they are; and each check is seen to find what is planted."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from xeric.data.checking import check_task
from xeric.data.cleaning import clean
from xeric.data.duplicates import near_pairs
from xeric.data.shingles import fold, shingles
from xeric.data.tasks import Task, load_task
from xeric.errors import DataError
from xeric.text import script_shares, words

FOLDER = Path(str(resources.files("xeric"))) / "bundled" / "tasks"
LANGUAGES = {"en": "English", "es": "Spanish", "hi": "Hindi"}
SCRIPTS = {"en": "Latin", "es": "Latin", "hi": "Devanagari"}
NAMES = sorted(
    f"{kind}_{code}"
    for kind, code in product(("poem_generation", "summarization", "email_completion", "email_subject"), LANGUAGES)
)
LEAST = 60

# Words of an output, and lines; a summary is also far shorter than what it sums up.
WORDS = {"poem_generation": (8, 90), "summarization": (7, 24), "email_completion": (25, 110), "email_subject": (1, 10)}
LINES = {"poem_generation": (3, 10), "summarization": (1, 1), "email_completion": (3, 8), "email_subject": (1, 1)}

# Two languages of one script are told apart by words that no text of theirs does without.
_FUNCTION_WORDS = """
en the a of to and is was for with that it you at my your his her on from as are we they be not this
es el la los las de que y un una en por para con no se su mi al del lo le es tu sin más
"""
FUNCTION_WORDS = {code: set(rest) for code, *rest in map(str.split, _FUNCTION_WORDS.strip().splitlines())}

Files = dict[str, dict[str, Any]]


def violations(folder: Path) -> list[str]:
    """Return what is wrong with the starter tasks in a folder, as ``task: what``."""
    violated = [f"{name}: missing" for name in NAMES if not (folder / f"{name}.json").is_file()]
    tasks: dict[str, Task] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            tasks[path.stem] = load_task(path)
        except DataError as error:
            violated.append(f"{path.stem}: schema ({error.what})")
    for name, task in tasks.items():
        violated += [f"{name}: schema ({note})" for note in task.notes]
        violated += [f"{name}: {what}" for what in (*_form(task), *_language(task), *_lengths(task), *_cleaning(folder, task))]
    # The mails of the subject tasks are those of the completion tasks, whole.
    subjects = {name: task for name, task in tasks.items() if name.startswith("email_subject")}
    return [*violated, *_alike({name: task for name, task in tasks.items() if name not in subjects}), *_alike(subjects)]


def _texts(task: Task) -> Iterator[tuple[str, str]]:
    """Every text of a task that is in its language, and where it stands."""
    for instance in task.instances:
        yield from ((f"{instance.id}", text) for text in (instance.input, *instance.outputs))
    for kind, examples in (("positive", task.positive_examples), ("negative", task.negative_examples)):
        for example in examples:
            yield from ((f"{kind} example", text) for text in (example.input, example.output))


def _form(task: Task) -> Iterator[str]:
    if len(task.instances) < LEAST:
        yield f"instances ({len(task.instances)})"
    if len(task.positive_examples) != 2 or len(task.negative_examples) != 1:
        yield f"examples ({len(task.positive_examples)} positive, {len(task.negative_examples)} negative)"
    if not all(example.explanation.strip() for example in (*task.positive_examples, *task.negative_examples)):
        yield "examples (one explains nothing)"
    language = LANGUAGES[task.name[-2:]]
    declared = (task.input_languages, task.output_languages, task.instruction_languages)
    if declared != ((language,), (language,), ("English",)):
        yield f"declared languages ({declared})"
    if not task.licenses or not task.categories:
        yield "licence or category"
    for where, text in _texts(task):
        if not text.strip() or text != unicodedata.normalize("NFC", text) or "\r" in text or text != text.strip():
            yield f"form of a text ({where})"


def _language(task: Task) -> Iterator[str]:
    code = task.name[-2:]
    if (
        _function_words(task.definition)["en"] <= _function_words(task.definition)["es"]
        or script_shares(task.definition).get("Latin", 0) < 1
    ):
        yield "definition is not English"
    for where, text in _texts(task):
        # Mostly, not wholly: mails and news name programs, firms and places.
        if script_shares(text).get(SCRIPTS[code], 0) < 0.8:
            yield f"script ({where})"
    if code in FUNCTION_WORDS:
        other = "es" if code == "en" else "en"
        for instance in task.instances:
            for output in instance.outputs:
                counts = _function_words(f"{instance.input} {output}")
                if counts[code] <= 2 * counts[other]:
                    yield f"language ({instance.id}: {counts})"


def _function_words(text: str) -> dict[str, int]:
    tokens = [word.lower() for word in words(text)]
    return {code: sum(word in vocabulary for word in tokens) for code, vocabulary in FUNCTION_WORDS.items()}


def _lengths(task: Task) -> Iterator[str]:
    kind = task.name[:-3]
    pairs = [(i.id, i.input, output) for i in task.instances for output in i.outputs]
    pairs += [("positive example", example.input, example.output) for example in task.positive_examples]
    for where, source, output in pairs:
        size, lines = len(words(output)), output.count("\n") + 1
        if not WORDS[kind][0] <= size <= WORDS[kind][1]:
            yield f"length ({where}: {size} words)"
        if not LINES[kind][0] <= lines <= LINES[kind][1]:
            yield f"lines ({where}: {lines})"
        if kind == "summarization" and 2 * size > len(words(source)):
            yield f"length ({where}: no shorter than half of its input)"
        if kind == "poem_generation" and (
            source.count("\n") != 1 or fold(source.split("\n")[1].partition(":")[2]) == fold(output.split("\n")[0])
        ):
            yield f"lines ({where}: its first line is not given, or given twice)"
        if kind == "email_completion" and len(words(output.split("\n")[-1])) > 8:
            yield f"lines ({where}: ends without a name)"


def _cleaning(folder: Path, task: Task) -> Iterator[str]:
    """What the rules for noise make of a task: nothing is dropped, and a poem's lines stay lines."""
    check = check_task(folder / f"{task.name}.json")
    if not check.ok or check.drops:
        yield f"cleaning ({check.drops or check.error})"
    lines = {i.id: [output.count("\n") for output in i.outputs] for i in task.instances}
    if any([output.count("\n") for output in i.outputs] != lines[i.id] for i in clean(task).instances):
        yield "cleaning (line breaks are lost)"


def _alike(tasks: dict[str, Task]) -> Iterator[str]:
    """Pairs inside and across files whose words (3 in a row) are alike, or whose output stands twice."""
    places, texts = [], []
    for name, task in tasks.items():
        rows = [(i.id, i.input, "\n".join(i.outputs)) for i in task.instances]
        rows += [(f"{name} example", e.input, e.output) for e in (*task.positive_examples, *task.negative_examples)]
        for where, source, output in rows:
            places += [(name, where), (name, f"{where}, output")]
            texts += [f"{source}\n{output}", output]
    # A negative example answers an input that a positive one may answer too; an instance's own output is part of its text.
    whole = [shingles(text, "word", 3) for text in texts]
    for i, j, similarity in near_pairs(whole, 0.5):
        if i // 2 != j // 2 and "example" not in places[i][1]:
            yield f"{places[i][0]}: alike ({places[i][1]} and {places[j][1]}, {similarity:.2f})"
    for task in tasks.values():
        for instance in task.instances:
            if len({" ".join(fold(output)) for output in instance.outputs}) < len(instance.outputs):
                yield f"{task.name}: alike ({instance.id}, its own outputs)"


# --- the tasks themselves -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files() -> Files:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def test_the_starter_tasks_are_what_they_say(files: Files) -> None:
    assert sorted(files) == NAMES
    assert violations(FOLDER) == []


# --- the checks find what is planted ------------------------------------------------------------------------------------------


def _output(data: dict[str, Any], text: str, number: int = 7) -> None:
    data["Instances"][number]["output"] = [text]


def _drop_instances(data: dict[str, Any]) -> None:
    del data["Instances"][LEAST - 1 :]


def _repeat_instance(data: dict[str, Any]) -> None:
    again = copy.deepcopy(data["Instances"][3])
    again["id"] += "-again"
    again["output"][0] = again["output"][0].replace(" ", "  ", 1) + " !"
    data["Instances"].append(again)


def _one_line(data: dict[str, Any]) -> None:
    _output(data, data["Instances"][7]["output"][0].replace("\n", " "))


def _romanise(data: dict[str, Any]) -> None:
    _output(data, "chalo ab ghar chalte hain,\nraat bahut ho gayi hai,\nchaand bhi so gaya hai")


PLANTED: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("summarization_en", "schema", lambda d: d.pop("Definition")),
    ("email_completion_hi", "schema", lambda d: d["Instances"][4].update(input=[])),
    ("email_completion_hi", "cleaning", lambda d: d["Instances"][4].pop("input")),
    ("email_completion_hi", "schema", lambda d: d["Positive Examples"][0].pop("output")),
    ("poem_generation_es", "schema", lambda d: d["Instances"][4].update(id=d["Instances"][5]["id"])),
    ("summarization_es", "instances", _drop_instances),
    ("summarization_hi", "examples", lambda d: d["Positive Examples"].pop()),
    ("summarization_hi", "examples", lambda d: d["Negative Examples"].clear()),
    ("email_completion_en", "examples", lambda d: d["Positive Examples"][0].update(explanation=" ")),
    ("poem_generation_hi", "declared languages", lambda d: d.update(Output_language=["English"])),
    ("poem_generation_en", "licence", lambda d: d.update({"Instance License": []})),
    ("summarization_es", "form of a text", lambda d: _output(d, unicodedata.normalize("NFD", d["Instances"][7]["output"][0]))),
    ("poem_generation_hi", "script", _romanise),
    ("email_completion_hi", "script", lambda d: d["Positive Examples"][1].update(input="Subject: Holiday\n\nDear Sir,\n\nI")),
    ("summarization_es", "language", lambda d: _output(d, "The mayor of the town said that the bridge was closed to the cars.")),
    ("summarization_hi", "definition is not English", lambda d: d.update(Definition=["समाचार को एक वाक्य में संक्षेप में लिखिए।"])),
    ("summarization_es", "definition is not English", lambda d: d.update(Definition=["Resume la noticia en una frase."])),
    ("summarization_en", "length", lambda d: _output(d, "Bridge closed.")),
    ("summarization_en", "length", lambda d: _output(d, d["Instances"][7]["input"])),
    ("email_completion_es", "length", lambda d: _output(d, "\n".join([d["Instances"][7]["output"][0]] * 2))),
    ("poem_generation_en", "lines", _one_line),
    ("poem_generation_es", "lines", lambda d: d["Instances"][7].update(input=d["Instances"][7]["input"].split("\n")[0])),
    ("email_completion_en", "lines", _one_line),
    ("summarization_en", "cleaning", lambda d: _output(d, "The council of the town voted against the cent\ufffdr.")),
    ("poem_generation_hi", "alike", _repeat_instance),
    ("summarization_en", "alike", lambda d: _output(d, d["Instances"][8]["output"][0])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "what", "plant"), PLANTED, ids=[f"{name}-{what}-{n}" for n, (name, what, _) in enumerate(PLANTED)]
)
def test_a_planted_violation_is_found(
    name: str, what: str, plant: Callable[[dict[str, Any]], object], files: Files, tmp_path: Path
) -> None:
    data = copy.deepcopy(files[name])
    plant(data)
    (tmp_path / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    violated = [line for line in violations(tmp_path) if ": missing" not in line]
    assert any(line.startswith(f"{name}: {what}") for line in violated), violated


def test_a_text_that_stands_in_two_files_is_found(files: Files, tmp_path: Path) -> None:
    first, second = "summarization_es", "email_completion_es"
    data = copy.deepcopy(files[second])
    data["Instances"][9]["output"] = [files[first]["Instances"][2]["output"][0]]
    for name, content in ((first, files[first]), (second, data)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    assert any(
        "alike" in line and "email_completion_es-010" in line and "summarization_es-003" in line for line in violations(tmp_path)
    )


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    assert violations(tmp_path) == [f"{name}: missing" for name in NAMES]
