"""A search: what it scores, that it never looks at the test set, that it repeats and goes on, and the task that it writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.instructing.serving import serving
from xeric.bases.base import Base
from xeric.data.preparing import Prepared, prepare
from xeric.data.tasks import Example, Instance, Task, load_task, parse_task
from xeric.errors import ConfigError, DataError, UserError
from xeric.instructing import instruct as module
from xeric.instructing.candidates import Candidate
from xeric.instructing.instruct import instruct
from xeric.instructing.journal import Journal
from xeric.instructing.options import InstructOptions, instruct_options
from xeric.instructing.outcome import InstructOutcome
from xeric.instructing.scoring import Scorer, search_data

DEFINITION = "Read the words of the input, one by one. Say them again in the reverse order, and nothing else."
SETTINGS: dict[str, Any] = {
    "candidates": 12,
    "finalists": 2,
    "data": {"n_train": 60, "max_test": 12},
    "prompt": {"setting": "few-shot", "demonstrations": 1},
    "decode": {"max_new_tokens": 6},
}


def made_task(instances: int = 100, **changes: Any) -> Task:
    data = tiny.task_data("one", instances=instances) | {"Definition": [DEFINITION, "An alternative."]}
    return replace(parse_task(data, name="one"), **changes)


def options(**changes: Any) -> InstructOptions:
    return instruct_options({**SETTINGS, **changes})


@pytest.fixture
def base(open_base: Callable[[str], Base]) -> Base:
    return open_base("llama")


def scorer_of(base: Base, task: Task, **changes: Any) -> tuple[Scorer, Candidate]:
    chosen = options(**changes)
    prepared = prepare([task], chosen.data, chosen.prompt)
    data = search_data(prepared)
    plain = chosen.prompt.model_copy(update={"template": "plain"})
    return Scorer(base, data, plain, chosen.decode, 8, Journal(None, "")), Candidate(data.task.definition, data.demonstrations)


def test_the_loss_is_that_of_all_references_computed_row_by_row(base: Base) -> None:
    task = made_task()
    instances = tuple(replace(i, outputs=(*i.outputs, f"{i.input} indeed")) for i in task.instances)
    scorer, own = scorer_of(base, replace(task, instances=instances))
    dev = prepare([replace(task, instances=instances)], options().data, options().prompt).tasks[0].dev
    assert len(dev) >= 10
    triples = [(f"{i.id}/{n}", i.input, output) for i in dev for n, output in enumerate(i.outputs)]
    encoded = base.encoder("one").training_rows(scorer.layout(own), triples)
    total = tokens = 0.0
    with torch.no_grad():
        for row in encoded.rows:
            logits, targets = base.target_logits(encoded.prefix_of(row), [row], shared=False)
            total -= float(torch.log_softmax(logits, -1).gather(1, targets[:, None]).sum())
            tokens += len(targets)
    assert len(encoded.rows) == 2 * len(dev)
    assert scorer.loss(own) == pytest.approx(total / tokens, rel=1e-5)


def test_a_definition_that_leaves_no_room_has_an_infinite_loss(base: Base) -> None:
    scorer, own = scorer_of(base, made_task())
    long = replace(own, definition="the river " * 300)
    assert scorer.loss(long) == math.inf
    assert {row.prediction for row in scorer.predictions(long, module.Silent(), "")} == {""}
    assert math.isfinite(scorer.loss(own))


def planted(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    """Make texts the whole test set of whatever the search prepares."""
    test = tuple(Instance(f"planted-{n}", text, (text,)) for n, text in enumerate(texts))

    def with_planted(*arguments: Any, **more: Any) -> Prepared:
        prepared = prepare(*arguments, **more)
        return replace(prepared, tasks=tuple(replace(task, test=test) for task in prepared.tasks))

    monkeypatch.setattr(module, "prepare", with_planted)


def test_nothing_of_the_test_set_is_read_or_decides(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    task, read = made_task(), list[str]()
    monkeypatch.setattr(base, "tokenize", lambda text, special=False: read.append(text) or Base.tokenize(base, text, special))
    with serving('["Say the words in the reverse order.", "Turn the words around."]') as server:
        settings = {"search": "both", "proposer": server.address}
        first = instruct(task, base, options=options(**settings))
        sent = json.dumps(server.asked, ensure_ascii=False)
        prepared = prepare([task], options().data, options().prompt).tasks[0]
        held_out = [text for i in prepared.test for text in (i.input, *i.outputs)]
        assert len(held_out) == 24
        assert not [text for text in held_out if any(text in piece for piece in read)]
        assert not [text for text in held_out if text in sent]
        dev = [text for i in prepared.dev for text in (i.input, *i.outputs)]
        assert not [text for text in dev if text in sent]
        assert [text for text in dev if any(text in piece for piece in read)] == dev
        # A test set on which another finalist than the chosen one would win.
        loser = first.finalists[-1]
        planted(monkeypatch, [loser.definition, *(answer for _, answer in loser.demonstrations)])
        again = instruct(task, base, options=options(**settings))
    assert again == first


def test_the_best_on_dev_is_chosen_and_the_own_prompt_is_among_the_decoded(base: Base) -> None:
    outcome = instruct(made_task(), base, options=options())
    assert outcome.scored == 12
    assert outcome.own in outcome.finalists
    assert len(outcome.finalists) == 3
    assert outcome.chosen.chrf == max(entry.chrf for entry in outcome.finalists) >= outcome.own.chrf
    assert [entry.origin for entry in outcome.controls] == ["none", "other", "shuffled"]
    none, other, shuffled = (entry.definition for entry in outcome.controls)
    assert none == ""
    assert other not in ("", DEFINITION)
    assert sorted(shuffled.split()) == sorted(DEFINITION.split())
    assert {entry.demonstrations for entry in (*outcome.finalists, *outcome.controls)} == {outcome.own.demonstrations}
    assert (outcome.instances, outcome.split) == (10, "dev")
    losing = [entry for entry in outcome.finalists if entry != outcome.own]
    assert all(entry.loss is not None for entry in losing)


def test_the_seed_decides_what_is_tried(base: Base) -> None:
    first, again, other = (instruct(made_task(), base, options=options(seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert {e.definition for e in first.finalists} != {e.definition for e in other.finalists}


@pytest.fixture
def by_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of the random base are all worth the same, so that the lower loss decides."""
    monkeypatch.setattr(module, "chrf", lambda predictions: 5.0)


