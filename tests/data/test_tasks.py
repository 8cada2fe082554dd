from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.data.samples import niv2
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


@pytest.mark.parametrize(("languages", "found"), [([], "none"), (["Hindi", "Spanish"], "Hindi and Spanish")])
def test_a_single_output_language_is_asked_for_only_where_needed(languages: list[str], found: str) -> None:
    task = parse_task(niv2(Output_language=languages), name="made")
    with pytest.raises(DataError, match=f"expected one output language, found {found}") as caught:
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
    "no input": (one(input=None), f"{PLACE}, input", "expected text, found nothing"),
    "input is a list": (one(input=["x"]), f"{PLACE}, input", "found a list"),
    "no output": (one(output=None), f"{PLACE}, output", "found nothing"),
    "empty outputs": (one(output=[]), f"{PLACE}, output", "found an empty list"),
    "null among outputs": (one(output=["a", None]), f"{PLACE}, output[1]", "found nothing"),
    "nested outputs": (one(output=[["a"]]), f"{PLACE}, output[0]", "found a list"),
    "output is an object": (one(output={}), f"{PLACE}, output", "found an object"),
    "output is true": (one(output=True), f"{PLACE}, output", "true or false"),
    "fraction": (one(output=0.5), f"{PLACE}, output", "a number with a fraction"),
    "NaN": (one(input=float("nan")), f"{PLACE}, input", "found a number"),
    "surrogate": (one(input="a\ud800"), f"{PLACE}, input", "half of a surrogate pair ('\\ud800')"),
    "NUL": (one(output="a\0b"), f"{PLACE}, output", "a NUL character"),
    "surrogate in id": (one(id="\udfff"), "Instances[1], id", "half of a surrogate pair"),
    "id twice": (niv2(Instances=[{"id": 1, "input": "x", "output": "y"}] * 2), "Instances[1] (id '1')", "stands twice"),
    "id equals a position": (
        niv2(Instances=[{"id": "made-1", "input": "x", "output": "y"}, {"input": "x", "output": "y"}]),
        "Instances[1] (id 'made-1')",
        "stands twice",
    ),
    "group is a list": (one(group=["a"]), f"{PLACE}, group", "found a list"),
    "examples are text": (niv2(**{"Positive Examples": "-"}), "Positive Examples", "found text"),
    "example without output": (niv2(**{"Negative Examples": [{"input": "x"}]}), "Negative Examples[0], output", "found nothing"),
    "language is a number": (niv2(Input_language=[1.5]), "Input_language[0]", "a number with a fraction"),
    "source is an object": (niv2(Source=[{}]), "Source", "found an object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_task_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    data, place, what = REFUSED[case]
    path = write(tmp_path, data)
    with pytest.raises(DataError) as caught:
        load_task(path)
    assert caught.value.where == f"{path}, {place}".removesuffix(", ")
    assert what in caught.value.what
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "cut": json.dumps(niv2()).encode()[:-9],
    "latin-1": '{"Definition": "año"}'.encode("latin-1"),
    "utf-16": json.dumps(niv2()).encode("utf-16"),
    "utf-16 without mark": json.dumps(niv2()).encode("utf-16-le"),
    "binary": bytes(range(256)),
    "nested": b"[" * 100_000,
    "nested in a task": b'{"Instances":' + b'{"a":' * 100_000,
    "digits": b'{"Definition": ' + b"9" * 10_000 + b"}",
    "raw control": b'{"Definition": "a\x00b"}',
    "two values": b"{} {}",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_are_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(DataError, match=r"made\.json"):
        load_task(write(tmp_path, HOSTILE[case]))


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
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found += places(item, (*path, key))
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(places(niv2())), value=JSON, delete=st.booleans())
@example(place=("Instances", 0, "id"), value="a-2", delete=False)
def test_any_change_of_a_task_loads_or_is_refused(place: tuple[Any, ...], value: Any, delete: bool) -> None:
    data = niv2()
    node: Any = data
    for key in place[:-1]:
        node = node[key]
    if delete:
        del node[place[-1]]
    else:
        node[place[-1]] = value
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
