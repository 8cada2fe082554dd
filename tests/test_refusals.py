"""What a user reads where a setting is refused: plain words for every model and value, and every mistake."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import regex
from pydantic import Field

from tests.test_ranges import _models
from xeric.config import Config, build
from xeric.errors import ConfigError, UserError
from xeric.refusals import NAME_PATTERN, expectation
from xeric.run.config import RunConfig
from xeric.studies.config import StudyConfig

# The words of the validator's own messages, none of which a user should have to read.
_VALIDATORS_WORDS = regex.compile(
    r"[Ii]nput should|after validation|valid (?:string|integer|number|boolean|dictionary|tuple|list)|[Dd]ictionary|\btuple\b|"
    r"\binstance of\b|[Ee]xtra inputs|[Ff]ield required|[Vv]alue error|\bpydantic\b|another value|\bstring\b|\bJSON\b"
)
_WRONG: tuple[Any, ...] = (
    *(None, True, -(10**30), 10**400, 3.7, float("nan"), float("inf"), "", "no such value", "\ud800", "x" * 300),
    *([], [[]], [None], [{}], ["x", 1], {}, {"no-such-key": 1}, {"a": {"b": []}}, [["a", "b"], ["c"]]),
)


@pytest.mark.parametrize("model", _models(), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_no_model_refuses_in_the_words_of_the_validator(model: type[Config]) -> None:
    complaints = [complaint for name in model.model_fields for value in _WRONG for complaint in _complaints(model, name, value)]
    assert complaints
    assert [complaint for complaint in complaints if _VALIDATORS_WORDS.search(complaint)] == []


def _complaints(model: type[Config], name: str, value: Any) -> list[str]:
    try:
        build(model, {name: value})
    except ConfigError as error:
        return [each.what for each in (error, *error.others)]
    except UserError as error:
        return [error.what]
    return [""]


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        ({"methods": {}}, "methods", "expected at least 1 entry, found {}"),
        ({"tasks": []}, "tasks", "expected at least 1 entry, found []"),
        ({"grids": []}, "grids", "expected a group of settings, found []"),
        (
            {"name": "My Study"},
            "name",
            "expected small letters, digits, '-' and '_', beginning with a letter or digit, found 'My Study'",
        ),
        ({"margin": -1}, "margin", "expected a number from 0 to 100, found -1"),
        ({"keep": "some"}, "keep", "expected 'none', 'adapter' or 'all', found 'some'"),
    ],
)
def test_what_a_study_is_refused_for(data: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(StudyConfig, data)
    assert (caught.value.where, caught.value.what) == (where, what)


def test_a_complaint_that_nobody_foresaw_still_has_no_words_of_the_validator() -> None:
    assert expectation({"type": "date_from_datetime_inexact", "msg": "Datetimes provided to dates should have zero time"}) == (
        "another value"
    )
    assert expectation({"type": "multiple_of", "msg": "...", "ctx": {"multiple_of": 4}}) == "a multiple of 4"


class _Inner(Config):
    name: str
    size: int = Field(default=1, ge=1, le=9)
    kind: Literal["a", "b"] = "a"


class _Outer(Config):
    title: str
    entries: dict[str, str | _Inner]
    rates: tuple[float, ...] = ()


def test_every_mistake_is_there_each_value_once() -> None:
    data = {
        "titel": "T",
        "entries": {"one": 3, "two": {"name": "n", "size": 12, "kind": "c", "sice": 1}, "three": {"size": 2}},
        "rates": [1.0, "x", None],
    }
    with pytest.raises(ConfigError) as caught:
        build(_Outer, data)
    assert {each.where: each.what for each in (caught.value, *caught.value.others)} == {
        # The title is misspelt, not missing.
        "titel": "unknown setting",
        "entries.one": "expected text or a group of settings, found 3",
        "entries.two.size": "expected a whole number from 1 to 9, found 12",
        "entries.two.kind": "expected 'a' or 'b', found 'c'",
        "entries.two.sice": "unknown setting",
        "entries.three.name": "this setting is required",
        "rates.1": "expected a number, found 'x'",
        "rates.2": "expected a number, found None",
    }
    assert caught.value.where != "entries.three.name", "what is missing is said last"


def test_settings_of_a_run_name_all_their_mistakes() -> None:
    with pytest.raises(ConfigError) as caught:
        build(RunConfig, {"tasks": [], "base": 3, "method": "lora", "train": {"max_step": 3, "lr": "1e-4"}})
    assert {each.where for each in (caught.value, *caught.value.others)} == {"tasks", "base", "train.max_step", "train.lr"}


def test_the_form_of_a_name_is_told_in_words() -> None:
    assert regex.match(NAME_PATTERN, "my-study_2")
    assert "small letters" in str(expectation({"type": "string_pattern_mismatch", "ctx": {"pattern": NAME_PATTERN}}))
