"""From a study file to runs: each arm once, stable names, shipped studies that plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.attached import attach
from tests.study_fixtures import Where
from xeric.bases.base import Base
from xeric.config import apply_overrides, build
from xeric.errors import UserError
from xeric.execution.opening import check_settings
from xeric.execution.trials import tuned_pairs
from xeric.run.config import RunConfig, run_config
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.entries import BaseEntry, BasePrompt
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import arm_settings, bundled_studies, load_study, plan_study, study_identity
from xeric.yaml_io import dump_yaml, load_yaml


def test_an_arm_in_two_grids_is_one_arm_and_untrained_arms_have_one_run(where: Where) -> None:
    plan = plan_study(small.study(*where))
    keys = [(arm.key.method, arm.key.setting) for arm in plan.arms]
    assert sorted(keys) == [
        ("full", "instruction"),
        ("lora", "instruction"),
        ("none", "few-shot"),
        ("none", "zero-shot"),
    ]
    seeds = {arm.label: [run.seed for run in plan.runs if run.arm == arm] for arm in plan.arms}
    assert seeds == {"lora": [0, 1], "full": [0, 1], "zero-shot": [0], "few-shot": [0]}
    # Every arm with the first seed, before the second seed.
    assert [run.seed for run in plan.runs] == [0, 0, 0, 0, 1, 1]
    sampled = plan_study(small.study(*where, "run.decode.strategy=sample"))
    assert [run.seed for run in sampled.runs if run.arm.label == "zero-shot"] == [0, 1]


def test_names_of_runs_go_by_content(where: Where) -> None:
    def ids(*overrides: str) -> dict[str, str]:
        return {arm.label: arm.id for arm in plan_study(small.study(*where, *overrides)).arms}

    before = ids()
    assert ids("seeds=[3]", "title=Other", "grids.settings.settings=[few-shot, instruction, zero-shot]") == before
    lora = ids("methods.lora.rank=3")
    assert lora["lora"] != before["lora"]
    assert lora["full"] == before["full"]
    trained = ids("run.data.n_train=51")
    assert all(trained[label] != name for label, name in before.items())


def test_the_size_of_the_run_settings_is_no_size_of_its_own(where: Where) -> None:
    study = small.study(*where, "grids.settings.n_train=[null, 50, 20]")
    labels = [arm.label for arm in plan_study(study).arms]
    assert labels == ["lora", "full", "zero-shot", "few-shot", "lora, n = 20"]
    assert study.canonical(ArmKey(base="tiny", method="lora", n_train=50)) == ArmKey(base="tiny", method="lora")


def test_settings_of_a_run(where: Where) -> None:
    study = small.study(
        *where,
        "sources=[three]",
        "stage.train.epochs=2",
        "methods.weighted={like: lora, method: {rank: 5}, train: {weighting: {name: size}}}",
        "grids={all: {starts: [base, stage-1], settings: [instruction, zero-shot], n_train: [20]}}",
    )
    plan = plan_study(study)
    settings = {run.arm.label: plan.settings(run) for run in plan.runs if run.seed == study.seeds[0]}
    own = settings["weighted, from stage 1, n = 20"]
    assert own["method"] == {"name": "lora", "rank": 5}
    assert own["train"] == {"max_steps": 3, "checkpoint_seconds": 0.0, "weighting": {"name": "size"}}
    assert own["data"] == {"n_train": 20, "max_test": 6}
    assert own["stages"] == [{"method": {"name": "full"}, "seed": 0, "train": {"epochs": 2}, "tasks": ["three"]}]
    assert (own["seed"], own["predict"], own["tasks"]) == (0, ["test", "dev"], ["one", "two"])
    assert settings["zero-shot"]["prompt"] == {"demonstrations": None, "setting": "zero-shot"}
    assert settings["zero-shot"]["method"] == {"name": "none"}
    assert settings["zero-shot"]["data"] == {"n_train": 20, "max_test": 6}, "the dev set of the arms it is compared with"
    assert "stages" not in settings["lora, n = 20"]


def test_an_arm_like_another_keeps_what_it_sets_itself_whatever_tuning_chose(where: Where) -> None:
    study = small.study(
        *where,
        "methods.wide={like: lora, method: {rank: 64}}",
        "methods.fast={like: lora, train: {lr: 0.05}}",
        "grids={all: {methods: [lora, wide, fast]}}",
    )
    plan = plan_study(study)
    chosen = {"method.rank": 4, "train.lr": 0.001}
    settings = {run.arm.label: plan.settings(run.model_copy(update={"settings": chosen})) for run in plan.runs}
    own = {label: (one["method"]["rank"], one["train"]["lr"]) for label, one in settings.items()}
    assert own == {"lora": (4, 0.001), "wide": (64, 0.001), "fast": (4, 0.05)}


def test_few_shot_keeps_its_demonstrations_where_trained_arms_have_none(where: Where) -> None:
    grids = "grids={all: {methods: [lora], settings: [instruction, few-shot, zero-shot]}}"
    study = small.study(*where, "run.prompt.demonstrations=0", grids)
    plan = plan_study(study)
    settings = {run.arm.key.setting: build(RunConfig, plan.settings(run)) for run in plan.runs}
    assert {setting: run.prompt.demonstration_count for setting, run in settings.items()} == {
        "instruction": 0,
        "few-shot": 2,
        "zero-shot": 0,
    }


def test_one_run_a_task_where_they_are_not_joint(where: Where) -> None:
    plan = plan_study(small.study(*where, "joint=false", "grids={all: {methods: [full]}}"))
    assert [(run.tasks, run.seed) for run in plan.runs] == [(("one",), 0), (("two",), 0), (("one",), 1), (("two",), 1)]
    assert len({run.id for run in plan.runs}) == 4


def test_other_bases_take_the_roles_of_the_study(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    data = small.plain(
        *where,
        "bases={big: path/big, other: path/other}",
        "grids={methods: {bases: [big]}, two: {methods: [lora]}, only: {bases: [other], methods: [lora]}}",
        "tables.t={title: T, grids: [only]}",
        "figures.f={title: T, grids: [two], published: {big: {bleu: 2.0}, other: {bleu: 1.0}}}",
        "claims.c={sentence: s, chain: [{base: big, method: lora}, {base: other, method: lora}]}",
    )
    file.write_text(dump_yaml(data), encoding="utf-8")
    for overrides in (["bases=[hub/Qwen-1, path/to/x]"], ["bases.big=hub/Qwen-1", "bases.other=path/to/x"]):
        study, remarks = load_study(file, overrides)
        assert {role: study.base_name(role) for role in study.bases} == {"big": "hub/Qwen-1", "other": str(Path("path/to/x"))}
        assert [link.base for link in study.claims["c"].chain] == ["big", "other"]
        assert study.figures["f"].published == {"big": {"bleu": 2.0}, "other": {"bleu": 1.0}}
        assert not remarks
    for overrides in (["bases=[hub/Qwen-1]"], ["bases.big=hub/Qwen-1", "bases.other=null"]):
        study, remarks = load_study(file, overrides)
        assert {arm.key.base for arm in plan_study(study).arms} == {"big"}
        assert (set(study.grids), study.tables, study.claims) == ({"methods", "two"}, {}, {})
        assert study.figures["f"].published == {"big": {"bleu": 2.0}}
        assert len(remarks) == 3


def test_how_a_base_is_asked_goes_into_all_runs_on_it(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    data = small.plain(
        *where,
        f"bases.other={where[1]}",
        "sources=[three]",
        "run.prompt.template=plain",
        "grids={all: {methods: [lora], settings: [few-shot, instruction], starts: [base, stage-1]}}",
    )
    file.write_text(dump_yaml(data), encoding="utf-8")

    def templates(study: StudyConfig) -> dict[str, set[tuple[str | None, str | None]]]:
        """Templates of the runs, and of the stages before them where there are any, by base."""
        by_base: dict[str, set[tuple[str | None, str | None]]] = {}
        plan = plan_study(study)
        for run in plan.runs:
            settings = plan.settings(run)
            run_config(settings)
            stage = settings.get("stages", [{}])[0].get("prompt", {}).get("template")
            by_base.setdefault(run.arm.key.base, set()).add((settings["prompt"]["template"], stage))
            assert settings["base"] == str(where[1])
        return by_base

    short, _ = load_study(file)
    assert templates(short) == {"tiny": {("plain", None)}, "other": {("plain", None)}}
    long, _ = load_study(file, ["bases.other.prompt.template=chat"])
    assert templates(long) == {"tiny": {("plain", None)}, "other": {("chat", None), ("chat", "chat")}}
    assert long.bases == {"tiny": str(where[1]), "other": BaseEntry(name=str(where[1]), prompt=BasePrompt(template="chat"))}
    again = tmp_path / "again.yaml"
    again.write_text(dump_yaml(long), encoding="utf-8")
    assert load_study(again)[0] == long

    before, after = ({arm.label: arm.id for arm in plan_study(study).arms} for study in (short, long))
    assert {label for label in before if before[label] == after[label]} == {label for label in before if label.startswith("tiny")}
    here, there = (study_identity(study, {"same": "contents"}) for study in (short, long))
    assert here != there
    assert here == study_identity(load_study(file, ["bases.other={name: elsewhere}"])[0], {"same": "contents"})


def test_a_base_in_a_role_may_say_how_it_is_asked(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where, "grids={all: {bases: [tiny], methods: [lora]}}")), encoding="utf-8")
    chat = BaseEntry(name="hub/B", prompt=BasePrompt(template="chat"))
    for overrides in (
        ["bases=[{name: hub/B, prompt: {template: chat}}]"],
        ["bases=[hub/B]", "bases.0.prompt.template=chat"],
        ["bases.tiny=hub/B", "bases.tiny.prompt.template=chat"],
    ):
        study, remarks = load_study(file, overrides)
        assert (study.bases, remarks) == ({"tiny": chat}, [])
    study, _ = load_study(file, ["bases.tiny.prompt.template=chat", "bases=[A]"])
    assert study.bases == {"tiny": "A"}, "how one base was to be asked says nothing of another in its role"


def test_the_list_of_runs_reads_back(where: Where, tmp_path: Path) -> None:
    folder, plan = StudyFolder(tmp_path), plan_study(small.study(*where))
    folder.write_runs(list(plan.runs))
    assert folder.read_runs() == list(plan.runs)
    raw = json.loads(folder.runs_file.read_text())
    assert set(raw[0]) == {"id", "arm", "seed", "tasks", "settings"}
    assert set(raw[0]["arm"]) == {"id", "label", "key"}


PUBLISHED = {
    "full": (32.8, 41.5, 29.4),
    "lora": (31.2, 39.8, 28.1),
    "adapter": (29.6, 38.2, 26.9),
    "ours": (33.5, 42.7, 29.8),
}


@pytest.mark.parametrize("name", sorted(bundled_studies()))
def test_every_shipped_study_plans(name: str) -> None:
    """Every run has settings that a run can have; tasks and bases need not be at hand."""
    study, remarks = load_study(name)
    plan = plan_study(study)
    assert not remarks
    assert study.name == name
    check_settings(plan)
    for run in plan.runs:
        run_config(plan.settings(run))
    for override in ("bases=[path/to/mine]", "tasks=[mine]"):
        assert plan_study(load_study(name, [override])[0]).runs


def test_the_paper_study_says_what_the_paper_says() -> None:
    assert {"paper", "beyond", "sample_size", "demo"} <= set(bundled_studies())
    study, _ = load_study("paper")
    for table in ("table1", "table1-stage1"):
        shown = study.tables[table]
        (grid,) = shown.grids
        assert set(PUBLISHED) <= {key.method for key in study.arms_of(study.grids[grid])}
        assert {label: tuple(row.values()) for label, row in shown.published.items()} == PUBLISHED
    starts = [study.grids[study.tables[table].grids[0]].starts for table in ("table1", "table1-stage1")]
    assert starts == [("base",), ("stage-1",)]
    assert [link.method for link in study.claims["methods"].chain] == ["ours", "full", "lora", "adapter"]
    assert [link.setting for link in study.claims["settings"].chain] == ["instruction", "few-shot", "zero-shot"]
    assert study.claims["lora-close"].kind == "close"
    removed = {label: arm_settings(study, ArmKey(base="multilingual", method=label), ("t",)) for label in study.methods}
    whole = removed["ours"]
    for part in ("lora", "prefix", "embedding"):
        assert removed[f"without-{part}"]["method"] == {**whole["method"], part: False}
        assert removed[f"without-{part}"]["train"] == whole["train"]
    assert removed["uniform-weights"]["train"]["weighting"] == {"name": "uniform"}
    assert removed["uniform-weights"]["method"] == whole["method"]


def test_a_bundled_name_is_that_study_whatever_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a folder ``demo`` that an earlier ``-o demo`` left, ``demo`` is still the bundled study."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "study.yaml").write_text(
        dump_yaml(load_study("sample_size", ["tasks=[poem_generation_en]"])[0]), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    assert load_study("demo")[0].name == "demo"
    assert load_study("./demo")[0].name == "sample_size"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: is a folder that holds no study"):
        load_study("empty")


def test_the_study_beyond_the_paper_tunes_alike_and_asks_what_each_must_beat(open_base: Callable[[str], Base]) -> None:
    study, _ = load_study("beyond")
    plan, paper = plan_study(study), load_study("paper")[0]
    known = set(paper.tasks)
    assert [task in known for task in study.tasks] == [True, True, True, False, False, False]
    assert not set(study.tasks) & set(paper.sources)
    assert (study.seeds, study.tuning, study.run) == (paper.seeds, paper.tuning, paper.run)
    assert {key.method for key in tuned_pairs(plan)} == set(study.methods)
    pairs = {(claim.chain[0].method, claim.chain[0].prompt): set[tuple[str, str]]() for claim in study.claims.values()}
    for claim in study.claims.values():
        pairs[claim.chain[0].method, claim.chain[0].prompt].add((claim.chain[1].method, claim.chain[1].prompt))
    assert pairs == {
        ("gated", "own"): {("combined", "own"), ("full", "own")},
        ("gated-by-token", "own"): {("combined", "own")},
        ("mixture-prefix", "own"): {("static-prefix", "own"), ("lora", "own")},
        ("generated-prefix", "own"): {("static-prefix", "own")},
        ("none", "searched"): {("none", "own")},
        ("lora", "searched"): {("lora", "own")},
        ("none", "nearest"): {("none", "own")},
        ("lora", "nearest"): {("lora", "own")},
        ("lora", "own"): {("none", "nearest")},
    }
    assert {key.prompt for key in study.claims["searched"].controls} == {
        "no-definition",
        "other-definition",
        "shuffled-definition",
    }
    counts = {}
    for label in ("static-prefix", "mixture-prefix", "generated-prefix"):
        adaptation = attach(open_base("llama"), **study.methods[label])
        counts[label] = sum(parameter.numel() for parameter in adaptation.trainable().values())
        adaptation.detach()
    static = counts.pop("static-prefix")
    # The gate, and what generates, are a few rows of the base's width beside.
    assert all(static <= count <= 1.1 * static for count in counts.values()), counts


def test_the_demo_needs_no_tasks_beside_the_package() -> None:
    from xeric.data.catalog import Catalog

    study, _ = load_study("demo")
    assert set(study.tasks) <= set(Catalog.of(environment={}).names())


def test_the_shipped_studies_take_bases_that_come_by_name() -> None:
    for name in bundled_studies():
        bases = load_study(name)[0].bases
        assert bases.items() <= {"multilingual": "gemma-3-270m", "monolingual": "smollm2-135m"}.items()


def test_yaml_of_the_shipped_studies_holds_no_setting_twice() -> None:
    for path in bundled_studies().values():
        data: dict[str, Any] = load_yaml(path)
        assert build(StudyConfig, apply_overrides(data, [])).name == path.stem


def test_tracking_is_no_part_of_a_study() -> None:
    plain, tracked = (load_study("demo", overrides)[0] for overrides in ([], ["run.track=tensorboard"]))
    assert study_identity(plain, {}) == study_identity(tracked, {})
    assert arm_settings(tracked, plan_study(tracked).arms[0].key, tracked.tasks)["track"] == "tensorboard"
