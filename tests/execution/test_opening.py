"""What is checked before a study starts: mistakes are named by their path, arms can differ, a folder belongs to one study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import small_study as small
from tests import tiny
from tests.study_fixtures import Where
from xeric.data.baselines import baselines_of
from xeric.errors import ConfigError, UserError
from xeric.execution import open_study
from xeric.execution.computing import LocalComputer
from xeric.execution.executor import RunExecutor
from xeric.execution.open_study import OpenStudy
from xeric.execution.opening import check_settings, open_folder, own_data
from xeric.execution.trials import tuned_pairs
from xeric.progress import Silent
from xeric.run import config as run_settings
from xeric.run.stage_store import StageStore
from xeric.studies.config import ArmKey
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import arm_settings, load_study, plan_study
from xeric.yaml_io import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("override", "path", "hint"),
    [
        ("grids.methods.bases=[tinny]", "grids.methods.bases", "tiny"),
        ("grids.methods.methods=[lroa]", "grids.methods.methods", "lora"),
        ("grids.methods.method=[lora]", "grids.methods.method", "methods"),
        ("grids.methods.settings=[few-shots]", "grids.methods.settings.0", ""),
        ("grids.methods.methods=[none]", "grids.methods.methods", "leave it out"),
        ("grids.methods.starts=[stage-1]", "grids.methods.starts", "stage.texts"),
        ("grids.methods.n_train=[]", "grids.methods.n_train", ""),
        ("tables.t={title: T, grids: [metods]}", "tables.t.grids", "methods"),
        ("tables.t={title: T, grids: [methods], metrics: [rouge]}", "tables.t.metrics", "rouge_l"),
        ("tables.t={title: T, grids: [methods], metrics: [self_bleu]}", "tables.t.metrics", "run.metrics"),
        ("tables.t={title: T, grids: [methods], published: {lra: {bleu: 1.0}}}", "tables.t.published", "lora"),
        ("figures.f={title: T, grids: [methods], kind: pie}", "figures.f.kind", ""),
        ("claims.c={sentence: s, chain: [{base: tiny, method: full}]}", "claims.c.chain", ""),
        (
            "claims.c={sentence: s, chain: [{base: tiny, method: full}, {base: tiny, method: full, start: stage-1}]}",
            "claims.c.chain.1",
            "method=full",
        ),
        (
            "claims.c={sentence: s, chain: [{base: tiny, method: full}, {base: tiny, method: full, n_train: 50}]}",
            "claims.c.chain",
            "",
        ),
        ("methods.lora.rnk=3", "methods.lora.rnk", "rank"),
        ("methods.lora={method: {name: lora, rnk: 3}}", "methods.lora.method.rnk", "rank"),
        ("methods.lora={method: {name: lora}, trian: {}}", "methods.lora.trian", "train"),
        ("methods.lora={rnk: 3}", "methods.lora.rnk", "rank"),
        ("methods.other={like: lor}", "methods.other.like", "lora"),
        ("methods.few-shot={name: lora}", "methods.few-shot", ""),
        ("run.train.max_step=3", "run.train.max_step", "max_steps"),
        ("run.tasks=[one]", "run.tasks", ""),
        ("run.metrics=[rouge]", "run.metrics", "rouge_l"),
        ("stage.epochs=3", "stage.epochs", ""),
        ("stage.texts=some.txt", "stage.texts", "[FILE, FOLDER]"),
        ("tuning.trial=3", "tuning.trial", "trials"),
        ("tuning.seed=1", "tuning.seed", ""),
        ("tuning.space={lora: {method.rnk: [3]}}", "tuning.space.lora.method.rnk", ""),
        ("tuning.space={lora: {method.rank: [3, many]}}", "tuning.space.lora.method.rank", ""),
        ("tuning.space={lora: {train.lr: {low: 0.1, high: 0.01}}}", "tuning.space.lora.train.lr", ""),
        ("tuning.space={lroa: {}}", "tuning.space", "lora"),
        ("tuning.space={lora: {prompt.demonstrations: [0, 2]}}", "tuning.space.lora.prompt.demonstrations", "axes of grids"),
        ("tuning.space={lora: {data.split_seed: [1, 2]}}", "tuning.space.lora.data.split_seed", "axes of grids"),
        ("seeds=[0, 0]", "seeds", ""),
        ("seed=[0]", "seed", "seeds"),
        ("tasks=[]", "tasks", ""),
        ("sources=[one]", "sources", ""),
        ("name=My Study", "name", ""),
        ("bases=[]", "bases", ""),
        ("bases=[A, B]", "bases", "its roles: tiny"),
        ("bases.tiny=null", "bases", ""),
        ("bases=[{path: x}]", "bases", "gemma-3-270m"),
        ("bases.tiny.prompt.template=chatty", "bases.tiny.prompt.template", ""),
        ("bases.tiny.prompt.demonstrations=3", "bases.tiny.prompt.demonstrations", "template"),
        ("bases.tiny.prompts.template=chat", "bases.tiny.prompts", "prompt"),
        ("bases.tny.prompt.template=chat", "bases.tny.name", ""),
    ],
)
def test_a_mistake_is_named_by_its_path(override: str, path: str, hint: str, where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        check_settings(plan_study(load_study(file, [override])[0]))
    assert caught.value.where == path
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("overrides", "arms"),
    [
        (["methods.nothing={name: none}"], ("nothing", "few-shot")),
        (["methods.nothing={name: none}", "run.prompt.template=plain"], ("nothing", "few-shot")),
        (["methods.nothing={name: none}", "run.prompt={definition: false}"], ("nothing", "few-shot")),
    ],
)
def test_two_names_for_the_same_untrained_rows_are_refused(overrides: list[str], arms: tuple[str, str], where: Where) -> None:
    plan = plan_study(small.study(*where, *overrides))
    with pytest.raises(UserError, match=f"the arms '{arms[0]}' and '{arms[1]}' cannot differ") as caught:
        check_settings(plan)
    assert (caught.value.where, caught.value.hint) == ("grids", "leave one of them out")


def test_two_labels_of_one_base_are_told_apart_by_how_it_is_asked(where: Where) -> None:
    grids = "grids={all: {settings: [few-shot]}}"
    with pytest.raises(UserError, match="'tiny, few-shot' and 'again, few-shot' cannot differ"):
        check_settings(plan_study(small.study(*where, grids, f"bases.again={where[1]}")))
    check_settings(plan_study(small.study(*where, grids, f"bases.again={{name: {where[1]}, prompt: {{template: chat}}}}")))
    # Two methods that are named differently may be compared, so that the procedure can be seen not to find a difference.
    check_settings(plan_study(small.study(*where, "methods.twin={name: lora, rank: 2}")))


def test_a_folder_belongs_to_one_study_that_may_grow(where: Where, tmp_path: Path) -> None:
    def identity(*overrides: str) -> str:
        return open_folder(small.study(*where, *overrides), tmp_path / "out")[1]

    study = small.study(*where)
    folder = StudyFolder(tmp_path / "out")
    folder.write_study(study, identity())
    assert folder.read_study() == study
    identity("seeds=[0, 1, 2]", "title=Other", "claims={}", "keep=none")
    for change in ("run.train.max_steps=4", "tasks=[one]", "methods.full={name: lora}", "tuning=null"):
        with pytest.raises(UserError, match="another study"):
            identity(change)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds no study"):
        open_folder(study, tmp_path / "mine")


def test_other_texts_or_weights_make_another_study(where: Where, tmp_path: Path) -> None:

    other = tiny.write_base(tmp_path / "base", seed=4)
    here, there = (open_folder(small.study(where[0], base), tmp_path / "out")[1] for base in (where[1], other))
    assert here != there
    tiny.write_task(tmp_path / "tasks", "one", instances=90, seed=1)
    tiny.write_task(tmp_path / "tasks", "two", instances=80, language="Hindi")
    assert open_folder(small.study(tmp_path / "tasks", where[1]), tmp_path / "out")[1] != here


def test_a_control_is_an_arm_like_its_own_with_another_prompt(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    overrides = [
        "methods.shuffled={like: lora, prompt: {definition: shuffled}}",
        "grids={all: {methods: [lora, shuffled]}, asked: {settings: [zero-shot]}}",
        "claims.c={sentence: s, chain: [{base: tiny, method: lora}, {base: tiny, method: none, setting: zero-shot}]}",
        "claims.c.controls=[{base: tiny, method: shuffled}]",
    ]
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    study, _ = load_study(file, overrides)
    plan = plan_study(study)
    check_settings(plan)
    own, control = (arm_settings(study, ArmKey(base="tiny", method=name), study.tasks) for name in ("lora", "shuffled"))
    assert control == own | {"prompt": own["prompt"] | {"definition": "shuffled"}}
    assert [key.method for key in tuned_pairs(plan)] == ["lora"]
    with pytest.raises(UserError, match="names an arm that no grid computes") as caught:
        load_study(file, [*overrides, "grids.all.methods=[lora]"])
    assert caught.value.where == "claims.c.controls.0"


def test_a_study_has_one_precision_whatever_is_faster_on_the_next_machine(
    where: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small.study(*where, "tuning=null", "grids={all: {methods: [lora]}}", "seeds=[0]")

    def opened(output: Path, faster: str) -> RunExecutor:
        monkeypatch.setattr(open_study, "resolve_precision", lambda name, device: faster)
        monkeypatch.setattr(run_settings, "resolve_precision", lambda name, device: faster if name == "auto" else name)
        return OpenStudy.of(study, output, progress=Silent()).executor

    assert opened(tmp_path / "first", "fp32").precision == "fp32"
    executor = opened(tmp_path / "first", "bf16")
    assert executor.precision == "fp32"
    (run,) = plan_study(study).runs
    state = executor.run(tmp_path / "first" / "runs" / run.id, plan_study(study).settings(run), keep_adapter=False)
    assert state is not None
    assert state.status == "ok"
    assert load_yaml(tmp_path / "first" / "runs" / run.id / "config.yaml")["precision"] == "fp32"
    # A published study, or one of an earlier version, says it in the settings of its runs alone.
    (tmp_path / "first" / "precision.json").unlink()
    assert opened(tmp_path / "first", "bf16").precision == "fp32"
    assert opened(tmp_path / "second", "bf16").precision == "bf16"


def test_trivial_baselines_are_judged_alike_whichever_method_stands_first(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    computer = LocalComputer(StageStore(tmp_path / "stages"), Silent())
    prepared = [
        own_data(plan_study(load_study(file, [f"methods={methods}", "grids={all: {}}", *more])[0]), computer)
        for methods, more in (
            ("{lora: {name: lora}, bare: {name: full, prompt: {demonstrations: 0, definition: none}}}", []),
            ("{bare: {name: full, prompt: {demonstrations: 0, definition: none}}, lora: {name: lora}}", []),
            ("{lora: {name: lora}}", ["run.prompt.demonstrations=0"]),
        )
    ]
    assert len({data.fingerprint for data in prepared[:2]}) == 1
    assert [baselines_of(data)["copy_demonstration"] for data in prepared] == [True, True, True]


def test_an_arm_like_another_has_no_space_of_its_own(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    overrides = ["methods.wide={like: lora, method: {rank: 4}}", "tuning.space={wide: {train.lr: [1e-3, 1e-4]}}"]
    with pytest.raises(UserError, match="is like 'lora' and takes what is chosen for it") as caught:
        load_study(file, overrides)
    assert caught.value.where == "tuning.space.wide"


def test_definitions_of_tasks_that_a_study_does_not_have_are_refused(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    definitions = "{one: Say it., two: Or so.}"
    plan = plan_study(load_study(file, [f"run.prompt.definitions={definitions}", "joint=false"])[0])
    assert {run.tasks[0]: plan.settings(run)["prompt"]["definitions"] for run in plan.runs} == {
        "one": {"one": "Say it."},
        "two": {"two": "Or so."},
    }
    misspelt = "{definitions: {onne: Say it.}}"
    for setting in (f"run.prompt={misspelt}", f"methods.lora={{method: {{name: lora}}, prompt: {misspelt}}}"):
        with pytest.raises(UserError, match="names the unknown task 'onne'"):
            load_study(file, [setting])


@pytest.mark.parametrize("change", ["tasks=[one]", "joint=false"])
def test_another_tasks_definition_needs_another_task(change: str, where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    overrides = ["methods.other={like: lora, prompt: {definition: other}}", "grids={all: {methods: [lora, other]}}"]
    check_settings(plan_study(load_study(file, overrides)[0]))
    with pytest.raises(ConfigError, match="another task's definition, and each run has one task") as caught:
        check_settings(plan_study(load_study(file, [*overrides, change])[0]))
    assert caught.value.where == "methods.other.prompt.definition"


def test_a_control_shows_as_many_demonstrations_as_the_arm_it_is_compared_with(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml(small.plain(*where)), encoding="utf-8")
    overrides = [
        "run.prompt.demonstrations=1",
        "methods.swapped={like: lora, prompt: {demonstrations: 2, demonstration_outputs: swapped}}",
        "grids={all: {methods: [lora, swapped]}, asked: {settings: [zero-shot]}}",
        "claims.c={sentence: s, chain: [{base: tiny, method: lora}, {base: tiny, method: none, setting: zero-shot}]}",
        "claims.c.controls=[{base: tiny, method: swapped}]",
    ]
    plan = plan_study(load_study(file, overrides)[0])
    with pytest.raises(ConfigError, match="shows 2 demonstrations, and the claim's first arm 1") as caught:
        check_settings(plan)
    assert caught.value.where == "claims.c.controls.0"
    check_settings(plan_study(load_study(file, [*overrides, "run.prompt.demonstrations=2"])[0]))
