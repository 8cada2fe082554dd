"""From a file to what to use: on a tiny base, with few candidates."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny
from xeric.adapt import base_choice, studies
from xeric.adapt.adapting import adapt
from xeric.adapt.costs import MeasuredCosts
from xeric.adapt.options import AdaptOptions
from xeric.adapt.outcome import Outcome, lines
from xeric.adapt.planning import CandidateSettings
from xeric.adapt.search import Search
from xeric.adapt.source import SourceOptions, read_source
from xeric.errors import UserError
from xeric.execution.workers import Workers
from xeric.json_io import read_json
from xeric.progress import Silent
from xeric.record_io import read_predictions
from xeric.run.adapted import open_adapted

WORDS = ["river", "stone", "winter", "bread", "garden", "window", "letter", "music", "summer", "cloud", "harbour", "lantern"]
KNOWN = SourceOptions(language="English", definition="Say it backwards.")


def write_csv(path: Path, rows: int) -> Path:
    """Write a table of sentences and the same words in another order."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer"])
        for number in range(rows):
            chosen = [WORDS[(number * 7 + step * (number % 5 + 1)) % len(WORDS)] for step in range(6)]
            writer.writerow([number, f"{' '.join(chosen)} {number}", f"{' '.join(reversed(chosen))} {number * 3}"])
    return path


@pytest.fixture(autouse=True, scope="module")
def few_candidates() -> Iterator[None]:
    """Two methods with their defaults, on a machine whose speed is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "_METHODS", ("lora", "bottleneck"))
        patch.setattr(studies, "_TRIALS", 1)
        patch.setattr(MeasuredCosts, "step", lambda self, candidate: 0.01)
        patch.setattr(MeasuredCosts, "text", lambda self: 0.001)
        yield


@pytest.fixture(scope="module")
def options(base_folder: Callable[[str], Path]) -> AdaptOptions:
    return AdaptOptions(seconds=600.0, base=str(base_folder("llama")), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("table") / "my tickets.csv", 100)


@pytest.fixture(scope="module")
def finished(
    few_candidates: None, table: Path, options: AdaptOptions, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """The folder of an adaptation and what it found; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    return folder, adapt(str(table), folder, source_options=KNOWN, options=options)


def test_the_whole_way_from_a_file_to_what_to_use(finished: tuple[Path, Outcome]) -> None:
    out, outcome = finished
    assert [tried.id for tried in outcome.tried] == ["few-shot", "zero-shot", "lora", "bottleneck"]
    assert all(tried.score is not None for tried in outcome.tried)
    assert [arm.kind for arm in outcome.compared[:3]] == ["trained", "prompting", "prompting"]
    assert outcome.compared[-1].kind == "baseline"
    assert all(arm.gain is not None for arm in outcome.compared if arm.kind == "prompting")
    # The final training took in everything but the test set.
    counts = outcome.examples
    assert counts["dev"] == 0
    assert counts["train"] + counts["demonstrations"] == counts["pool"]
    assert Outcome.model_validate_json((out / "adapt.json").read_bytes()) == outcome
    page = (out / "report.html").read_text(encoding="utf-8")
    # Without its first letter, which is a capital on the page, and what stands behind an apostrophe, which is escaped there.
    assert all(line.partition(": ")[2].split("'")[0][1:40] in page for line in lines(outcome))
    assert "<script" not in page
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: llama\n")
    # The folder is a run that generates.
    assert len(open_adapted(out).generate(["river stone"])) == 1


def test_the_search_never_decodes_a_test_instance(finished: tuple[Path, Outcome]) -> None:
    work = finished[0] / "work"
    tested = {row.id for path in (work / "final" / "runs").glob("*/predictions.jsonl") for row in read_predictions(path)}
    searched = {row.id for path in (work / "search").glob("*/dev_predictions.jsonl") for row in read_predictions(path)}
    assert tested
    assert searched
    assert not tested & searched
    assert not list((work / "search").glob("*/predictions.jsonl"))


class Interrupted(Silent):
    """Progress that raises KeyboardInterrupt at the n-th advance."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, units: int, loss: float | None = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_adaptation_goes_on_to_the_same_end(
    finished: tuple[Path, Outcome], table: Path, options: AdaptOptions, tmp_path: Path
) -> None:
    whole = finished[1]
    with pytest.raises(KeyboardInterrupt):
        adapt(str(table), tmp_path / "cut", source_options=KNOWN, options=options, progress=Interrupted(60))
    resumed = adapt(str(table), tmp_path / "cut", source_options=KNOWN, options=options)
    assert resumed.compared == whole.compared
    assert resumed.more == whole.more
    assert [(tried.id, tried.score) for tried in resumed.tried] == [(tried.id, tried.score) for tried in whole.tried]
    assert resumed.seconds["total"] > read_json(tmp_path / "cut" / "work" / "time.json")["seconds"] / 2


def test_a_search_that_came_to_its_end_is_not_made_again(
    finished: tuple[Path, Outcome], table: Path, options: AdaptOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other memory or measured costs it could choose something else than what the final study trains."""
    shutil.copytree(finished[0], tmp_path / "out")
    (tmp_path / "out" / "adapt.json").unlink()
    monkeypatch.setattr(Search, "run", lambda *_: pytest.fail("searched again"))
    again = adapt(str(table), tmp_path / "out", source_options=KNOWN, options=options)
    assert (again.tried, again.choice, again.compared) == (finished[1].tried, finished[1].choice, finished[1].compared)


