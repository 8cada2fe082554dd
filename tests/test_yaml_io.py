"""YAML without its surprises, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from xeric.errors import DataError
from xeric.yaml_io import YamlLines, load_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("5.e-1", 0.5),
        (".5", 0.5),
        ("1e", "1e"),
        ("1_000", 1000),
        ("-3", -3),
        ("010", "010"),
        ("0x10", "0x10"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("", None),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("=", "="),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    parsed = parse_yaml(f"x: {text}\n", "f.yaml")["x"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands here twice"),
        ("a:\n  b: 1\n  'b': 2\n", 3, "the key 'b' stands here twice"),
        ("a: 1\n2: x\n", 2, "the key 2 is not text"),
        ("a: 1\ntrue: x\n", 2, "the key True is not text"),
        ("? [a]\n: 1\n", 1, r"the key \['a'\] is not text"),
        ("a: 1\nb: [1, 2\n", 3, "expected ',' or ']'"),
        ("a: 1\nb: c: d\n", 2, "mapping values are not allowed"),
        ("a: 1\n\tb: 2\n", 2, "cannot start any token"),
        ("a: 1\nb: x\x07\n", 2, "unacceptable character"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", 2, "could not determine a constructor"),
        ("a: 1\n--- 2\n", 2, "another document"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        parse_yaml(text, "f.yaml")
    assert caught.value.where == f"f.yaml, line {line}"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "9" * 5000,
            "[" * 600,
            "!!int abc",
            "!!bool maybe",
            "!!float x",
            '!!int ""',
            '!!float ""',
            "!!int -",
            "!!timestamp foo",
        ),
        *("!!map abc", "!!map [abc]", "!!float 1" + ":1" * 200, "!!binary é", "!!set [1]"),
    ],
)
def test_what_the_library_stumbles_over_is_still_one_sentence(text: str) -> None:
    with pytest.raises(DataError, match="not valid YAML"):
        parse_yaml(text, "f.yaml")


def test_a_merged_mapping_is_overridden_by_its_own_keys() -> None:
    text = "base: &b {lr: 1, steps: 5}\nrun:\n  lr: 2\n  <<: *b\n"
    assert parse_yaml(text, "f.yaml")["run"] == {"lr": 2, "steps": 5}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbfa: 1\r\nb: no\r\n", {"a": 1, "b": "no"}),
        ("a: ñ\n".encode("utf-16"), {"a": "ñ"}),
        (b"", {}),
        (b"# nothing\n", {}),
    ],
)
def test_files_of_other_systems_are_read(tmp_path: Path, content: bytes, value: object) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    assert load_yaml(path) == value


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "No such file"), (b"- 1\n", "found list"), (b"text", "found str")],
)
def test_a_file_without_settings_is_refused_by_name(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "f.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        load_yaml(path)
    assert caught.value.where == str(path)


def test_a_byte_that_is_not_utf8_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: 1\nb: a\xf1o\n")
    with pytest.raises(DataError, match="not UTF-8 text: byte 0xf1") as caught:
        load_yaml(path)
    assert caught.value.where == f"{path}, line 2"


def test_the_line_of_a_setting() -> None:
    lines = YamlLines("a:\n  b.c: {d: 1,\n    e: 2}\n  b: 3\ntasks:\n- one\n- two\nlists: [{x: 1},\n  {x: 2}]\n")
    wanted = {"a": 1, "a.b.c.e": 3, "a.b.c.d": 2, "a.b": 4, "tasks.1": 7, "tasks.two": 7, "lists.1.x": 9}
    assert {path: lines.line(path) for path in wanted} == wanted
    assert lines.line("a.b.c.missing") == 2, "what is not there belongs to what it would be in"
    assert lines.line("other.thing") is None
    assert YamlLines("").line("a") is None


def test_aliases_that_stand_for_billions_of_values_are_refused() -> None:
    lists = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    merges = "x0: &x0 {a: 1}\n" + "".join(f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}\n" for n in range(1, 9))
    for text in (lists, merges):
        with pytest.raises(DataError) as caught:
            parse_yaml(text, "f")
        assert caught.value.what == "not valid YAML: with what its aliases (*) repeat, it holds more than 100000 values"


def test_a_value_that_holds_itself_is_refused_and_an_alias_is_not() -> None:
    with pytest.raises(DataError, match="f, line 2: not valid YAML: a value holds itself"):
        parse_yaml("a: 1\nb: &b [*b]\n", "f")
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: *a}\n", "f") == {"a": {"x": 1}, "b": {"x": 1, "y": {"x": 1}}}
