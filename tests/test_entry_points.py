"""A package of somebody else's brings metrics, methods, weightings, bases and parts; all that knows Xeric's own knows these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import small_study, tiny
from tests.installed import install
from xeric.errors import UnknownNameError, UserError
from xeric.registry import Entry, Registry

ROOT = Path(__file__).parents[1]

MODULE = '''
"""What a package could bring: exact matches, a LoRA of rank 2, weights of tasks by the square of their rows, a base, a part."""

from typing import Literal

from xeric.bases.named import SMOLLM2_135M as base
from xeric.methods.bottleneck import Bottleneck
from xeric.methods.lora import Lora, LoraOptions
from xeric.metrics.base import MeanMetric
from xeric.training.weighting import Weighting


class Equal(MeanMetric):
    title = "exact match"
    quality = True

    def __init__(self, **options):
        super().__init__(**options)
        self.name = "equal"

    def _count(self, batch):
        for prediction, references in zip(batch.predictions, batch.references):
            yield float(prediction in references), 1.0

    def _choices(self, batch):
        return {"refs": batch.reference_count}


class SmallLoraOptions(LoraOptions):
    name: Literal["small_lora"] = "small_lora"
    rank: int = 2


class SmallLora(Lora):
    Options = SmallLoraOptions


class Squared(Weighting):
    def raw(self):
        return {task: size**2 for task, size in self.sizes.items()}
'''
ENTRY_POINTS = {
    "xeric.metrics": {"equal": "acme_xeric:Equal"},
    "xeric.methods": {"small_lora": "acme_xeric:SmallLora"},
    "xeric.weightings": {"squared": "acme_xeric:Squared"},
    "xeric.bases": {"acme-base": "acme_xeric:base"},
    "xeric.parts": {"bottleneck": "acme_xeric:Bottleneck"},
}


def commands(packages: Path, *calls: Sequence[str | Path]) -> list[tuple[int, str, str]]:
    """Run commands of Xeric in one process that finds the packages; return exit code and what was said of each."""
    code = """
