"""Pictures of instances: where they may lie, how large they may be, what is made of them, and how they keep instances apart."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.drawn import draw
from xeric.data import pictures
from xeric.data.cleaning import clean
from xeric.data.controls import control_pictures
from xeric.data.importing import ImportOptions, import_task, write_task
from xeric.data.leaks import find_leaks
from xeric.data.pictures import BLANK, find_picture, read_picture, read_pixels
from xeric.data.preparing import DataOptions, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.tasks import Instance, Task, load_task, parse_task
from xeric.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="pictures are read by Pillow (the extra pictures)")


def task_file(folder: Path, count: int = 30, language: str = "English", **changes: Any) -> Path:
    """A task of pictures without input texts, three to a group."""
    instances = []
    for number in range(count):
        (folder / "shown").mkdir(parents=True, exist_ok=True)
        name = f"shown/{number}.png"
        draw(folder / name, str(number))
        output = [f"{language} caption {'abcdefghijklmnopqrstuvwxyz'[number % 26] * 4} {number}"]
        instances.append({"id": str(number), "image": name, "output": output, "group": f"g{number // 3}"})
    data = {"Definition": ["Say what it shows."], "Output_language": [language], "Instances": instances, **changes}
    path = folder / f"shown_in_{language.lower()}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(task_file(tmp_path))


# --- what a file may name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../out.png",
        "a/../../out.png",
        "/etc/passwd",
        "C:\\out.png",
        "C:/out.png",
        "\\\\host\\out.png",
        "a\\..\\..\\out.png",
        "link.png",
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    draw(tmp_path / "out.png", "secret")
    folder = tmp_path / "task"
    (folder / "a").mkdir(parents=True)
    (folder / "link.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(DataError, match=r"within the folder|out of the folder") as caught:
        find_picture(name, folder, "t.json, Instances[0], image")
    assert caught.value.where == "t.json, Instances[0], image"


def test_a_folder_that_is_a_link_does_not_lead_out_either(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    draw(tmp_path / "elsewhere" / "x.png", "x")
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="out of the folder"):
        find_picture("sub/x.png", folder, "here")
    (tmp_path / "linked").symlink_to(folder)
    draw(folder / "y.png", "y")
    assert find_picture("y.png", tmp_path / "linked", "here").path == folder / "y.png"


@pytest.mark.parametrize("name", [7, "", " ", "a\0.png", ["a.png"], "missing.png", "sub", "\ud800.png"])
def test_what_is_no_file_there_is_refused(name: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError) as caught:
        find_picture(name, tmp_path, "here")
    assert caught.value.where == "here"


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no picture"):
        find_picture("pipe.png", tmp_path, "here")
    with pytest.raises(DataError, match="no such file"):
        read_picture(tmp_path / "pipe.png")


def test_large_files_are_refused_before_they_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    (tmp_path / "x.png").write_bytes(b"x" * 100)
    assert read_picture(tmp_path / "x.png").sha256
    (tmp_path / "y.png").write_bytes(b"x" * 101)
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_picture(tmp_path / "y.png")


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2_000_000_000, 1), (40_001, 1_000)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(bomb(width, height))
    with pytest.raises(DataError, match=r"too large|no picture"):
        read_pixels(read_picture(tmp_path / "x.png"), 8)


def test_other_formats_and_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    (tmp_path / "y.png").write_bytes(b"not a picture")
    (tmp_path / "z.png").write_bytes(bomb(10, 10))
    for name in ("x.eps", "y.png", "z.png"):
        with pytest.raises(DataError, match="no picture that can be read") as caught:
            read_pixels(read_picture(tmp_path / name), 8)
        assert name in (caught.value.where or "")


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_found(tmp_path: Path) -> None:
    draw(tmp_path / "x.png", "x")
    picture = read_picture(tmp_path / "x.png")
    draw(tmp_path / "x.png", "y")
    with pytest.raises(DataError, match="has changed"):
        read_pixels(picture, 8)


# --- pixels -----------------------------------------------------------------------------------------------------------------


def test_pixels_stand_in_the_middle_of_a_white_square(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(tmp_path / "x.png")
    pixels = read_pixels(read_picture(tmp_path / "x.png"), 8)
    assert pixels.shape == (8, 8, 3)
    assert (pixels[2:6] == [255, 0, 0]).all()
    assert (pixels[:2] == 255).all()
    assert (pixels[6:] == 255).all()


def test_what_is_transparent_is_white_and_a_camera_s_turn_is_undone(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert (read_pixels(read_picture(tmp_path / "x.png"), 4) == 255).all()
    image = Image.new("RGB", (16, 8), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "y.jpg", exif=exif)
    pixels = read_pixels(read_picture(tmp_path / "y.jpg"), 16)
    assert (pixels[:, 8] < 50).all()
    assert (pixels[8, :3] > 200).all()


def test_a_line_of_pixels_is_scaled_before_it_is_centred(tmp_path: Path) -> None:
    Image.new("L", (1_000_000, 1), 0).save(tmp_path / "x.png")
    pixels = read_pixels(read_picture(tmp_path / "x.png"), 8)
    assert np.flatnonzero((pixels == 0).all(axis=(1, 2))).size == 1


# --- tasks ------------------------------------------------------------------------------------------------------------------


def test_a_picture_is_input_enough(task: Task) -> None:
    assert len(clean(task).instances) == 30
    assert all(i.input == "" and i.picture for i in task.instances)


def test_a_task_without_a_file_says_that_it_needs_a_folder() -> None:
    data = {"Definition": ["d"], "Instances": [{"image": "x.png", "output": "y"}]}
    with pytest.raises(DataError, match="no folder"):
        parse_task(data, name="t")


def test_the_same_picture_stays_on_one_side_and_another_is_no_duplicate(task: Task) -> None:
    first, second = task.instances[0], task.instances[15]
    asked_again = replace(first, id="again", input="And how many?", outputs=("Two.",), group=None)
    same_name = replace(second, id="same", outputs=first.outputs, group="g0")
    cleaned = clean(replace(task, instances=(*task.instances, asked_again, same_name)))
    clusters = dict(zip((i.id for i in cleaned.instances), cleaned.clusters, strict=True))
    assert clusters["again"] == clusters["0"]
    merged = next(i for i in cleaned.instances if i.picture == second.picture)
    assert set(merged.outputs) == {*second.outputs, *first.outputs}
    assert "0" in clusters


def test_a_test_picture_is_not_trained_on_in_another_task(task: Task) -> None:
    shown = task.instances[3]
    other = Instance("x", "", ("Etwas anderes",), None, shown.picture)
    report = find_leaks({"one": [shown]}, {"two": [other, replace(task.instances[4], id="y")]})
    assert report.instances("two") == {"x"}
    assert report.leaks[0].kind == "picture"


def test_the_same_short_answer_to_another_picture_is_no_leak(task: Task) -> None:
    tested = replace(task.instances[0], input="What?", outputs=("A flag",))
    trained = replace(task.instances[1], input="What?", outputs=("A flag",))
    assert find_leaks({"one": [tested]}, {"one": [trained]}).leaks == ()


def test_tasks_of_the_same_pictures_hold_out_the_same_ones(tmp_path: Path) -> None:
    tasks = [load_task(task_file(tmp_path, language=language)) for language in ("English", "Spanish")]
    ready = prepare(tasks, DataOptions(), PromptOptions(demonstrations=0))
    one, two = ({i.id for i in part.test} for part in ready.tasks)
    assert one == two
    assert ready.leaks["leaks"] == 0
    groups = [{i.group for i in side} for side in (ready.tasks[0].test, ready.tasks[0].train)]
    assert not groups[0] & groups[1]


def test_a_run_is_another_where_a_picture_is(tmp_path: Path) -> None:
    path = task_file(tmp_path)
    before = prepare([load_task(path)], DataOptions(), PromptOptions(demonstrations=0))
    draw(tmp_path / "shown" / "5.png", "another")
    after = prepare([load_task(path)], DataOptions(), PromptOptions(demonstrations=0))
    assert before.fingerprint != after.fingerprint


def test_controls_change_pictures_and_nothing_else(task: Task) -> None:
    ready = {
        control: prepare([task], DataOptions(), PromptOptions(demonstrations=0, pictures=control)).tasks[0]
        for control in ("own", "shuffled", "blank")
    }
    own = {i.id: i for i in task.instances}
    for control, part in ready.items():
        for side in ("train", "test"):
            instances, real = getattr(part, side), getattr(ready["own"], side)
            assert [i.id for i in instances] == [i.id for i in real]
            assert [i.outputs for i in instances] == [i.outputs for i in real]
            changed = [i.picture != own[i.id].picture for i in instances]
            assert all(changed) if control != "own" else not any(changed)
            if control == "shuffled":
                assert {i.picture for i in instances} == {i.picture for i in real}
            elif control == "blank":
                assert {i.picture for i in instances} == {BLANK}
    assert len({part.fingerprint for part in ready.values()}) == 3


def test_shuffling_is_drawn_by_its_seed_and_leaves_instances_without_a_picture_alone(task: Task) -> None:
    instances = (*task.instances, Instance("text", "x", ("y",)))
    one, again, other = (control_pictures(instances, "shuffled", seed) for seed in (0, 0, 1))
    assert one == again != other
    assert one[-1] == instances[-1]


# --- tables -----------------------------------------------------------------------------------------------------------------


def test_a_table_names_pictures_in_a_column_and_the_task_takes_them_along(tmp_path: Path) -> None:
    (tmp_path / "from" / "shown").mkdir(parents=True)
    lines = ["picture,text,caption"]
    for number in range(12):
        draw(tmp_path / "from" / "shown" / f"{number}.PNG", str(number))
        lines.append(f"shown/{number}.PNG,,caption number {number}")
    table = tmp_path / "from" / "t.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    options = {"name": "t", "definition": "d", "language": "en", "output_column": "caption", "image_column": "picture"}
    made = import_task(table, ImportOptions(**options, input_column=None))
    assert [i.picture.sha256 for i in made.instances if i.picture] == [
        read_picture(tmp_path / "from" / "shown" / f"{number}.PNG").sha256 for number in range(12)
    ]
    write_task(made, tmp_path / "to" / "t.json")
    (tmp_path / "from").rename(tmp_path / "gone")
    again = load_task(tmp_path / "to" / "t.json")
    assert [i.picture and i.picture.sha256 for i in again.instances] == [i.picture and i.picture.sha256 for i in made.instances]
    assert {path.suffix for path in (tmp_path / "to" / "t-pictures").iterdir()} == {".png"}


def test_a_table_s_pictures_lie_with_it_too(tmp_path: Path) -> None:
    draw(tmp_path / "out.png", "x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("image,output\n../out.png,caption\n", encoding="utf-8")
    options = ImportOptions(name="t", definition="d", language="en", input_column=None, image_column="image")
    with pytest.raises(DataError, match="within the folder"):
        import_task(tmp_path / "in" / "t.csv", options)
