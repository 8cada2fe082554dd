"""``xeric adapt``: what cannot be used is refused at once, with a hint that can be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Xeric


def a_table(path: Path, rows: int = 30, mark: str = ",", encoding: str = "utf-8") -> Path:
    lines = [f"question{mark}answer", *(f"¿Dónde está {n}?{mark}Allí está {n}." for n in range(rows))]
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


@pytest.mark.parametrize("metric", ["length_ratio", "copy_rate", "distinct_1", "distinct_2", "self_bleu"])
def test_a_metric_that_nothing_can_be_chosen_by_is_refused_before_anything_is_done(
    metric: str, xeric: Xeric, tmp_path: Path
) -> None:
    code, _, error = xeric("adapt", a_table(tmp_path / "t.csv"), "-o", tmp_path / "out", "--metric", metric)
    assert code == 2
    assert error.startswith(f"xeric: --metric: names '{metric}'")
    assert "chrf" in error.splitlines()[1]
    assert not (tmp_path / "out").exists()


def test_too_few_rows_are_refused_without_advice_on_settings_that_there_are_not(xeric: Xeric, tmp_path: Path) -> None:
    code, _, error = xeric("adapt", a_table(tmp_path / "three.csv", 3), "-o", tmp_path / "out")
    assert code == 2
    assert "3 instances are left" in error
    assert "hint: add examples" in error
    assert "cleaning rules" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.xlsx", "missing.parquet", "missing.csv", "missing.zip"])
def test_a_mistyped_file_is_not_taken_for_a_dataset(name: str, xeric: Xeric, tmp_path: Path) -> None:
    code, _, error = xeric("adapt", name, "-o", tmp_path / "out")
    assert code == 2
    assert "hint: check the path" in error
    assert "hub" not in error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--encoding", "ascii"], "is not ascii text"),
        (["--encoding", "nonsense"], "there is no encoding 'nonsense'"),
        (["--delimiter", ";;"], "';;' is not a delimiter"),
        (["--quotes", "maybe"], "unknown reading of quotation marks 'maybe'"),
        (["--name", "../../precious"], "--name: '../../precious' is not a task name"),
        (["--memory", "9" * 400], "is no size of memory"),
    ],
)
def test_options_that_messages_advise_are_there_and_checked(options: list[str], said: str, xeric: Xeric, tmp_path: Path) -> None:
    code, _, error = xeric("adapt", a_table(tmp_path / "t.csv"), "-o", tmp_path / "out", *options)
    assert code == 2
    assert said in error


def test_encoding_and_delimiter_reach_the_table(xeric: Xeric, tmp_path: Path) -> None:
    path = a_table(tmp_path / "t.csv", 3, "~", "cp437")
    code, _, error = xeric("adapt", path, "-o", tmp_path / "out", "--encoding", "cp437", "--delimiter", "~")
    assert (code, "3 instances are left" in error) == (2, True)


def test_split_subset_and_revision_reach_the_dataset(xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xeric.data import importing
    from xeric.errors import UserError

    asked: list[object] = []

    def dataset_table(*arguments: object) -> None:
        asked.extend(arguments)
        raise UserError("enough")

    monkeypatch.setattr(importing, "dataset_table", dataset_table)
    options = ["--split", "test", "--subset", "es", "--revision", "abc"]
    assert xeric("adapt", "owner/name", "-o", tmp_path / "out", *options)[0] == 2
    assert asked == ["owner/name", False, "test", "es", "abc"]


@pytest.mark.parametrize(
    "override", ['seeds=!!int ""', 'run.train.lr=!!float ""', "title=!!timestamp foo", "seeds." + "9" * 5000]
)
def test_a_setting_that_is_no_yaml_is_the_users_mistake(override: str, xeric: Xeric) -> None:
    override = override if "=" in override else f"{override}=1"
    code, _, error = xeric("study", "check", "paper", "--set", override)
    assert code in (0, 2)
    assert "unexpected" not in error
