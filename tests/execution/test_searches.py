"""Searched definitions as an axis of a study: searched once, on dev alone, shown by the arms, resumed, and told of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.execution.test_remote_worker import carry_out
from tests.execution.test_run_study import Told
from xeric.analysis.analyse import analyse, write_results
from xeric.data.preparing import Prepared
from xeric.data.tasks import Instance
from xeric.errors import ConfigError, UnreachableError
from xeric.execution import search_definition as module
from xeric.execution.open_study import OpenStudy
from xeric.execution.opening import check_settings
from xeric.execution.preview import estimated, preview
from xeric.execution.run_study import run_study
from xeric.execution.searches import all_searches
from xeric.instructing.instruct import Searched, search_prepared
from xeric.instructing.scoring import Scorer
from xeric.json_io import write_json
from xeric.report.searching import search_note, search_table
from xeric.report.summary import setup
from xeric.report.writing import write_report
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import plan_study
from xeric.studies.publishing import publish
from xeric.studies.searching import SearchResult, read_search
from xeric.studies.status import study_status
from xeric.yaml_io import load_yaml

FOUND = "Say the words again from the last to the first."
SEARCHED = (
    "tuning=null",
    "seeds=[0]",
    "run.metrics=[chrf]",
    "baselines=false",
    "run.train.max_steps=1",
    "prompts={searched: {search: {candidates: 3, finalists: 1}}}",
    "grids={g: {methods: [lora], settings: [few-shot, instruction], prompts: [own, searched]}}",
    "tables={t: {title: T, grids: [g], metrics: [chrf], published: {few-shot: {chrf: 1.0}}}}",
)


def study_of(tasks: Path, base: Path, *overrides: str) -> StudyConfig:
    return small.study(tasks, base, *SEARCHED, *overrides)


def result(task: str, definition: str = FOUND) -> SearchResult:
    return SearchResult(
        base="tiny",
        prompt="searched",
        task=task,
        definition=definition,
        own="The own one.",
        origin="paraphrase",
        chrf={"chosen": 30.0, "own": 20.0, "none": 10.0, "other": 12.0, "shuffled": 11.0},
        losses={"chosen": 1.0, "own": 2.0},
        gain=(10.0, 2.5, 17.5),
        instances=5,
        split="dev",
        candidates=3,
        seconds=90.0,
    )


def shown_definitions(folder: Path) -> dict[str, dict[str, str]]:
    """The definitions that runs were told to show, by the label of their arms."""
    plan = StudyFolder(folder).read_runs()
    configs = {run.arm.label: load_yaml(folder / "runs" / run.id / "config.yaml") for run in plan}
    return {label: config["prompt"].get("definitions", {}) for label, config in configs.items()}


@pytest.fixture(scope="module")
def searched(tasks: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """The folder of a study whose definitions were searched for; not to be changed."""
    folder, told = tmp_path_factory.mktemp("searched") / "out", Told()
    done = run_study(study_of(tasks, base), folder, progress=told)
    assert set(done.with_status("ok")) == {run.id for run in done.plan.runs}
    return folder, told


def test_arms_show_what_was_searched_for_once(searched: tuple[Path, Told]) -> None:
    folder, told = searched
    assert [name for name in told.begun if name.startswith("search-")] == ["search-one", "search-two"]
    assert told.position[:2] == (6, 6)
    results = {task: read_search(StudyFolder(folder).search("tiny", "searched", task)) for task in ("one", "two")}
    definitions = {task: found.definition for task, found in results.items() if found}
    shown = shown_definitions(folder)
    assert shown == {"few-shot": {}, "lora": {}, "few-shot, searched": definitions, "lora, searched": definitions}
    for found in results.values():
        assert found is not None
        assert (found.candidates, found.split) == (3, "dev")
        assert found.chrf["chosen"] >= found.chrf["own"]
        assert set(found.chrf) == {"chosen", "own", "none", "other", "shuffled"}
        assert found.seconds > 0
    assert {path.name for path in (folder / "instructions").rglob("*") if path.is_file()} == {"search.json"}
    status = study_status(StudyFolder(folder))
    assert status.searches == (2, 2)
    assert status.as_json()["searches"] == {"done": 2, "planned": 2}
    listed = {run.arm.label: run.settings for run in status.runs}
    assert listed["lora"] == {}
    assert listed["lora, searched"] == {"prompt.definitions": definitions}


def test_machines_without_the_folder_search_the_same(
    searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path
) -> None:
    done, links = carry_out(study_of(tasks, base), tmp_path / "out", Told())
    assert set(done.with_status("ok")) == {run.id for run in done.plan.runs}
    assert small.contents(tmp_path / "out") == {
        name: content for name, content in small.contents(searched[0]).items() if name != "results.json"
    }
    for link in links:
        link.node.close()


def test_the_definition_is_part_of_what_a_run_is_and_a_finished_search_is_not_repeated(
    searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path
) -> None:
    study, told, folder = study_of(tasks, base, "tasks=[one]"), Told(), StudyFolder(tmp_path / "out")
    run_study(study.model_copy(update={"grids": {"g": study.grids["g"].model_copy(update={"prompts": ("own",)})}}), folder.root)
    own = {run.arm.label: folder.state(run.id).record for run in folder.read_runs()}
    write_json(folder.search("tiny", "searched", "one") / "search.json", result("one"))
    run_study(study, folder.root, progress=told)
    assert not [name for name in told.begun if name.startswith("search-")]
    records = {run.arm.label: folder.state(run.id).record for run in folder.read_runs()}
    assert shown_definitions(folder.root)["lora, searched"] == {"one": FOUND}
    ids = [record.run_id for record in records.values() if record]
    assert len(set(ids)) == len(ids) == 4
    assert {label: record.run_id for label, record in records.items() if record and label in own} == {
        label: record.run_id for label, record in own.items() if record
    }


class Stopped(BaseException):
    """What ends a process in the middle of a search."""


def test_a_search_goes_on_where_it_was_interrupted(
    searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, predictions = list[str](), Scorer.predictions

    def stopping(scorer: Scorer, *arguments: Any) -> Any:
        if len(computed) == 1:
            raise Stopped
        computed.append("")
        return predictions(scorer, *arguments)

    study = study_of(tasks, base, "grids.g.settings=[few-shot]", "grids.g.prompts=[searched]")
    monkeypatch.setattr(Scorer, "predictions", stopping)
    with pytest.raises(Stopped):
        run_study(study, tmp_path / "out")
    folder = StudyFolder(tmp_path / "out").search("tiny", "searched", "one")
    assert [path.name for path in folder.iterdir()] == ["search.jsonl"]
    assert not list((tmp_path / "out" / "locks").glob("instructions-*"))
    monkeypatch.setattr(Scorer, "predictions", predictions)
    losses = list[str]()
    loss = Scorer._loss
    monkeypatch.setattr(Scorer, "_loss", lambda scorer, candidate: losses.append(candidate.key) or loss(scorer, candidate))
    told = Told()
    run_study(study, tmp_path / "out", progress=told)
    assert any("the search goes on" in note for note in told.notes)
    again, whole = (small.contents(root / "instructions") for root in (tmp_path / "out", searched[0]))
    assert again == whole


def test_nothing_of_the_test_set_reaches_the_search(
    searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test sets whose answers are the definitions that lost: what is found stays the same."""
    seen = list[Prepared]()

    def planted(prepared: Prepared, *arguments: Any, **more: Any) -> Searched:
        seen.append(prepared)
        (task,) = prepared.tasks
        test = tuple(Instance(f"planted-{number}", task.task.definition, (FOUND,)) for number in range(6))
        return search_prepared(replace(prepared, tasks=(replace(task, test=test),)), *arguments, **more)

    monkeypatch.setattr(module, "search_prepared", planted)
    study = study_of(tasks, base, "grids.g.settings=[few-shot]", "grids.g.prompts=[searched]")
    run_study(study, tmp_path / "out")
    assert small.contents(tmp_path / "out" / "instructions") == small.contents(searched[0] / "instructions")
    # The search is given the split of the study's own runs.
    (run, *_) = StudyFolder(searched[0]).read_runs()
    predicted = (searched[0] / "runs" / run.id / "predictions.jsonl").read_text()
    for prepared in seen:
        assert all(instance.id in predicted for instance in prepared.tasks[0].test)
        shown = {instance.key for instance in (*prepared.tasks[0].dev, *prepared.tasks[0].train)}
        assert not shown & {instance.key for instance in prepared.tasks[0].test}


