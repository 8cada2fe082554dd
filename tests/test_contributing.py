"""CONTRIBUTING.md names what is there, and its recipes for a metric and a method work as written."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests import rows
from tests.installed import install
from xeric.bases.base import Base
from xeric.bases.named import NAMED_BASES
from xeric.methods import METHODS, PARTS
from xeric.metrics import METRICS
from xeric.registry import Registry
from xeric.training.loss import Rows, step_loss
from xeric.training.weighting import WEIGHTINGS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Files that a recipe has its reader write.
WRITTEN = {
    "xeric/metrics/exact_match.py",
    "tests/metrics/test_exact_match.py",
    "xeric/methods/vectors.py",
    "xeric/bundled/studies/NAME.yaml",
}


BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)


def blocks(title: str, language: str) -> list[str]:
    return [textwrap.dedent(text) for _, kind, text in BLOCK.findall(section(title)) if kind == language]


def section(title: str) -> str:
    return re.split(r"^## ", TEXT, flags=re.MULTILINE)[[*re.findall(r"^## (.*)", TEXT, flags=re.MULTILINE)].index(title) + 1]


def follow(title: str, monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """Carry out the code of a recipe: make its module, and run its line of registration on an empty registry."""
    source, line = blocks(title, "python")
    (path,) = re.findall(r"Write `(xeric/\S+\.py)`", section(title))
    name = path.removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    # Known by its name before it runs: the annotations of its models are looked up there.
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(source, path, "exec"), module.__dict__)
    registry: Registry[Any] = Registry("thing")
    exec(line, {"METRICS": registry, "METHODS": registry})
    return registry


def test_the_recipe_for_a_metric_gives_the_metric_that_it_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = follow("Add a metric", monkeypatch)
    metric = registry.get("exact_match")()
    assert (metric.name, metric.title, metric.upper) == ("exact_match", "exact match", 100)
    references = [["Rain, again."], ["no", "The rain"], ["the rain"]]
    statistics = metric.statistics(["rain again", "the  rain", "the snow"], references, ["", "", ""], "en")
    assert metric.score(statistics) == pytest.approx(100 * 2 / 3)
    assert metric.per_example(statistics).tolist() == [100, 100, 0]
    assert str(statistics.signature).startswith("exact_match|tok:word_nfc|refs:var|norm:nfc")


def test_the_recipe_for_a_method_gives_a_method_that_keeps_the_contract(
    monkeypatch: pytest.MonkeyPatch, open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    method = follow("Add a method", monkeypatch).get("vectors")
    assert method.space(method.Options())["train.lr"].low < method.default_lr
    assert not method.seeded(method.Options())
    base = open_base("llama")
    task = rows.training_rows(base, rows.task("one"))

    def loss() -> float:
        with torch.no_grad():
            return step_loss(base, [Rows.of([task]).items], backward=False)[task.task]

    untouched = loss()
    adaptation = method.attach(base, method.Options(), seed=0)
    assert loss() == untouched
    assert {parameter.ndim for parameter in adaptation.trainable().values()} == {1}
    with torch.no_grad():
        for parameter in adaptation.trainable().values():
            parameter.mul_(1.5)
    changed = loss()
    assert changed != untouched
    adaptation.save(tmp_path)
    adaptation.detach()
    assert loss() == untouched
    again = method.attach(base, method.Options(), seed=1)
    again.load(tmp_path)
    assert loss() == changed
    again.detach()


def test_the_recipe_for_a_package_brings_what_the_other_recipes_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tomllib.loads(blocks("Bring it in a package of your own", "toml")[0])["project"]
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for module, recipe in (("exact_match", "Add a metric"), ("vectors", "Add a method")):
        (folder / f"{module}.py").write_text(blocks(recipe, "python")[0])
    install(tmp_path, package["name"], package["entry-points"])
    monkeypatch.syspath_prepend(tmp_path)
    for group, name, made in (("xeric.metrics", "exact_match", "ExactMatch"), ("xeric.methods", "vectors", "Vectors")):
        registry: Registry[Any] = Registry("thing", group)
        assert registry.names() == [name]
        assert registry.get(name).__name__ == made
        monkeypatch.delitem(sys.modules, f"my_package.{name}")
    groups = set(re.findall(r"^\| `(xeric\.\w+)` \|", section("Bring it in a package of your own"), flags=re.MULTILINE))
    assert groups == {registry.group for registry in (METRICS, METHODS, WEIGHTINGS, NAMED_BASES, PARTS)}


def test_every_path_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:xeric|tests|docs|bench|tools)/[\w./-]*)`", TEXT))
    named |= {target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target}
    assert len(named) > 30
    assert named >= WRITTEN
    for path in named - WRITTEN:
        assert (ROOT / path).exists(), path
    assert not [path for path in WRITTEN if (ROOT / path).exists()]


def test_the_tour_of_the_house_names_every_room_in_the_order_of_imports() -> None:
    rooms = [
        room.removesuffix(".py") for room in re.findall(r"^\| `xeric/([\w.]+?)/?`", section("The house"), flags=re.MULTILINE)
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["id"] == "layers")
    order = [layer.strip("()") for layer in layers]
    assert {path.parent.name for path in (ROOT / "xeric").glob("*/__init__.py")} <= set(rooms)
    assert rooms[:-1] == sorted(rooms[:-1], key=order.index)


def test_every_name_that_is_said_to_be_in_a_file_is_there() -> None:
    pairs = re.findall(r"`(\w+)` (?:in|of) `((?:xeric|tests)/[\w./]+\.py)`", TEXT)
    assert pairs
    for name, path in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


def test_every_target_of_make_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake (\w+)", TEXT))
    assert {"test", "check", "format", "docs"} <= targets
    for target in targets:
        assert f"\n{target}:" in makefile, target