import contextlib, io, json, sys
from xeric.cli import run
done = []
for call in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(call)
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""
    paths = os.pathsep.join([str(ROOT), str(packages)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    asked = json.dumps([[str(word) for word in call] for call in calls])
    ran = subprocess.run(
        [sys.executable, "-c", code, asked], env=environment, capture_output=True, encoding="utf-8", check=False, cwd=packages
    )
    assert ran.returncode == 0, ran.stderr
    return [tuple(outcome) for outcome in json.loads(ran.stdout.splitlines()[-1])]


def test_what_a_package_brings_is_listed_trained_with_and_scored_with(tmp_path: Path, base_folder: Callable[[str], Path]) -> None:
    packages = install(tmp_path / "packages", "acme-xeric", ENTRY_POINTS, acme_xeric=MODULE)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name in ("one", "two"):
        tiny.write_task(tasks, name, instances=40)
    quick = [
        *("--tasks-dir", tasks, "--base", base_folder("llama"), "--n-train", "10", "--json", "prompt.demonstrations=1"),
        *("train.max_steps=2", "decode.max_new_tokens=4", "metrics=[chrf, equal]", "train.weighting.name=squared"),
    ]
    parts = ["method.lora=false", "method.embedding=false", "method.bottleneck={size: 4}"]
    done = commands(
        packages,
        *([*what, "--json"] for what in (["list", "metrics"], ["list", "methods"], ["list", "weightings"], ["bases", "list"])),
        ["train", "one", "two", *quick, "--method", "small_lora", "-o", tmp_path / "small"],
        ["train", "one", *quick, "--method", "combined", *parts, "-o", tmp_path / "combined"],
        ["score", tmp_path / "small" / "predictions.jsonl", "--json"],
        ["score", tmp_path / "small" / "predictions.jsonl", "--against", tmp_path / "small" / "predictions.jsonl", "--json"],
    )
    assert [code for code, _, _ in done] == [0] * len(done), done
    outputs: list[Any] = [json.loads(out) for _, out, _ in done]
    for rows, name in zip(outputs, ("equal", "small_lora", "squared", "acme-base"), strict=False):
        assert name in [row["name"] for row in rows]
    assert {"name": "equal", "summary": "from the package acme-xeric 1.2"} in outputs[0]
    assert outputs[4]["scores"]["equal"]["signature"].startswith("equal|refs:")
    assert "rank: 2" in (tmp_path / "small" / "config.yaml").read_text()
    assert "size: 4" in (tmp_path / "combined" / "config.yaml").read_text()
    assert (tmp_path / "combined" / "adapter" / "bottleneck").is_dir()
    log = json.loads((tmp_path / "small" / "log.jsonl").read_text().splitlines()[0])
    assert sum(log["lambda"].values()) == pytest.approx(2)
    assert outputs[6]["equal"]["score"] == outputs[4]["scores"]["equal"]["score"]
    assert "p" in outputs[7]["equal"]["against"], "it says that systems are compared on it"


def test_a_study_knows_what_a_package_brings(tmp_path: Path, base_folder: Callable[[str], Path]) -> None:
    packages = install(tmp_path / "packages", "acme-xeric", ENTRY_POINTS, acme_xeric=MODULE)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name in ("one", "two"):
        tiny.write_task(tasks, name, instances=70)
    study = small_study.plain(tasks, base_folder("llama"), "methods={small: {name: small_lora}}", "seeds=[0]", "grids={all: {}}")
    study["run"]["metrics"] = ["chrf", "equal"]
    claim = [{"base": "tiny", "method": "small"}, {"base": "tiny", "method": "none", "setting": "zero-shot"}]
    study["grids"]["plain"] = {"methods": ["small"], "settings": ["zero-shot"]}
    study["claims"] = {"more": {"sentence": "training > none", "chain": claim, "metrics": ["equal"]}}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    done = commands(packages, ["study", "run", tmp_path / "study.yaml", "-o", tmp_path / "out"], ["report", tmp_path / "out"])
    assert [code for code, _, _ in done] == [0, 0], done
    tuned = json.loads(next((tmp_path / "out").glob("tuning/*/tuning.json")).read_text())
    assert set(tuned["trials"][0]["settings"]) == {"train.lr", "method.rank"}, "its own search space"
    assert tuned["trials"][0]["settings"]["method.rank"] == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "exact match" in page, "the title that the metric says it has"


def test_a_package_that_cannot_be_imported_is_named_in_one_sentence(tmp_path: Path) -> None:
    points = {"xeric.metrics": {"broken": "acme_broken:Metric", "nothing": "acme_empty:Metric"}}
    packages = install(tmp_path / "packages", "acme-broken", points, acme_broken="import no_such_module\n", acme_empty="")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prediction": "a", "references": ["a"]}\n')
    listed, imported, scored = commands(
        packages, ["list", "metrics"], *(["score", rows, "--language", "en", "--metric", name] for name in ("broken", "nothing"))
    )
    assert listed[0] == 0, "listing imports nothing"
    assert "broken" in listed[1]
    for (code, _, complaint), name, why in (
        (imported, "broken", "ModuleNotFoundError: No module named 'no_such_module'"),
        (scored, "nothing", "AttributeError: module 'acme_empty' has no attribute 'Metric'"),
    ):
        assert code == 2
        assert f"the metric '{name}' of the package acme-broken 1.2 cannot be imported: {why}" in " ".join(complaint.split())
        assert "Traceback" not in complaint


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def registry() -> Registry[Any]:
    made: Registry[Any] = Registry("thing", "acme.things")
    made.register("own", "json:loads", "Xeric's own")
    return made


def test_packages_come_behind_what_is_registered_and_are_imported_when_asked_for(packages: Path) -> None:
    install(packages, "acme-things", {"acme.things": {"b": "acme_things:Holder.inner", "a": "json:dumps"}})
    (packages / "acme_things.py").write_text("class Holder:\n    inner = 3\n")
    names = registry()
    assert names.names() == ["own", "a", "b"]
    assert len(names) == 3
    assert "b" in names
    assert list(names)[1] == Entry("a", "json:dumps", "from the package acme-things 1.2", "acme-things 1.2")
    assert "acme_things" not in sys.modules
    assert names.get("b") == 3
    assert names.get("a") is json.dumps
    with pytest.raises(UnknownNameError) as refused:
        names.get("bb")
    assert refused.value.known == ["a", "b", "own"]
    other: Registry[Any] = Registry("thing")
    assert other.names() == [], "a registry without a group takes nothing in"


def test_a_name_that_is_taken_is_refused_with_both_that_have_it(packages: Path) -> None:
    install(packages, "acme-things", {"acme.things": {"own": "acme_things:Own"}})
    with pytest.raises(UserError) as refused:
        registry().names()
    assert str(refused.value) == "the thing 'own' is there twice: json:loads of Xeric, and acme_things:Own of acme-things 1.2"
    assert refused.value.hint == "uninstall acme-things 1.2"


def test_two_packages_with_one_name_are_refused(packages: Path) -> None:
    install(packages, "acme-things", {"acme.things": {"new": "acme_things:New"}})
    install(packages, "other-things", {"acme.things": {"new": "other_things:New"}})
    with pytest.raises(UserError) as refused:
        registry().check("own")
    what = "the thing 'new' is there twice: acme_things:New of acme-things 1.2, and other_things:New of other-things 1.2"
    assert str(refused.value) == what
    assert refused.value.hint == "uninstall one of the two packages"
