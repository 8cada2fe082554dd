from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.data.samples import niv2
from xeric.data.cleaning import clean
from xeric.data.tasks import Example, Instance, Task, check_task_name, load_task, parse_task
from xeric.errors import DataError, UserError


def write(folder: Path, data: Any, name: str = "made.json") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def test_everything_in_a_well_formed_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, niv2())
    assert load_task(path) == Task(
        name="made",
        definition="Finish the sentence.",
        instances=(
            Instance("a-1", "The dog", ("barks.", "runs.")),
            Instance("a-2", "The bird", ("sings.",), "birds"),
        ),
        positive_examples=(Example("The cat", "sleeps.", "It does."),),
        negative_examples=(Example("The cat", "reads.", "It does not."),),
        input_languages=("English",),
        output_languages=("English",),
        instruction_languages=("English",),
        categories=("Text Completion",),
        domains=("Stories",),
        sources=("written for tests",),
        licenses=("CC0-1.0",),
        contributors=("A. Writer",),
        path=path,
    )


def test_what_is_unambiguous_is_read(tmp_path: Path) -> None:
    lenient = {
        "Definition": "Finish the sentence.",
        "Output_language": "Hindi",
        "Positive Examples": [{"input": 1, "output": ["one", "uno"]}],
        "Instances": [{"input": "x", "output": "y"}, {"id": 7, "input": 2, "output": [3, "three"]}],
    }
    task = load_task(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(lenient).encode()))
    assert task.language == "Hindi"
    assert task.positive_examples == (Example("1", "one"),)
    assert task.instances == (Instance("made-0", "x", ("y",)), Instance("7", "2", ("3", "three")))


def test_several_definitions_are_alternatives() -> None:
    task = parse_task(niv2(Definition=["  ", "Do it.", "Please do it."]), name="made")
    assert (task.definition, task.alternative_definitions) == ("Do it.", ("Please do it.",))


def test_the_group_can_stand_under_another_key() -> None:
    rows = [{"input": "x", "output": "y", "customer": 12, "group": "no"}]
    assert parse_task(niv2(Instances=rows), name="made", group_key="customer").instances[0].group == "12"


@pytest.mark.parametrize(("languages", "expected"), [([], "none"), (["Hindi", "Spanish"], "Hindi and Spanish")])
def test_a_single_output_language_is_asked_for_only_where_needed(languages: list[str], expected: str) -> None:
    task = parse_task(niv2(Output_language=languages), name="made")
    with pytest.raises(DataError, match=f"expected one output language, found {expected}") as caught:
        _ = task.language
    assert caught.value.where == "made, Output_language"


def one(**instance: Any) -> dict[str, Any]:
    return niv2(Instances=[{"input": "x", "output": "y"}, {"id": "q", "input": "x", "output": "y", **instance}])


