"""Machines of one study with different software: each is told from the others, in a sentence that names both sides."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import xeric
from xeric.errors import DataError
from xeric.execution.software import check_software, cluster_mismatch, software


def test_a_machine_with_the_same_software_may_work() -> None:
    required = software()
    check_software(required, "10.0.0.7")
    assert required["Python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert required["Xeric"] == xeric.__version__


@pytest.mark.parametrize(
    ("changed", "own", "other"),
    [
        ({"Xeric": "9.1.0", "code": "0123456789ab"}, f"Xeric {xeric.__version__}", "Xeric 9.1.0"),
        ({"results of version": "99"}, "results of version ", "results of version 99"),
        (
            {"Python": "3.99", "torch": "1.0"},
            f"Python {sys.version_info.major}.{sys.version_info.minor}, torch ",
            "Python 3.99, torch 1.0",
        ),
        ({"Fortran": "77"}, "Fortran unknown", "Fortran 77"),
    ],
)
def test_another_version_is_refused_in_a_sentence_that_names_both(changed: dict[str, str], own: str, other: str) -> None:
    with pytest.raises(DataError) as refused:
        check_software({**software(), **changed}, "10.0.0.7")
    said = str(refused.value)
    assert said.startswith(f"node 10.0.0.7: has {own}")
    assert said.endswith(f", and the machine where the study was started has {other}")
    assert refused.value.exit_code == 2
    assert "the same versions" in str(refused.value.hint)


def test_other_code_under_the_same_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    required, package = software(), tmp_path / "xeric"
    shutil.copytree(Path(xeric.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("xeric.execution.software._PACKAGE", package)
    for path in package.rglob("*.py"):  # as a checkout on Windows has them
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    check_software(required, "10.0.0.7")
    with (package / "decoding.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    with pytest.raises(DataError, match=f"other code under the same version of Xeric.*{required['code']}"):
        check_software(required, "10.0.0.7")


def test_a_cluster_with_another_ray_or_python_is_not_taken_for_none() -> None:
    said = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
        "This process on node 10.0.0.1:6379 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    refused = cluster_mismatch(RuntimeError(said), "--ray auto")
    assert refused is not None
    assert (
        str(refused) == "--ray auto: the cluster has Ray 2.60.0 and Python 3.12.1, and this machine Ray 2.60.0 and Python 3.11.7"
    )
    assert cluster_mismatch(ConnectionError("Could not find any running Ray instance."), "--ray auto") is None