def written(base: Base, folder: Path, **changes: Any) -> tuple[Task, Task, InstructOutcome]:
    path = tiny.write_task(folder, "one", instances=100)
    task = load_task(path)
    outcome = instruct(task, base, folder / "better.json", options(**changes))
    return task, load_task(folder / "better.json"), outcome


@pytest.mark.usefixtures("by_loss")
def test_the_written_task_differs_in_its_definition_alone(base: Base, tmp_path: Path) -> None:
    task, better, outcome = written(base, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"one.json", "better.json", "better.search.json"}
    assert json.loads((tmp_path / "better.search.json").read_text("utf-8"))["chosen"]["loss"] == outcome.chosen.loss
    assert outcome.chosen.loss == min(entry.loss for entry in outcome.finalists if entry.loss is not None)
    assert outcome.is_new
    assert better.definition == outcome.chosen.definition
    assert better.alternative_definitions == (task.definition,)
    assert (better.instances, better.positive_examples) == (task.instances, task.positive_examples)


@pytest.mark.usefixtures("by_loss")
def test_demonstrations_of_the_written_task_are_those_found_and_its_test_set_is_as_before(base: Base, tmp_path: Path) -> None:
    task, better, outcome = written(base, tmp_path, search="demonstrations", finalists=3)
    assert outcome.is_new
    assert better.definition == task.definition
    before, after = (prepare([t], options().data, options().prompt).tasks[0] for t in (task, better))
    assert tuple((e.input, e.output) for e in after.demonstrations) == outcome.chosen.demonstrations
    assert {i.key for i in after.test} <= {i.key for i in before.test}
    allowed = {(e.input, e.output) for e in task.positive_examples} | {(i.input, i.outputs[0]) for i in before.train}
    assert {pair for entry in outcome.finalists for pair in entry.demonstrations} <= allowed
    # A training example was shown, not only those that are positive examples already.
    assert {i.input for i in before.train} & {pair[0] for entry in outcome.finalists for pair in entry.demonstrations}


@pytest.mark.usefixtures("by_loss")
def test_a_candidate_that_would_bring_an_instance_into_the_test_set_is_left_out(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Keeps, "__call__", lambda keeps, candidate: candidate.origin != "exchange")
    outcome = instruct(made_task(), base, options=options(search="demonstrations", finalists=5))
    assert "exchange" not in {entry.origin for entry in outcome.finalists}


