"""``tools/supply.py``: what licences are stated, what an audit means, and a bill of materials that repeats."""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.scripts import load_script

TOOL = Path(__file__).parents[2] / "tools" / "supply.py"


@pytest.fixture(scope="module")
def supply() -> ModuleType:
    return load_script("tools/supply.py")


def described(**fields: Any) -> Message:
    message = Message()
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "MIT", "License": "see file"}, "MIT"),
        ({"Classifier": ["Topic :: Text", "License :: OSI Approved :: BSD License"], "License": "BSD"}, "BSD License"),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "License :: Public Domain"]}, "MIT License or Public Domain"),
        ({"License": "Apache 2.0\n\nTerms and conditions"}, "Apache 2.0"),
        ({"License": "x" * 500}, "x" * 80),
        ({"License": " "}, "not stated"),
        ({}, "not stated"),
    ],
)
def test_a_licence_is_the_most_exact_that_is_stated(supply: ModuleType, fields: dict[str, Any], expected: str) -> None:
    assert supply.licence(described(**fields)) == expected


def test_licences_are_listed_of_everything_installed(supply: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert supply.main(["licences"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"numpy {metadata.version('numpy')}: ") for line in lines)
    assert [line.partition(" ")[0].lower() for line in lines] == sorted(line.partition(" ")[0].lower() for line in lines)


def test_the_bill_of_materials_has_the_same_bytes_twice(supply: ModuleType, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert supply.main(["sbom", str(tmp_path / name)]) == 0
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    bill = json.loads((tmp_path / "first").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    purls = {component["purl"] for component in bill["components"]}
    assert f"pkg:pypi/numpy@{metadata.version('numpy')}" in purls
    assert f"pkg:pypi/rouge-score@{metadata.version('rouge-score')}" in purls, "names in their normal form"


def audited(monkeypatch: pytest.MonkeyPatch, supply: ModuleType, out: str = "", err: str = "") -> int:
    monkeypatch.setattr(supply.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=out, stderr=err, returncode=1))
    return int(supply.audit(sys.executable))


def test_a_known_vulnerability_fails_the_audit(
    supply: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "2.0", "vulns": [{"id": "CVE-1"}, {"id": "GHSA-2"}]},
        {"name": "own", "skip_reason": "not on the index"},
    ]
    assert audited(monkeypatch, supply, json.dumps({"dependencies": packages})) == 1
    assert capsys.readouterr().out.splitlines() == [
        "audit: bad 2.0 has known vulnerabilities: CVE-1, GHSA-2",
        "audit: 2 of 3 packages looked up, 1 with known vulnerabilities",
        "audit: skipped for 1, which the database does not know or cannot be asked about from this machine",
    ]
    assert audited(monkeypatch, supply, json.dumps({"dependencies": packages[:1]})) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("requests.exceptions.ConnectionError: refused", 0),
        ("pip_audit._service.interface.ServiceError: 503", 0),
        ("No module named pip_audit", 0),
        ("ERROR: invalid requirements", 1),
    ],
)
def test_an_audit_is_skipped_only_where_nobody_can_be_asked(
    supply: ModuleType, error: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(monkeypatch, supply, err=error) == code
    printed = capsys.readouterr()
    assert ("skipped" in printed.out) == (code == 0)
    assert (error in printed.err) == (code == 1)


def test_without_an_environment_the_audit_says_that_it_is_skipped(
    supply: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert supply.main(["audit", str(tmp_path / "python")]) == 0
    assert "skipped" in capsys.readouterr().out


def test_other_arguments_are_answered_with_the_usage() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "audits"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr
