"""Every mistake of a study file at once, with its line and an example that is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xeric.errors import DataError
from xeric.execution.checking import check_file
from xeric.execution.examples import example_of
from xeric.studies.plan import bundled_studies, load_study
from xeric.yaml_io import dump_yaml, load_yaml, parse_yaml

_FILE = """\
name: My Study
bases: {gemma: gema-3-270m, small: [1]}
tasks:
  - summarization_en
  - sumarization_es
run:
  data: {max_test: -4}
  train:
    max_step: 3
    lr: fast
  metrics: [chrf, rouge]
methods:
  lora: {rank: 0}
  prefx: {}
  changed: {like: lra}
  other: {method: {name: bottleneck, sice: 3}, trian: {}}
grids:
  g: {methods: [lora, lroa], settings: [instruction, few-shots]}
  h: {setings: [instruction]}
tables:
  t: {title: T, grids: [g, x], metrics: [chr]}
claims:
  c: {sentence: S, chain: [{base: gemma, method: lora}, {base: gemma, method: full}]}
stage: {method: {name: lora, alfa: 1}, epochs: 3}
seeds: [0, 0, one]
tuning: {trial: 3, space: {lroa: {}}}
wrong-key: 1
"""


def mistakes(tmp_path: Path, text: str, *overrides: str) -> dict[str, int | None]:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return {str(mistake.where): mistake.line for mistake in check_file(path, overrides).mistakes}


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    assert mistakes(tmp_path, _FILE) == {
        "name": 1,
        "bases.gemma": 2,
        "bases.small": 2,
        "tasks.1": 5,
        "run.data.max_test": 7,
        "run.train.max_step": 9,
        "run.train.lr": 10,
        "run.metrics": 11,
        "methods.lora.rank": 13,
        "methods.prefx.name": 14,
        "methods.changed.like": 15,
        "methods.other.method.sice": 16,
        "methods.other.trian": 16,
        "grids.g.methods": 18,
        "grids.g.settings.1": 18,
        "grids.h.setings": 19,
        "tables.t.grids": 21,
        "tables.t.metrics": 21,
        "claims.c.chain.1.method": 23,
        "stage.method.alfa": 24,
        "stage.epochs": 24,
        "seeds": 25,
        "seeds.2": 25,
        "tuning.trial": 26,
        "tuning.space": 26,
        "wrong-key": 27,
    }


def test_a_file_without_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("bases: [gemma-3-270m]\ntasks: [summarization_en]\n", encoding="utf-8")
    checked = check_file(path)
    assert (checked.mistakes, checked.arms, checked.runs) == ((), 7, 17)


def test_what_is_missing_is_a_mistake_and_nothing_follows_from_it(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "{}") == {"bases": None, "tasks": None}
    assert mistakes(tmp_path, "bases: {}\ntasks: []\nmethods: {}\ngrids: {}\n") == {
        "bases": 1,
        "tasks": 2,
        "methods": 3,
        "grids": 4,
    }
    # The grid is at fault, not the claim about an arm that it would have had.
    text = (
        "bases: {b: gemma-3-270m}\ntasks: [summarization_en]\nmethods: [lora]\ngrids: {g: {settings: [few-shots]}}\n"
        "claims: {c: {sentence: S, chain: [{base: b, method: lora}, {base: b, method: none, setting: few-shot}]}}\n"
    )
    assert mistakes(tmp_path, text) == {"grids.g.settings.0": 4}


def test_trained_arms_without_demonstrations_are_no_mistake(tmp_path: Path) -> None:
    text = "bases: [gemma-3-270m]\ntasks: [summarization_en]\nrun:\n  prompt: {demonstrations: 0}\n"
    assert mistakes(tmp_path, text) == {}, "few-shot arms have their own number"


def test_overrides_have_no_line(tmp_path: Path) -> None:
    text = "bases: [gemma-3-270m]\ntasks: [summarization_en]\nseeds: [x]\n"
    assert mistakes(tmp_path, text, "run.train.max_step=3", "nonsense", "keep=some") == {
        "seeds.0": 3,
        "run.train.max_step": None,
        "None": None,
        "keep": None,
    }


def test_a_file_that_is_not_yaml_is_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: not valid YAML"):
        mistakes(tmp_path, "bases: [a]\ntasks: [b\nmethods: [c]\n")


@pytest.mark.parametrize("name", ["demo"])
def test_a_bundled_study_has_no_mistakes(name: str) -> None:
    assert check_file(name).mistakes == ()


@pytest.mark.parametrize("value", [None, True, -1, 3.5, "x", [], [[]], [None], {}, {"a": 1}, ["a", 1], {"like": "lora"}])
def test_no_value_anywhere_breaks_the_check(value: Any, tmp_path: Path) -> None:
    """Whatever stands in the place of a part of a study, its check says what is wrong."""
    data = load_yaml(bundled_studies()["demo"])
    for key in ("name", "bases", "tasks", "run", "seeds", "methods", "grids", "tables", "figures", "claims", "tuning", "stage"):
        path = tmp_path / "mine.yaml"
        path.write_text(dump_yaml({**data, key: value}), encoding="utf-8")
        for mistake in check_file(path).mistakes:
            assert mistake.what
            assert mistake.where is None or mistake.line is not None or key == "bases"


_PATHS = [
    "name",
    "title",
    "bases",
    "bases.b",
    "bases.b.name",
    "bases.b.prompt",
    "bases.b.prompt.template",
    "tasks",
    "tasks.0",
    "tasks_dirs",
    "sources",
    "methods",
    "methods.lora",
    "methods.lora.rank",
    "methods.lora.name",
    "methods.lora.alhpa",
    "joint",
    "run",
    "run.data",
    "run.data.max_test",
    "run.train.lr",
    "run.train.max_steps",
    "run.train",
    "run.decode.beams",
    "run.metrics",
    "run.seeds.order",
    "stage",
    "stage.method",
    "stage.train.epochs",
    "seeds",
    "seeds.0",
    "grids",
    "grids.g",
    "grids.g.settings",
    "grids.g.methods",
    "grids.g.n_train.0",
    "tuning",
    "tuning.trials",
    "keep",
    "tables",
    "tables.t",
    "tables.t.grids",
    "tables.t.by",
    "figures",
    "figures.f",
    "figures.f.kind",
    "claims",
    "claims.c",
    "claims.c.chain",
    "claims.c.metrics",
    "claims.c.kind",
    "claims.c.margin",
    "baselines",
    "margin",
    "paraphrases",
]


_RIGHT = """
bases: {b: {name: gemma-3-270m}}
tasks: [summarization_en]
methods: {lora: {name: lora, rank: 3}, full: {name: full}}
grids: {g: {}, rest: {}}
tables: {t: {title: T, grids: [g]}}
figures: {f: {title: F, grids: [g]}}
claims: {c: {sentence: S, chain: [{base: b, method: lora}, {base: b, method: full}]}}
"""


@pytest.mark.parametrize("path", _PATHS)
def test_an_example_is_right(path: str, tmp_path: Path) -> None:
    """Written into the place that is complained of, an example leaves a file without mistakes."""
    data = parse_yaml(_RIGHT, "mine.yaml")
    example = example_of(path, data)
    assert example is not None
    node, parents = data, [key for key in path.split(".")[:-1] if path.rpartition(".")[2] != "0"]
    for key in parents or path.split(".")[:-2]:
        node = node.setdefault(key, {})
    node |= parse_yaml(example, path)
    # What other parts of the file have to say of a part that is replaced whole is not about the example.
    for group in {"bases": ("claims",), "methods": ("claims",), "grids": ("tables", "figures", "claims")}.get(path, ()):
        del data[group]
    file = tmp_path / "mine.yaml"
    file.write_text(dump_yaml(data), encoding="utf-8")
    unknown_names = {"sources.0": "another_task", "tasks_dirs": "folder/of/tasks"}
    wrong = [mistake for mistake in check_file(file).mistakes if unknown_names.get(str(mistake.where), "-") not in mistake.what]
    assert wrong == [], example


def test_an_example_goes_by_the_labels_of_the_study() -> None:
    config = load_study("demo")[0].model_dump(mode="json")
    assert example_of("claims.methods.chain.1.method", config) == "method: full"
    assert example_of("tables.table1.grids", config) == "grids: [base]"
    assert example_of("methods.lora.rnk", config) == "rank: 16"