def test_a_candidate_that_shows_an_instance_that_all_are_asked_for_is_left_out(base: Base) -> None:
    """``n_train`` may be all there is beside the test set; one instance that is shown is then one too few."""
    task = made_task(60)
    pool = prepare([task]).tasks[0].counts["pool"]
    chosen = options(data={"n_train": pool})
    prepared = prepare([task], chosen.data, chosen.prompt)
    keeps, shown = module._Keeps(task, prepared, chosen), prepared.tasks[0].train[0]
    assert keeps(Candidate("Another.", prepared.tasks[0].demonstrations))
    assert not keeps(Candidate(DEFINITION, (Example(shown.input, shown.outputs[0]),)))


def test_python_takes_a_base_by_name_and_plain_settings(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    import xeric

    settings = {**SETTINGS, "candidates": 2, "prompt": {"demonstrations": 1}}
    name = str(base_folder("llama"))
    outcome = xeric.instruct(made_task(), name, tmp_path / "better.json", device="cpu", precision="fp32", **settings)
    assert (outcome.scored, outcome.base) == (2, name)
    with pytest.raises(UserError, match="is there already"):
        xeric.instruct(made_task(), name, tmp_path / "better.json", **settings)


class Stopped(Exception):
    pass


def test_an_interrupted_search_goes_on_where_it_was(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, computed = made_task(), list[str]()
    whole = instruct(task, base, tmp_path / "whole.json", options())
    loss = Scorer._loss

    def stopping(scorer: Scorer, candidate: Candidate) -> float:
        if len(computed) == 7:
            raise Stopped
        computed.append(candidate.key)
        return loss(scorer, candidate)

    monkeypatch.setattr(Scorer, "_loss", stopping)
    with pytest.raises(Stopped):
        instruct(task, base, tmp_path / "again.json", options())
    assert (tmp_path / "again.search.jsonl").is_file()
    with pytest.raises(DataError, match="beginning of another search"):
        instruct(task, base, tmp_path / "again.json", options(seed=5))
    before = list(computed)
    monkeypatch.setattr(Scorer, "_loss", lambda scorer, candidate: computed.append(candidate.key) or loss(scorer, candidate))
    assert instruct(task, base, tmp_path / "again.json", options()) == whole
    assert len(set(computed)) == len(computed) > len(before)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (tmp_path / "again.search.jsonl").exists()


def test_no_candidate_is_made_after_the_time(base: Base) -> None:
    ticks = iter(range(1000))
    outcome = instruct(made_task(), base, options=options(seconds=5.0), clock=lambda: float(next(ticks)))
    assert 1 <= outcome.scored < 6
    assert outcome.finalists


def test_a_task_too_small_for_a_dev_set_is_scored_on_training_instances_that_are_not_shown(base: Base) -> None:
    task = made_task(40)
    chosen = options(data={"n_train": 20}, search="demonstrations")
    data = search_data(prepare([task], chosen.data, chosen.prompt))
    outcome = instruct(task, base, options=chosen)
    assert (outcome.instances, outcome.split) == (10, "train")
    scored = {i.input for i in data.scored}
    assert not scored & {e.input for e in data.examples}
    assert not scored & {pair[0] for entry in outcome.finalists for pair in entry.demonstrations}


@pytest.mark.parametrize("shape", ["gpt2", "t5", "bert"])
def test_other_architectures_are_searched(open_base: Callable[[str], Base], shape: str) -> None:
    assert instruct(made_task(), open_base(shape), options=options(candidates=6, finalists=1)).scored == 6


def test_settings_that_do_not_fit_are_refused(base: Base, tmp_path: Path) -> None:
    for changes, where in (
        ({"prompt": {"definition": False}}, "prompt.definition"),
        ({"prompt": {"demonstration_outputs": "swapped"}}, "prompt.demonstration_outputs"),
        ({"search": "both", "prompt": {"setting": "zero-shot"}}, "search"),
        ({"search": "both", "prompt": {"demonstration_seed": 3}}, "prompt.demonstration_seed"),
        ({"search": "demonstrations", "proposer": "http://localhost/v1"}, "proposer"),
        ({"candidats": 3}, "candidats"),
    ):
        with pytest.raises(ConfigError) as error:
            options(**changes)
        assert error.value.where == where
    (tmp_path / "there.json").touch()
    for name, message in (("there.json", "is there already"), ("task.txt", "not the name of a task file"), (".json", "task")):
        with pytest.raises(UserError, match=message):
            instruct(made_task(), base, tmp_path / name, options())
