"""Settings: YAML without its surprises, dotted overrides, errors at the user's own path, one text for one setting."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from xeric.config import Config, Name, apply_overrides, build, canonical_json, digest
from xeric.encodings import nfc
from xeric.errors import ConfigError
from xeric.yaml_io import dump_yaml, parse_yaml


class Lora(Config):
    name: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)


class Bottleneck(Config):
    name: Literal["bottleneck"] = "bottleneck"
    size: int = 8


class Stage(Config):
    tasks: tuple[str, ...] = ()
    lr: float = 1e-4


class Train(Config):
    lr: float | None = 1e-4
    warmup: int | Literal["auto"] = "auto"
    steps: int = Field(default=10, ge=1)
    early_stop: bool = False


class Settings(Config):
    task: str = "t"
    train: Train = Train()
    stages: tuple[Stage, ...] = ()
    by_name: dict[str, Stage] = {}
    weights: dict[str, float] = {}
    method: Lora | Bottleneck = Lora()
    other: Train | None = None
    layers: tuple[int, ...] | Literal["all"] = "all"


def refused(data: Any, **options: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(Settings, data, **options)
    return caught.value


def test_keys_and_names_are_one_name_in_both_unicode_forms() -> None:
    class Weights(Config):
        tasks: tuple[Name, ...]
        weights: dict[str, int]

    built = build(Weights, {"tasks": ["re\u0301sume\u0301"], "weights": {"re\u0301sume\u0301": 2}})
    assert built.weights[built.tasks[0]] == built.weights["r\u00e9sum\u00e9"] == 2


# --- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_are_typed_like_the_file() -> None:
    given = ["train.lr=1e-5", "train.steps = 7", "a.b.c=no", "tasks=[x, y]", "m={rank: 4}", "text=a=b", "nothing=", "t=12:30"]
    data = {"train": {"lr": 1.0, "warmup": 3}, "tasks": ["z"]}
    assert apply_overrides(data, given) == {
        "train": {"lr": 1e-5, "warmup": 3, "steps": 7},
        "tasks": ["x", "y"],
        "a": {"b": {"c": "no"}},
        "m": {"rank": 4},
        "text": "a=b",
        "nothing": None,
        "t": "12:30",
    }
    assert data == {"train": {"lr": 1.0, "warmup": 3}, "tasks": ["z"]}, "the caller's own settings were changed"


def test_the_last_override_wins() -> None:
    assert apply_overrides({}, ["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


def test_text_that_is_no_yaml_is_taken_as_it_is() -> None:
    assert apply_overrides({}, ["a=@user: [", "b=*x", "c=[1"]) == {"a": "@user: [", "b": "*x", "c": "[1"}


@pytest.mark.parametrize("override", ["train.lr", "=1", "", "a..b=1", ".a=1", "a.=1", " =1"])
def test_what_is_no_override_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="is not a setting") as caught:
        apply_overrides({}, [override])
    assert "dotted.path=value" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("data", "override", "where"),
    [({"a": 5}, "a.b=1", "a"), ({"a": {"b": [1]}}, "a.b.0.c=2", "a.b.0"), ({"a": {"b": "x"}}, "a.b.c.d=2", "a.b")],
)
def test_a_path_through_a_value_is_refused_where_the_value_is(data: dict[str, Any], override: str, where: str) -> None:
    with pytest.raises(ConfigError, match="not a group of settings") as caught:
        apply_overrides(data, [override])
    assert caught.value.where == where


def test_a_number_reaches_into_a_list() -> None:
    data = {"stages": [{"train": {"lr": 1}}, {}]}
    changed = apply_overrides(data, ["stages.0.train.lr=2", "stages.1.seed=3"])
    assert changed == {"stages": [{"train": {"lr": 2}}, {"seed": 3}]}
    assert data == {"stages": [{"train": {"lr": 1}}, {}]}
    for wrong in ("stages.2.seed=1", "stages.x.seed=1", "stages.2=1", f"stages.{'9' * 5000}=1", "stages.-1=1"):
        with pytest.raises(ConfigError, match="numbered from 0"):
            apply_overrides(data, [wrong])


# --- validation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "where", "near"),
    [
        ({"trian": {}}, "trian", "train"),
        ({"train": {"stesp": 1}}, "train.stesp", "steps"),
        ({"other": {"warmpu": 1}}, "other.warmpu", "warmup"),
        ({"stages": [{}, {"task": ["a"]}]}, "stages.1.task", "tasks"),
        ({"by_name": {"first": {"lrr": 1}}}, "by_name.first.lrr", "lr"),
        ({"method": {"name": "lora", "rnak": 4}}, "method.rnak", "rank"),
        ({"method": {"name": "bottleneck", "siez": 4}}, "method.siez", "size"),
        # "list...", "int..." and the like are also what pydantic calls branches of a union.
        ({"list_stages": 1}, "list_stages", "stages"),
        ({"train": {"int_steps": 1}}, "train.int_steps", "steps"),
    ],
)
def test_an_unknown_setting_is_named_with_its_path_and_the_nearest(data: dict[str, Any], where: str, near: str) -> None:
    error = refused(data)
    assert (error.what, error.where, error.hint) == ("unknown setting", where, f"did you mean {near!r}?")


@pytest.mark.parametrize("name", ["int", "list", "float", "none", "literal_x"])
def test_a_setting_named_like_a_type_keeps_its_path(name: str) -> None:
    assert refused({"train": {name: 1}}).where == f"train.{name}"
    assert refused({"weights": {name: "x"}}).where == f"weights.{name}"


def test_far_from_every_name_the_known_ones_are_listed_of_the_right_method() -> None:
    assert refused({"train": {"zzz": 1}}).hint == "known here: early_stop, lr, steps, warmup"
    assert refused({"method": {"name": "bottleneck", "zzz": 1}}).hint == "known here: name, size"


def test_the_path_begins_where_the_caller_says() -> None:
    assert refused({"train": {"lrr": 1}}, where="cells.3").where == "cells.3.train.lrr"


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        ({"train": {"lr": "1e-4"}}, "train.lr", "expected a number, found '1e-4'"),
        ({"train": {"steps": 3.0}}, "train.steps", "expected a whole number, found 3.0"),
        ({"train": {"steps": True}}, "train.steps", "expected a whole number, found True"),
        ({"train": {"steps": 0}}, "train.steps", "expected a whole number at least 1, found 0"),
        ({"train": {"early_stop": "no"}}, "train.early_stop", "expected true or false, found 'no'"),
        ({"train": {"early_stop": 1}}, "train.early_stop", "expected true or false, found 1"),
        ({"train": {"warmup": "aut"}}, "train.warmup", "expected a whole number or 'auto', found 'aut'"),
        ({"task": 3}, "task", "expected text, found 3"),
        ({"layers": [1, "x"]}, "layers.1", "expected a whole number, found 'x'"),
        ({"stages": [{"tasks": ["a", 1]}]}, "stages.0.tasks.1", "expected text, found 1"),
        ({"method": {"name": "bottleneck", "size": "x"}}, "method.size", "expected a whole number, found 'x'"),
        ({"train": None}, "train", "expected a group of settings, found None"),
        ({"train": {"lr": math.nan}}, "train.lr", "expected a finite number, found nan"),
        ({"train": {"lr": -math.inf}}, "train.lr", "expected a finite number, found -inf"),
        ({"weights": {"a": math.inf}}, "weights.a", "expected a finite number, found inf"),
        ({"task": "\ud800"}, None, "holds text that is not valid Unicode"),
        ({"task": {1, 2}}, None, "holds a value that no setting can have"),
    ],
)
def test_an_ill_typed_value_is_refused_at_its_path(data: dict[str, Any], where: str | None, what: str) -> None:
    error = refused(data)
    assert (error.where, error.what) == (where, what)


def test_settings_that_contain_themselves_are_refused() -> None:
    looped: list[object] = []
    looped.append(looped)
    assert "no setting can have" in refused({"layers": looped}).what
    # Written as YAML it is no value: the words themselves are the setting.
    assert refused(apply_overrides({}, ["layers=&a [*a]"])).what.endswith("found '&a [*a]'")


def test_a_huge_value_is_not_poured_into_the_message() -> None:
    assert len(str(refused({"train": {"steps": "x" * 10_000}}))) < 200


def test_a_misspelt_required_key_is_called_misspelt_not_missing() -> None:
    class Needs(Config):
        base: str

    with pytest.raises(ConfigError, match="unknown setting") as caught:
        build(Needs, {"bsae": "x"})
    assert caught.value.hint == "did you mean 'base'?"
    with pytest.raises(ConfigError, match="required") as caught:
        build(Needs, {})
    assert caught.value.where == "base"


def test_settings_cannot_be_changed_afterwards() -> None:
    config = build(Settings, {"task": "a"})
    with pytest.raises(ValidationError, match="frozen"):
        config.task = "b"


# --- there and back ---------------------------------------------------------------------------------------------------

# What YAML 1.1, YAML 1.2 or a careless writer takes for something else.
_WORDS = (
    "no yes on off y n true True null NULL ~ 1e-4 1e5 .5 5. 0x1f 0o7 010 1_000 +1 - --- ... -1 .nan .inf nan 2024-01-02 12:30 "
    "<< = [ { ! & * | > % @ ` ? : # !x &a *a १२३ ½ 1e400 ' \" \ufeff \x7f \x00 नमस्ते e\u0301 👩\u200d👩"
)
_SPACED = "/ / a/a /a: b/a #b/a\n/\na/a\r\nb/\t/\x85/a\u2028b/\u2029/k: [1, 2/" + "ab " * 99
_TRICKY = st.sampled_from([*_WORDS.split(" "), *_SPACED.split("/")])
_FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [1e-05, 1e16, 1e22, -0.0, 5e-324, 1.7976931348623157e308]
)
_SCALARS = st.none() | st.booleans() | st.integers() | _FLOATS | st.text() | _TRICKY
_KEYS = st.text() | _TRICKY
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types: 1 is not 1.0 here, nor True."""
    return repr(one) == repr(other)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