PLACE = "Instances[1] (id 'q')"
REFUSED: dict[str, tuple[Any, str, str]] = {
    "not an object": ([niv2()], "", "found a list"),
    "nothing": (None, "", "found nothing"),
    "no definition": (niv2(Definition=None), "Definition", "there is no definition"),
    "blank definition": (niv2(Definition=[" "]), "Definition", "there is no definition"),
    "definition is an object": (niv2(Definition={"a": 1}), "Definition", "found an object"),
    "instances missing": (niv2(Instances=None), "Instances", "found nothing"),
    "instances not a list": (niv2(Instances={"a": 1}), "Instances", "found an object"),
    "no instances": (niv2(Instances=[]), "Instances", "the task has no instances"),
    "instance is text": (niv2(Instances=["x"]), "Instances[0]", "found text"),
    "input under another key": (niv2(Instances=[{"text": "x", "output": "y"}]), "Instances", "no instance has the key 'input'"),
    "output under another key": (
        niv2(Instances=[{"input": "x", "target": "y"}]),
        "Instances",
        "no instance has the key 'output'",
    ),
    "input is a list": (one(input=["x"]), f"{PLACE}, input", "found a list"),
    "nested outputs": (one(output=[["a"]]), f"{PLACE}, output[0]", "found a list"),
    "output is an object": (one(output={}), f"{PLACE}, output", "found an object"),
    "output is true": (one(output=True), f"{PLACE}, output", "true or false"),
    "infinite": (one(input=float("inf")), f"{PLACE}, input", "found a number"),
    "surrogate": (one(input="a\ud800"), f"{PLACE}, input", "half of a surrogate pair ('\\ud800')"),
    "NUL": (one(output="a\0b"), f"{PLACE}, output", "a NUL character"),
    "surrogate in id": (one(id="\udfff"), "Instances[1], id", "half of a surrogate pair"),
    "group is a list": (one(group=["a"]), f"{PLACE}, group", "found a list"),
    "examples are text": (niv2(**{"Positive Examples": "-"}), "Positive Examples", "found text"),
    "language is an object": (niv2(Input_language=[{}]), "Input_language[0]", "an object"),
    "source is an object": (niv2(Source=[{}]), "Source", "found an object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_task_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    data, where, what = REFUSED[case]
    path = write(tmp_path, data)
    with pytest.raises(DataError) as caught:
        load_task(path)
    assert caught.value.where == f"{path}, {where}".removesuffix(", ")
    assert what in caught.value.what
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "cut": json.dumps(niv2()).encode()[:-9],
    "latin-1": '{"Definition": "año"}'.encode("latin-1"),
    "binary": bytes(range(256)),
    "nested": b"[" * 100_000,
    "nested in a task": b'{"Instances":' + b'{"a":' * 100_000,
    "digits": b'{"Definition": ' + b"9" * 10_000 + b"}",
    "raw control": b'{"Definition": "a\x00b"}',
    "two values": b"{} {}",
    "a definition that is not UTF-8": json.dumps(niv2(Definition="a\xf1o \xe9 ?!"), ensure_ascii=False)
    .encode("latin-1")
    .replace(b"?", "ñé€".encode()),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_are_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(DataError, match=r"made\.json"):
        load_task(write(tmp_path, HOSTILE[case]))


ANSWERS = [None, [], "", [""], [None], float("nan"), ...]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_empty_answer_is_an_empty_text_however_it_is_written(tmp_path: Path, answer: Any) -> None:
    instance = {"input": "x"} if answer is ... else {"input": "x", "output": answer}
    task = load_task(write(tmp_path, niv2(Instances=[instance, {"input": None, "output": ["y", None]}])))
    assert [(i.input, i.outputs) for i in task.instances] == [("x", ("",)), ("", ("y", ""))]
    assert clean(task).drops == {"empty_output": 1}


def test_ids_that_stand_twice_are_told_apart_and_counted() -> None:
    ids = ["a", "made-4", "a", "a~2", None, "a"]
    task = parse_task(niv2(Instances=[{"id": i, "input": "x", "output": "y"} for i in ids]), name="made")
    assert [i.id for i in task.instances] == ["a", "made-4", "a~3", "a~2", "made-4~2", "a~4"]
    assert task.notes == ("3 instances have ids that stand before them ('a', 'made-4'); a number was put behind",)
    assert clean(task).notes[0] == task.notes[0]


def test_a_demonstration_without_an_answer_is_left_out_and_said() -> None:
    examples = [{"input": "x", "output": None}, {"input": "y", "output": "z"}, {"output": "z"}]
    task = parse_task(niv2(**{"Positive Examples": examples}), name="made")
    assert task.positive_examples == (Example("y", "z"),)
    assert task.notes == (
        "Positive Examples[0] has no output and is left out",
        "Positive Examples[2] has no input and is left out",
    )


def test_numbers_keep_their_digits_and_floats_of_python_are_refused(tmp_path: Path) -> None:
    content = b'{"Definition": "d", "Instances": [{"id": 1.50, "input": 1E3, "output": [0.10, 12345678901234567890123]}]}'
    (instance,) = load_task(write(tmp_path, content)).instances
    assert instance == Instance("1.50", "1E3", ("0.10", "12345678901234567890123"))
    with pytest.raises(DataError, match="a number with a fraction"):
        parse_task(one(output=0.5), name="made")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_every_encoding_of_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    data = niv2(Definition="कविता")
    assert load_task(write(tmp_path, json.dumps(data, ensure_ascii=False).encode(encoding))).definition == "कविता"


def test_one_line_that_is_not_utf8_spoils_its_instance_only(tmp_path: Path) -> None:
    rows = [{"id": f"i{n}", "input": f"frage {n}", "output": f"schöne Grüße {n}"} for n in range(20)]
    content = json.dumps(niv2(Instances=rows), ensure_ascii=False, indent=1).encode()
    task = load_task(write(tmp_path, content.replace("schöne Grüße 7".encode(), "schöne Grüße 7".encode("cp1252"))))
    line = content[: content.index(b'e 7"\n')].count(b"\n") + 1
    assert task.notes[0].startswith("made.json is UTF-8, but 1 of its ")
    assert f"(line {line})" in task.notes[0]
    assert clean(task).drops == {"broken_encoding": 1}
    assert task.instances[6].outputs == ("schöne Grüße 6",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "q", "input": "x", "output": "y", "output": "z"}', "the key 'output' stands twice in one object (id 'q')"),
        ('{"input": "x", "output": "y", "re\u0301s": 1, "r\u00e9s": 1}', "the key 'rés' stands twice in one object"),
    ],
)
def test_a_repeated_key_is_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_task(write(tmp_path, ('{"Definition": "d", "Instances": [' + row + "]}").encode()))
    assert caught.value.what == message


