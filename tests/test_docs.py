"""What the documentation shows is what the code has: commands, options, settings, study files, paths."""

from __future__ import annotations

import pkgutil
import re
import shlex
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.scripts import load_script
from xeric.cli.main import app
from xeric.config import build
from xeric.studies.config import StudyConfig, TuningConfig
from xeric.studies.plan import plain_study
from xeric.studies.validation import check_study

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return load_script("tools/docs_hooks.py")


def commands(command: Any, name: str) -> dict[str, Any]:
    """Every command that does something, by its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {name: command}
    return {key: value for word, c in inner.items() for key, value in commands(c, f"{name} {word}").items()}


COMMANDS = commands(get_command(app), "xeric")


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts) if name[0] == "-"}


def blocks(language: str, text: str) -> list[str]:
    """Fenced blocks, those inside lists too."""
    matches = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in matches]


def test_the_page_of_commands_has_every_command_and_option(hooks: ModuleType) -> None:
    page = hooks.on_page_markdown(TEXTS["docs/reference/cli.md"])
    assert len(COMMANDS) > 15
    for name, command in COMMANDS.items():
        _, _, section = page.partition(f"# `{name}`\n")
        section = section.split("\n## ")[0].split("\n### ")[0]
        assert section, name
        for option in options(command):
            assert option in section, (name, option)


def test_every_command_that_is_shown_can_be_given() -> None:
    """Commands in blocks, line by line: the command exists, and so does every option behind it."""
    shown = 0
    for page, text in TEXTS.items():
        for line in (line for block in blocks("", text) for line in block.replace("\\\n", " ").splitlines()):
            if not line.startswith("xeric "):
                continue
            words = shlex.split(line.partition(">")[0], comments=True)
            name = " ".join(words[:3]) if " ".join(words[:3]) in COMMANDS else " ".join(words[:2])
            assert name in COMMANDS, (page, line)
            given = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert given <= options(COMMANDS[name]), (page, line)
            shown += 1
    assert shown > 20


def test_every_table_of_settings_can_be_made(hooks: ModuleType) -> None:
    """A field that its model's docstring says nothing of is an error here."""
    made = "\n".join(hooks.on_page_markdown(text) for text in TEXTS.values())
    assert "<!--" not in made
    assert "| `train.batch_size` | `8` | instances in an optimiser step. |" in made
    assert "| `claims.NAME.margin` | `1.0` |" in made
    assert "| `data.n_train` | `null` |" in made  # a field of the class that DataOptions extends


def test_every_study_that_is_shown_fits_together() -> None:
    shown = [yaml.safe_load(block) for text in TEXTS.values() for block in blocks("yaml", text)]
    studies = [data for data in shown if "bases" in data]
    assert len(studies) >= 2
    for data in studies:
        check_study(build(StudyConfig, plain_study(data, (), "shown")[0]))
    others = [data for data in shown if "bases" not in data]
    assert others
    for data in others:
        assert set(data) == {"tuning"}
        build(TuningConfig, data["tuning"])


def test_pages_that_the_code_and_the_readme_point_to_are_there() -> None:
    files = [
        ROOT / "README.md",
        *(ROOT / "xeric").rglob("*.py"),
        *(ROOT / "xeric").rglob("*.yaml"),
        *(ROOT / "bench").glob("*.py"),
    ]
    named = {(path, page) for path in files for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert len({page for _, page in named}) > 5
    for path, page in named:
        assert (ROOT / page).is_file(), (path, page)


def test_what_the_reference_is_made_of_is_there() -> None:
    named = [name for text in TEXTS.values() for name in re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)]
    assert named
    assert [name for name in named if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