@example({"lr": 1e-05, "zip": "010", "no": "no", "day": "2024-01-02", "break": "a\x85b"})
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert same(parse_yaml(dump_yaml(data), "f.yaml"), data)


@settings(max_examples=40, deadline=None)
@given(
    lr=st.none() | _FLOATS, task=_TRICKY, tasks=st.lists(_TRICKY, max_size=3), weights=st.dictionaries(_KEYS, _FLOATS, max_size=3)
)
def test_a_config_survives_its_own_file(lr: float | None, task: str, tasks: list[str], weights: dict[str, float]) -> None:
    config = Settings(
        task=task,
        train=Train(lr=lr),
        stages=(Stage(tasks=tuple(tasks)),),
        weights={nfc(key): value for key, value in weights.items()},
        method=Bottleneck(size=3),
        layers=(1, 2),
    )
    again = build(Settings, parse_yaml(dump_yaml(config), "f.yaml"))
    assert again == config
    assert digest(again) == digest(config)


def test_a_plain_yaml_reader_gets_the_same_settings() -> None:
    import yaml

    data = {"a": "no", "b": "1e-4", "c": "2024-01-02", "d": "12:30", "e": 1e-05, "f": "0x10", "g": "~", "h": 1e22}
    assert same(yaml.safe_load(dump_yaml(data)), data)