def test_workers_carry_out_the_final_runs(
    finished: tuple[Path, Outcome], table: Path, options: AdaptOptions, tmp_path: Path
) -> None:
    begun: list[str] = []

    class Begun(Silent):
        def begin(self, what: str) -> None:
            begun.append(what)

    workers = Workers(1, progress=lambda _: Begun())
    outcome = adapt(str(table), tmp_path / "out", source_options=KNOWN, options=options, workers=workers)
    assert outcome.compared == finished[1].compared
    assert sorted(begun) == sorted(path.name for path in (tmp_path / "out" / "work" / "final" / "runs").iterdir())


def test_the_base_that_was_chosen_stays_when_less_time_is_left(
    table: Path, options: AdaptOptions, base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = [str(base_folder("llama")), str(base_folder("gpt2"))]
    monkeypatch.setattr(base_choice, "_bases_for", lambda task: bases)
    any_base = options.model_copy(update={"base": None})
    with pytest.raises(KeyboardInterrupt):
        adapt(str(table), tmp_path / "out", source_options=KNOWN, options=any_base, progress=Interrupted(60))
    # So slow a step would now speak for the smaller base.
    monkeypatch.setattr(MeasuredCosts, "step", lambda self, candidate: 1000.0)
    assert adapt(str(table), tmp_path / "out", source_options=KNOWN, options=any_base).base == bases[0]


def test_a_finished_adaptation_is_returned_as_it_is(finished: tuple[Path, Outcome], table: Path, options: AdaptOptions) -> None:
    folder, outcome = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert adapt(str(table), folder, source_options=KNOWN, options=options) == outcome
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_under_fifty_examples_it_says_what_cannot_be_known(options: AdaptOptions, tmp_path: Path) -> None:
    small = write_csv(tmp_path / "small.csv", 40)
    outcome = adapt(str(small), tmp_path / "out", source_options=KNOWN, options=options)
    assert outcome.tried == ()
    assert "too few examples" in outcome.reason or outcome.use == "baseline"
    assert "none could be held out to choose on" in lines(outcome)[2]


def test_a_folder_with_something_else_is_refused_and_left_as_it_is(
    finished: tuple[Path, Outcome], table: Path, options: AdaptOptions, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not an adaptation's: thesis\.txt"):
        adapt(str(table), tmp_path / "theirs", source_options=KNOWN, options=options)
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="another file, or with other settings"):
        adapt(str(table), finished[0], source_options=KNOWN, options=options.model_copy(update={"seed": 1}))


def test_more_memory_than_may_be_used_is_refused_in_one_sentence(table: Path, options: AdaptOptions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method fits into 0 MiB of memory") as caught:
        adapt(str(table), tmp_path / "out", source_options=KNOWN, options=options.model_copy(update={"memory": 1000}))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_candidate_is_named_by_what_differs() -> None:
    from xeric.adapt.search import settings_label

    candidate = CandidateSettings(id="lora", method="lora", settings={"train.lr": 0.0002, "method.rank": 16})
    assert settings_label(candidate) == "LoRA (rank 16, learning rate 0.0002)"


def test_columns_language_and_instruction_are_guessed_and_said(tmp_path: Path) -> None:
    path = tmp_path / "my chats.csv"
    sentences = [f"El tren número {number} a la costa llegó tarde otra vez y caminamos junto al río." for number in range(60)]
    path.write_text("pregunta,respuesta\n" + "".join(f"{text},Respuesta: {text}\n" for text in sentences), encoding="utf-8")
    notes: list[str] = []
    task = read_source(str(path), SourceOptions(), notes.append)
    assert (task.name, task.language, task.definition) == ("my_chats", "Spanish", "Given the pregunta, write the respuesta.")
    assert [note.split(" (")[0] for note in notes[:3]] == [
        "inputs are taken from column 'pregunta'",
        "outputs are taken from column 'respuesta'",
        "the language is taken to be Spanish, as 100% of the outputs are",
    ]


def test_a_task_file_is_taken_as_it_is(tmp_path: Path) -> None:
    tiny.write_task(tmp_path, "mine", instances=30)
    task = read_source(str(tmp_path / "mine.json"), SourceOptions(definition="Do this instead."), lambda _: None)
    assert (task.name, task.definition, len(task.instances)) == ("mine", "Do this instead.", 30)
    with pytest.raises(UserError, match="marked already"):
        read_source(str(tmp_path / "mine.json"), SourceOptions(input_column="input"), lambda _: None)


def test_with_no_time_for_a_search_training_and_prompting_are_compared_on_dev_all_the_same(
    table: Path, options: AdaptOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeasuredCosts, "step", lambda self, candidate: 9.0)
    outcome = adapt(str(table), tmp_path / "out", source_options=KNOWN, options=options.model_copy(update={"seconds": 120.0}))
    assert outcome.tried == ()
    assert outcome.examples["dev"] > 0
    assert "dev" in outcome.reason or outcome.use == "baseline"
    assert "only one way of training was tried" in lines(outcome)[2]


def test_a_header_without_rows_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("question,answer\n")
    with pytest.raises(UserError, match=r"empty\.csv: holds no rows below its header"):
        read_source(str(tmp_path / "empty.csv"), SourceOptions(), lambda _: None)
