"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import tiny
from xeric.cli import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    base = tiny.write_base(tmp_path / "base", max_position_embeddings=1024)
    monkeypatch.chdir(tmp_path)
    # The lines as they are, but for the base and a training short enough for a test.
    code = code.replace("gemma-3-270m", str(base)).replace(
        'method="lora")', 'method="lora", train={"max_steps": 2}, decode={"max_new_tokens": 8})'
    )
    assert str(base) in code
    assert "max_steps" in code
    exec(compile(code, "README.md", "exec"), {})
    score, low, high = map(float, capsys.readouterr().out.split("\n")[0].split())
    assert 0 <= low <= score <= high <= 100
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_every_command_that_is_shown_exists(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {tuple(words) for words in re.findall(r"^xeric (\w+)(?: (\w+(?: \| \w+)+))?", README, flags=re.MULTILINE)}
    commands = [
        [name, inner] if inner else [name] for name, listed in shown for inner in (listed.split(" | ") if listed else [""])
    ]
    assert len(commands) > 12
    for command in commands:
        assert run([*command, "--help"]) == 0, command


def test_what_the_readme_points_to_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert targets
    for target in targets:
        assert (ROOT / target).is_file(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