def test_a_search_that_fails_fails_the_runs_that_need_it_alone(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **more: Any) -> Searched:
        raise ConfigError("does not work", where="search")

    monkeypatch.setattr(module, "search_prepared", failing)
    study = study_of(tasks, base, "tasks=[one]", "grids.g.settings=[few-shot]")
    done = run_study(study, tmp_path / "out")
    states = {run.arm.label: done.states[run.id] for run in done.plan.runs}
    assert states["few-shot"].status == "ok"
    failure = states["few-shot, searched"].failure
    assert failure is not None
    assert failure.error.startswith("the search for a definition of 'one' on 'tiny' failed: ")
    monkeypatch.setattr(module, "search_prepared", search_prepared)
    again = run_study(study, tmp_path / "out")
    assert len(again.with_status("ok")) == 2


def test_the_plan_counts_searches(searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path) -> None:
    found = preview(study_of(tasks, base), tmp_path / "out", progress=Told())
    assert [(search.base, search.prompt, search.task) for search in found.searches] == [
        ("tiny", "searched", "one"),
        ("tiny", "searched", "two"),
    ]
    assert found.as_json()["searches"][0] == {"base": "tiny", "prompt": "searched", "task": "one"}
    cost = estimated(found, progress=Told()).estimate
    assert cost is not None
    assert 0 < cost.searches < cost.seconds
    assert cost.seconds == pytest.approx(sum(arm.seconds * arm.runs for arm in cost.arms) + cost.searches)
    assert preview(study_of(tasks, base), searched[0], progress=Told()).searches == ()


