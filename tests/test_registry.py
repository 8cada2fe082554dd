"""The registry: one line adds a thing, nothing is imported before it is asked for, a wrong name never returns None."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from xeric.errors import UnknownNameError
from xeric.registry import Entry, Registry


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that leaves a trace when it is imported."""
    name = "registered_thing_for_tests"
    (tmp_path / f"{name}.py").write_text("class Thing:\n    size = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_thing_is_imported_when_it_is_asked_for_and_not_before(module: str) -> None:
    registry: Registry[type] = Registry("thing")
    registry.register("one", f"{module}:Thing", "a thing")
    registry.check("one")
    assert "one" in registry
    assert registry.names() == ["one"]
    assert list(registry) == [Entry("one", f"{module}:Thing", "a thing")]
    assert module not in sys.modules
    assert registry.get("one").size == 3  # type: ignore[attr-defined]
    assert module in sys.modules


def test_names_keep_the_order_in_which_they_were_registered() -> None:
    registry: Registry[object] = Registry("thing")
    for name in ("z", "a", "m"):
        registry.register(name, f"json:{name}", "")
    assert registry.names() == ["z", "a", "m"]
    assert [entry.name for entry in registry] == ["z", "a", "m"]
    assert len(registry) == 3


def test_a_name_is_taken_once() -> None:
    registry: Registry[object] = Registry("metric")
    registry.register("bleu", "json:loads", "first")
    with pytest.raises(ValueError, match=r"metric 'bleu' is registered twice: json:loads and json:dumps"):
        registry.register("bleu", "json:dumps", "second")
    assert registry.get("bleu") is __import__("json").loads


@pytest.mark.parametrize("target", ["json", "json:", ":loads", "", "json.loads"])
def test_a_target_says_module_and_attribute(target: str) -> None:
    registry: Registry[object] = Registry("metric")
    with pytest.raises(ValueError, match="module:attribute"):
        registry.register("bleu", target, "")
    assert "bleu" not in registry


@pytest.mark.parametrize("ask", ["get", "check"])
def test_an_unknown_name_is_refused_with_the_nearest(ask: str) -> None:
    registry: Registry[object] = Registry("method")
    registry.register("bottleneck", "json:loads", "")
    with pytest.raises(UnknownNameError) as caught:
        getattr(registry, ask)("botleneck")
    assert str(caught.value) == "unknown method 'botleneck'"
    assert caught.value.hint == "did you mean 'bottleneck'?"


def test_an_empty_registry_says_that_it_is_empty() -> None:
    with pytest.raises(UnknownNameError) as caught:
        Registry[object]("base").get("any")
    assert caught.value.hint == "there is no base here at all"