def test_a_name_is_one_name_in_both_unicode_forms(tmp_path: Path) -> None:
    path = write(tmp_path, niv2(Instances=[{"input": "x", "output": "y", "re\u0301gion": "nord"}]), "re\u0301sume\u0301.json")
    for named in (path, tmp_path / "r\u00e9sum\u00e9.json"):
        task = load_task(named, group_key="r\u00e9gion")
        assert (task.name, task.instances[0].group) == ("r\u00e9sum\u00e9", "nord")


@pytest.mark.parametrize("path", ["missing.json", "a\0b.json", "x" * 5000 + ".json", "."])
def test_a_path_that_holds_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError):
        load_task(tmp_path / path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    paths = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        paths += places(item, (*path, key))
    return paths


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(places(niv2())), value=JSON, delete=st.booleans())
@example(path=("Instances", 0, "id"), value="a-2", delete=False)
def test_any_change_of_a_task_loads_or_is_refused(path: tuple[Any, ...], value: Any, delete: bool) -> None:
    data = niv2()
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    if delete:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    try:
        task = parse_task(data, name="made")
    except DataError as error:
        str(error).encode("utf-8")
        return
    assert task.instances
    assert task.definition.strip()
    assert len({i.id for i in task.instances}) == len(task.instances)
    for instance in task.instances:
        assert instance.outputs
        "".join([instance.id, instance.input, *instance.outputs]).encode("utf-8")


BAD_NAMES = ["", " ", ".", "..", "../x", "a/b", "/a", "a\\b", "C:x", "a\0b", "~x", ".hidden", "\ud800", "a\nb"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_path_is_no_task_name(name: str) -> None:
    with pytest.raises(UserError, match="is not a task name") as caught:
        check_task_name(name)
    assert "--tasks-dir" in str(caught.value.hint)
    str(caught.value).encode("utf-8")


def test_a_file_name_is_no_task_name() -> None:
    with pytest.raises(UserError) as caught:
        check_task_name("poems.json")
    assert caught.value.hint == "write 'poems'"
    assert check_task_name("lr_poème.v2 final") == "lr_poème.v2 final"