def test_the_report_names_what_was_found_and_what_it_cost(
    searched: tuple[Path, Told], tasks: Path, base: Path, tmp_path: Path
) -> None:
    found = analyse(searched[0])
    assert setup(found).startswith("This study compared 1 way of adapting, 1 untrained setting and 1 other prompt on 1 base")
    (shown,) = found.tables
    assert {row.label: row.published for row in shown.rows} == {
        "few-shot": {"chrf": 1.0},
        "few-shot, searched": {},
        "lora": {},
        "lora, searched": {},
    }
    assert "searched: definitions searched for on dev, 3 candidates for each base and task." in shown.notes
    table = search_table(found)
    assert table is not None
    assert [row[2] for row in table.rows] == ["one", "two"]
    results = found.model_copy(update={"searches": (result("one"), result("two", "The own one."))})
    note = search_note(results)
    assert note.startswith("1 of 2 searches found another definition than the task's own; together they took 3 min")
    (row, _) = search_table(results).rows  # type: ignore[union-attr]
    assert row[3:7] == (FOUND, "paraphrase", 30.0, 20.0)
    assert row[8:11] == (10.0, 12.0, 11.0)
    published = tmp_path / "published"
    publish(StudyFolder(searched[0]), published)
    write_results(published)
    written = write_report(published)
    page = (published / "report.html").read_text()
    assert 'id="searches"' in page
    assert "Searched definitions" in (published / "report.md").read_text()
    assert any(path.name == "searches.csv" for path in written.files)


def test_nothing_is_searched_into_the_folder_that_a_lost_mount_leaves(tasks: Path, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    opened = OpenStudy.of(study_of(tasks, base), folder, progress=Told())
    search = all_searches(opened.plan, opened.plan.runs)[0]
    shutil.rmtree(folder)
    folder.mkdir()
    at, settings = StudyFolder(folder).search(search.base, search.prompt, search.task), {"not": "read"}
    with pytest.raises(UnreachableError, match="holds the study no longer"):
        opened.executor.search(at, settings, search)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("prompts.own={}", "prompts.own", "is what the run settings say"),
        ("prompts.searched.prompt={setting: few-shot}", "prompts.searched.prompt.setting", "is an axis of its own"),
        ("prompts.searched.prompt={definition: shuffled}", "prompts.searched.prompt.definition", "is a control"),
        ("prompts.searched.prompt={demonstration_choice: nearest}", "prompts.searched.prompt.demonstration_choice", "of its own"),
        ("prompts.searched.prompt={demonstratons: 1}", "prompts.searched.prompt.demonstratons", "unknown setting"),
        ("grids.g.prompts=[own, serched]", "grids.g.prompts", "unknown prompt 'serched'"),
        ("grids.g.prompts=[]", "grids.g.prompts", "is empty"),
    ],
)
def test_mistakes_are_named_by_their_path(override: str, where: str, what: str, tasks: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        check_settings(plan_study(study_of(tasks, base, override)))
    assert caught.value.where == where


def test_untrained_arms_that_show_the_same_are_refused_and_others_are_not(tasks: Path, base: Path) -> None:
    nearest = ("prompts={nearest: {prompt: {demonstration_choice: nearest}}}", "grids.g.prompts=[own, nearest]")
    check_settings(plan_study(study_of(tasks, base, *nearest)))
    with pytest.raises(ConfigError, match=r"'zero-shot' and 'zero-shot, nearest' cannot differ"):
        check_settings(plan_study(study_of(tasks, base, *nearest, "grids.g.settings=[zero-shot]")))


def test_a_study_without_prompts_has_the_arms_that_it_had_before(tasks: Path, base: Path) -> None:
    labels = {arm.label: arm.id for arm in plan_study(study_of(tasks, base)).arms}
    without = plan_study(study_of(tasks, base, "prompts={}", "grids.g.prompts=[own]"))
    assert {arm.label: arm.id for arm in without.arms} == {label: labels[label] for label in ("few-shot", "lora")}
    searched = labels["lora, searched"]
    assert searched.startswith("tiny-lora-searched-")
    other = plan_study(study_of(tasks, base, "prompts.searched.search.candidates=4"))
    assert {arm.label: arm.id for arm in other.arms}["lora, searched"] != searched
