"""Tuning: the same number of trials for every method, covering the space, on dev alone, with a seed of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import made_study as made
from tests import small_study as small
from xeric.analysis.results import TuningResult
from xeric.errors import UserError
from xeric.execution.run_study import run_study
from xeric.execution.trials import _dev_score, trial_settings, tuned_pairs
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.search_space import Range
from xeric.studies.config import ArmKey, TuningConfig
from xeric.studies.entries import MethodEntry
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import arm_settings, plan_study, with_chosen
from xeric.studies.tuning import Trial, choose, draw_trials, space_of
from xeric.yaml_io import load_yaml

TUNING = TuningConfig(trials=5)


def trial(score: float | None, **settings: float) -> Trial:
    return Trial(settings=settings, status="ok" if score is not None else "diverged", score=score, cost={"seconds": 1.5})


def test_every_method_of_a_study_gets_the_same_number_of_trials(undisturbed: Path) -> None:
    results = {path.parent.name: json.loads(path.read_text()) for path in undisturbed.glob("tuning/*/tuning.json")}
    assert set(results) == {"tiny-lora", "tiny-full"}
    for name, result in results.items():
        parsed = TuningResult.model_validate_json(json.dumps(result))
        assert len(parsed.trials) == len(parsed.best) == 2
        places = sorted((undisturbed / "tuning" / name).glob("trial-*"))
        assert len(places) == 2
        scores = []
        for folder in places:
            assert not (folder / "predictions.jsonl").exists(), "a trial never touches the test set"
            assert not (folder / "adapter").exists()
            config = load_yaml(folder / "config.yaml")
            assert (config["seed"], config["predict"]) == (1000, ["dev"])
            rows = read_predictions(folder / "dev_predictions.jsonl")
            scores.append(score_predictions(rows, ["chrf"], resamples=0).scores["chrf"].score)
        assert [trial["score"] for trial in parsed.trials] == pytest.approx(scores)
        assert parsed.best == pytest.approx((scores[0], max(scores)))
        assert parsed.chosen == parsed.trials[scores.index(max(scores))]["settings"]
        assert parsed.seconds > 0


def test_cells_are_run_with_what_was_chosen_and_say_so(undisturbed: Path) -> None:
    chosen = json.loads((undisturbed / "tuning" / "tiny-full" / "tuning.json").read_text())["chosen"]
    runs = json.loads((undisturbed / "runs.json").read_text())
    tuned = [run for run in runs if run["arm"]["key"]["method"] == "full"]
    assert tuned
    for run in tuned:
        assert run["settings"] == chosen
        assert load_yaml(undisturbed / "runs" / run["id"] / "config.yaml")["train"]["lr"] == chosen["train.lr"]
    assert all(run["settings"] == {} for run in runs if run["arm"]["key"]["method"] == "none")


def test_the_first_trial_is_the_documented_default(tasks: Path, base: Path) -> None:
    study = small.study(tasks, base, "methods.lora={name: lora}", "tuning={trials: 3}")
    for key in tuned_pairs(plan_study(study)):
        assert study.tuning is not None
        drawn = trial_settings(study, key, study.tuning)
        assert len(drawn) == 3
        assert drawn[0]["train.lr"] == METHODS.get(key.method).default_lr
    assert trial_settings(study, ArmKey(base="tiny", method="lora"), TUNING)[0]["method.rank"] == 16


def test_draws_cover_the_space_and_depend_on_it_and_the_seed_alone() -> None:
    space = {"train.lr": Range(low=1e-5, high=1e-1), "method.rank": (1, 2, 3, 4)}
    default = {"train.lr": 3e-3, "method.rank": 2}
    drawn = draw_trials(space, default, trials=5, seed=7)
    assert drawn[0] == default
    decades = sorted(int(f"{draw['train.lr']:e}".partition("e")[2]) for draw in drawn[1:])
    assert decades == [-5, -4, -3, -2], "one draw in each of the four decades"
    assert sorted(draw["method.rank"] for draw in drawn[1:]) == [1, 2, 3, 4]
    assert draw_trials(dict(reversed(space.items())), default, trials=5, seed=7) == drawn
    assert draw_trials(space, default, trials=5, seed=8) != drawn
    assert draw_trials(space, default, trials=1, seed=7) == [default]


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name != "none"])
def test_the_published_space_fits_the_method(method: str, tasks: Path, base: Path) -> None:
    space = METHODS.get(method).space(method_options(method))
    study = small.study(tasks, base, f"methods={{m: {{name: {method}}}}}", "grids={g: {}}", "tuning={trials: 2}")
    (key,) = tuned_pairs(plan_study(study))
    drawn = trial_settings(study, key, TUNING)
    assert {tuple(sorted(draw)) for draw in drawn} == {tuple(sorted(space))}
    rates = space["train.lr"]
    assert isinstance(rates, Range)
    assert rates.low < METHODS.get(method).default_lr < rates.high


def test_the_combined_method_tries_what_its_parts_try() -> None:
    combined, lora, prefix = (METHODS.get(name).space(method_options(name)) for name in ("combined", "lora", "prefix"))
    assert combined == {
        "train.lr": lora["train.lr"],
        "method.lora.rank": lora["method.rank"],
        "method.prefix.length": prefix["method.length"],
    }


def test_what_the_study_fixes_is_not_tuned() -> None:
    def paths(entry: MethodEntry, **space: object) -> set[str]:
        published = METHODS.get(entry.method["name"]).space(method_options(entry.method))
        return set(space_of("m", entry, TuningConfig(space={"m": space} if space else {}), published))

    assert paths(MethodEntry(method={"name": "lora"})) == {"train.lr", "method.rank"}
    assert paths(MethodEntry(method={"name": "lora", "rank": 4})) == {"train.lr"}
    assert paths(MethodEntry(method={"name": "lora"}, train={"lr": 1e-3})) == {"method.rank"}
    assert paths(MethodEntry(method={"name": "combined", "lora": False})) == {"train.lr", "method.prefix.length"}
    assert paths(MethodEntry(method={"name": "lora", "rank": 4}), **{"method.rank": [4, 8]}) == {"method.rank"}


def test_a_method_without_a_space_of_its_own_is_tried_around_its_rate() -> None:
    rates = METHODS.get("peft:ia3").space(method_options("peft:ia3"))
    assert rates == {"train.lr": Range(low=METHODS.get("peft:ia3").default_lr / 10, high=METHODS.get("peft:ia3").default_lr * 10)}


def test_an_ablation_takes_over_what_was_chosen_for_the_whole(tasks: Path, base: Path) -> None:
    study = small.study(
        tasks, base, "methods={whole: {name: combined}, part: {like: whole, method: {prefix: false}}}", "grids={g: {}}"
    )
    assert [key.method for key in tuned_pairs(plan_study(study))] == ["whole"]
    chosen = {"train.lr": 1e-3, "method.lora.rank": 8, "method.prefix.length": 32}
    settings = with_chosen(arm_settings(study, ArmKey(base="tiny", method="part"), ("one",)), chosen)
    assert settings["method"] == {"name": "combined", "prefix": False, "lora": {"rank": 8}}
    assert settings["train"]["lr"] == 1e-3


@pytest.mark.parametrize("order", [["base", "stage-1"], ["stage-1", "base"]])
def test_trials_start_from_the_base_itself_where_an_arm_does(order: list[str], tasks: Path, base: Path) -> None:
    grids = ", ".join(f"g{start}: {{starts: [{start}], methods: [full]}}" for start in order)
    study = small.study(tasks, base, "sources=[other]", f"grids={{{grids}, alone: {{starts: [stage-1], methods: [lora]}}}}")
    assert {key.method: key.start for key in tuned_pairs(plan_study(study))} == {"full": "base", "lora": "stage-1"}


def test_trials_of_another_start_are_others(tmp_path: Path) -> None:
    """A grid that is added later changes where trials start: those that were done before are no part of the choice."""
    of_base, of_stage = (
        StudyFolder(tmp_path).tuning(ArmKey(base="tiny", method="full", start=start)) for start in ("base", "stage-1")
    )
    assert of_base.name == "tiny-full"
    assert of_stage != of_base
    assert of_stage.parent == of_base.parent


def test_the_best_trial_is_chosen_the_earlier_of_two_alike() -> None:
    trials = [trial(None, lr=1.0), trial(3.0, lr=2.0), trial(5.0, lr=3.0), trial(5.0, lr=4.0), trial(4.0, lr=5.0)]
    choice = choose("m", "b", trials)
    assert choice is not None
    assert choice.best == (None, 3.0, 5.0, 5.0, 5.0)
    assert choice.chosen == {"lr": 3.0}
    assert choice.seconds == 7.5
    assert choose("m", "b", trials[:1]) is None


def test_one_method_under_two_names_gets_the_same_trials(tasks: Path, base: Path) -> None:
    study = small.study(tasks, base, "methods={one: {name: lora}, two: {name: lora}}", "grids={g: {}}")
    assert study.tuning is not None
    first, second = (trial_settings(study, key, study.tuning) for key in tuned_pairs(plan_study(study)))
    assert first == second


def test_a_trial_is_scored_on_the_tasks_that_have_a_dev_set(tmp_path: Path) -> None:
    root = made.write_study(tmp_path / "s", made.small(joint=False))
    folders = sorted(root.glob("runs/multi-lora-s0-*"))
    (folders[0] / "dev_predictions.jsonl").write_bytes(b"")
    assert len(folders) == 3
    assert _dev_score(folders) == pytest.approx(_dev_score(folders[1:]))


def test_tuning_needs_a_dev_set(tasks: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dev set") as caught:
        run_study(small.study(tasks, base, "run.data.n_train=20"), tmp_path / "out")
    assert caught.value.where == "tuning"
    assert not (tmp_path / "out").exists()