def test_keys_stay_in_their_order_of_definition() -> None:
    assert list(parse_yaml(dump_yaml(Settings()), "f.yaml")) == list(Settings.model_fields)


# --- one text for one setting -----------------------------------------------------------------------------------------


def test_one_and_one_point_zero_are_one_setting() -> None:
    assert canonical_json({"lr": 1}) == canonical_json({"lr": 1.0}) == '{"lr":1}'
    assert canonical_json({"lr": [-0.0, 1e5]}) == canonical_json({"lr": [0, 100_000]})
    assert digest(build(Settings, {"train": {"lr": 1}})) == digest(build(Settings, {"train": {"lr": 1.0}}))


def test_different_settings_have_different_digests() -> None:
    values = [0, 1, 1.5, 0.1, 1e300, True, False, None, "1", "", "é", "e\u0301", [], [1], {}, {"b": 1}]
    assert len({digest({"a": value}) for value in values}) == len(values)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_the_order_of_keys_does_not_matter(data: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(data.items()))) == canonical_json(data)
    assert json.loads(canonical_json(data)) == data


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_digest(value: float) -> None:
    class Loose(Config):
        anything: dict[str, Any]

    for settings_ in ({"a": [value]}, Loose(anything={"a": value})):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json(settings_)


def test_the_digest_is_the_same_in_every_process() -> None:
    program = (
        "from xeric.config import digest\n"
        "words = {'lr', 'rank', 'alpha', 'tasks', 'नदी'}\n"
        "print(digest({word: {w: len(w) for w in words} for word in words}))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    words = ["alpha", "lr", "rank", "tasks", "नदी"]
    assert digests == {digest({word: {w: len(w) for w in words} for word in words}) + "\n"}
