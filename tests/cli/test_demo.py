"""``xeric demo``: from a clone to a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny
from xeric.cli import run
from xeric.record_io import read_record

# As the command, but for bases, tasks and steps enough for a test.
SMALL = [
    "tasks=[summarization_en, poem_generation_hi]",
    "run.train.max_steps=1",
    "run.data.max_test=2",
    "run.decode.max_new_tokens=3",
    "run.metrics=[chrf, bleu, rouge_l, meteor]",
]


def test_the_demo_ends_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report"
    bases = [tiny.write_base(tmp_path / name, max_position_embeddings=2048) for name in ("multilingual", "monolingual")]
    settings = [f"bases=[{', '.join(map(str, bases))}]", *SMALL]
    arguments = ["demo", "-o", str(output), *(part for setting in settings for part in ("--set", setting))]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "Table 1" in printed
    assert str(output / "report.html") in printed
    for language in ("English (summarization_en", "Hindi (poem_generation_hi"):
        example = printed[printed.index(language) :]
        assert [example.index(f"  {part} ") for part in ("input", "before", "after", "reference")] == sorted(
            example.index(f"  {part} ") for part in ("input", "before", "after", "reference")
        )
    assert "undecided" in printed or "uninformative" in printed
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "नदी" in page or "हिन्दी" in page or "Hindi" in page
    runs = [folder for folder in (output / "runs").iterdir() if folder.is_dir()]
    records = {folder.name: read_record(folder) for folder in runs}
    assert len(records) == 7
    assert all(record is not None and record.status == "ok" for record in records.values())
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert {claim["name"] for claim in results["claims"]} == {"methods", "settings", "languages", "lora-close"}

    # Again: nothing is computed anew.
    before = {path: path.stat().st_mtime_ns for path in output.rglob("record.json")}
    assert run(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("record.json")} == before
