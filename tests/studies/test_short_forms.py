"""A file of bases and tasks alone is a study; methods and bases by their names; the long form stays what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xeric.config import digest
from xeric.errors import UserError
from xeric.studies.config import StudyConfig
from xeric.studies.plan import bundled_studies, load_study, plan_study, study_identity
from xeric.studies.short_forms import long_form, with_defaults
from xeric.yaml_io import dump_yaml, load_yaml


def study(tmp_path: Path, *overrides: str, **settings: Any) -> StudyConfig:
    path = tmp_path / "My tickets.yaml"
    path.write_text(dump_yaml({"bases": ["gemma-3-270m"], "tasks": ["email_subject_en"], **settings}), encoding="utf-8")
    return load_study(path, overrides)[0]


def arms(config: StudyConfig) -> list[str]:
    return [arm.label for arm in plan_study(config).arms]


def test_bases_and_tasks_alone_are_a_study(tmp_path: Path) -> None:
    config = study(tmp_path)
    assert (config.name, config.title, config.seeds, config.tuning) == ("my-tickets", "My tickets", (0, 1, 2), None)
    assert config.methods == {name: {"name": name} for name in ("full", "lora", "bottleneck", "prefix", "combined")}
    assert arms(config) == ["full", "lora", "bottleneck", "prefix", "combined", "few-shot", "zero-shot"]
    shown = {grid for entry in (*config.tables.values(), *config.figures.values()) for grid in entry.grids}
    assert shown == set(config.grids), "every arm is shown"
    assert {name: [link.method for link in claim.chain] for name, claim in config.claims.items()} == {
        "methods": ["combined", "full", "lora", "bottleneck"],
        "settings": ["lora", "none", "none"],
    }


def test_every_base_has_its_arms_and_claims(tmp_path: Path) -> None:
    config = study(tmp_path, bases=["gemma-3-270m", "smollm2-135m"], methods=["lora"])
    assert arms(config) == [f"{base}, {arm}" for base in config.bases for arm in ("lora", "few-shot", "zero-shot")]
    assert [claim.chain[0].base for claim in config.claims.values()] == ["gemma-3-270m", "smollm2-135m"]
    assert len(study(tmp_path, bases=["gemma-3-270m", "gemma-3-270m"]).bases) == 2


@pytest.mark.parametrize(
    ("written", "methods"),
    [
        ("lora", {"lora": {"name": "lora"}}),
        (["full", {"name": "lora", "rank": 4}], {"full": {"name": "full"}, "lora": {"name": "lora", "rank": 4}}),
        (["peft:dora"], {"peft-dora": {"name": "peft:dora"}}),
        ({"lora": {}, "full": None}, {"lora": {"name": "lora"}, "full": {"name": "full"}}),
        ({"lora": {"rank": 8}}, {"lora": {"name": "lora", "rank": 8}}),
        ({"ours": "combined"}, {"ours": {"name": "combined"}}),
        ({"lora": {"train": {"lr": 0.1}}}, {"lora": {"train": {"lr": 0.1}, "method": {"name": "lora"}}}),
        ({"lora": {}, "b": {"like": "lora"}}, {"lora": {"name": "lora"}, "b": {"like": "lora"}}),
        ({"a": {"method": {"name": "lora"}}}, {"a": {"method": {"name": "lora"}}}),
    ],
)
def test_methods_by_name(tmp_path: Path, written: Any, methods: dict[str, Any]) -> None:
    assert study(tmp_path, methods=written).methods == methods


@pytest.mark.parametrize(
    ("name", "label"),
    [("org/model-1B", "model-1B"), ("/bases/mine/", "mine"), ("~/a b.gguf", "a-b"), ("gemma-3-270m", "gemma-3-270m")],
)
def test_a_base_without_a_label_is_called_after_its_name(tmp_path: Path, name: str, label: str) -> None:
    assert list(study(tmp_path, bases=[name]).bases) == [label]
    assert list(study(tmp_path, bases=[{"name": name, "prompt": {"template": "chat"}}]).bases) == [label]


def test_overrides_reach_what_the_file_leaves_out(tmp_path: Path) -> None:
    assert study(tmp_path, "methods.lora.rank=4").methods["lora"] == {"name": "lora", "rank": 4}
    assert arms(study(tmp_path, "methods=[lora]", "tasks=summarization_en")) == ["lora", "few-shot", "zero-shot"]
    # A base by its name alone has no role that another could take.
    assert study(tmp_path, "bases=[smollm2-135m]").bases == {"smollm2-135m": "smollm2-135m"}
    config = study(tmp_path, "bases.big=null", bases={"big": "gemma-3-270m", "small": "smollm2-135m"})
    assert arms(config) == ["full", "lora", "bottleneck", "prefix", "combined", "few-shot", "zero-shot"]
    assert {link.base for claim in config.claims.values() for link in claim.chain} == {"small"}
    assert study(tmp_path, "bases=[smollm2-135m]", bases={"big": "gemma-3-270m"}).bases == {"big": "smollm2-135m"}


def test_own_grids_come_without_foreign_tables_and_claims(tmp_path: Path) -> None:
    config = study(tmp_path, methods=["lora"], grids={"g": {"settings": ["instruction"]}})
    assert (config.tables, config.figures, config.claims) == ({}, {}, {})
    assert study(tmp_path, claims={}).claims == {}, "what the file says is not added to"


def test_a_method_that_nobody_knows_is_refused_with_the_nearest(tmp_path: Path) -> None:
    from xeric.execution.opening import check_settings

    with pytest.raises(UserError, match="unknown method 'lroa'") as caught:
        check_settings(plan_study(study(tmp_path, methods=["lroa"])))
    assert "lora" in str(caught.value.hint)


@pytest.mark.parametrize("name", bundled_studies())
def test_the_long_form_stays_as_it_is(name: str) -> None:
    data = load_yaml(bundled_studies()[name])
    assert with_defaults(long_form(data), "other") == data
    config = load_study(name)[0]
    plain = config.model_dump(mode="json")
    assert with_defaults(long_form(plain), "other") == plain, "nor is what a study's folder holds changed"


# Computed before there were short forms. They change with the bundled files, or where RESULT_VERSION is raised: then a running
# study cannot be gone on with, which is what this test is to make one think of. The last of each is that of the whole file with
# its defaults, and decides nothing.
_IDENTITIES = {
    "beyond": ("20ace41e0a486cd1", "d8b4ec48d38976d7", "90ada64d4dd0cecb"),
    "demo": ("850c085e3fe085c8", "f9c777b8842d3e5e", "c6628cd8e10c1389"),
    "paper": ("9cbd15ea7223b61d", "bf2428f3503bfd70", "2367d1d5ce58ce6e"),
    "sample_size": ("a714bba96636038b", "6b0311476b2040a2", "632008806e903829"),
}


@pytest.mark.parametrize("name", bundled_studies())
def test_the_identity_of_a_bundled_study_and_its_arms(name: str) -> None:
    config = load_study(name)[0]
    arm_ids = [arm.id for arm in plan_study(config).arms]
    assert (study_identity(config, {}), digest(arm_ids)[:16], digest(config)[:16]) == _IDENTITIES[name]
