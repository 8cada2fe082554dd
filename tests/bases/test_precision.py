"""Which precision ``auto`` takes: bf16 where it is computed natively and measured faster, nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from xeric.bases import precision
from xeric.bases.precision import resolve_device, resolve_precision
from xeric.errors import UserError
from xeric.execution.opening import check_settings
from xeric.run.config import run_config
from xeric.studies.plan import load_study, plan_study

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    precision._bf16_gain.cache_clear()
    yield
    precision._bf16_gain.cache_clear()


def native(monkeypatch: pytest.MonkeyPatch, *checks: str) -> None:
    for check in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda check=check: check in checks, raising=False)


def seconds(monkeypatch: pytest.MonkeyPatch, bf16: float, fp32: float) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda dtype: bf16 if dtype == torch.bfloat16 else fp32)


@pytest.mark.parametrize(
    ("checks", "bf16", "fp32", "chosen"),
    [
        (("_is_avx512_bf16_supported",), 0.25, 1.0, "bf16"),
        (("_is_amx_tile_supported",), 0.25, 1.0, "bf16"),
        (("_is_amx_tile_supported",), 0.9, 1.0, "fp32"),
        ((), 0.25, 1.0, "fp32"),
    ],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, checks: tuple[str, ...], bf16: float, fp32: float, chosen: str) -> None:
    native(monkeypatch, *checks)
    seconds(monkeypatch, bf16, fp32)
    assert resolve_precision("auto", CPU) == chosen


def test_a_processor_without_bf16_is_not_measured_and_its_user_is_warned(
    monkeypatch: pytest.MonkeyPatch, base_folder: Callable[[str], Path]
) -> None:
    native(monkeypatch)
    monkeypatch.setattr(precision, "_seconds", lambda _: pytest.fail("measured"))
    settings = {"tasks": ["t"], "base": str(base_folder("llama")), "method": "lora", "device": "cpu"}
    config, remarks = run_config({**settings, "precision": "bf16"})
    assert config.precision == "bf16"
    assert any("does not compute bf16 natively" in remark for remark in remarks)
    config, remarks = run_config(settings)
    assert config.precision == "fp32"
    assert not remarks


@pytest.mark.parametrize(
    ("bf16", "named", "parts"),
    [
        (0.25, None, ("computing in bf16", "4.0 times as fast", "texts may differ", "precision=fp32")),
        (0.9, None, ("computing in fp32", "1.1 times", "precision=bf16 asks for it", "texts may differ")),
        (0.25, "bf16", ()),
        (0.25, "fp32", ()),
        (1.2, "bf16", ("computes fp32 as fast",)),
    ],
)
def test_where_the_processor_has_bf16_and_nobody_chose_a_note_says_what_is_used_and_what_it_costs(
    bf16: float,
    named: str | None,
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    base_folder: Callable[[str], Path],
) -> None:
    native(monkeypatch, "_is_avx512_bf16_supported")
    seconds(monkeypatch, bf16, 1.0)
    settings = {"tasks": ["t"], "base": str(base_folder("llama")), "method": "lora", "device": "cpu"}
    _, remarks = run_config(settings | ({"precision": named} if named else {}))
    assert len(remarks) == bool(parts)
    assert all(words in remarks[0] for words in parts)


def test_a_study_says_it_once_for_all_its_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, "_is_amx_tile_supported")
    seconds(monkeypatch, 0.25, 1.0)
    study, _ = load_study("demo", ["run.device=cpu"])
    assert [remark[:17] for remark in check_settings(plan_study(study))] == ["computing in bf16"]


def test_the_measurement_itself_runs() -> None:
    assert precision._seconds(torch.float32) > 0


@pytest.mark.parametrize(("number", "chosen"), [(0, "bf16"), (1, "fp32")])
def test_auto_takes_no_bf16_that_a_gpu_emulates_and_asks_the_one_that_is_named(
    number: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with a new GPU, the current one, and an old one (a T4, say), which PyTorch helps out."""
    current = [0]

    @contextlib.contextmanager
    def device(named: torch.device) -> Iterator[None]:
        before, current[:] = list(current), [named.index]
        yield
        current[:] = before

    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or current == [0]

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", torch.device("cuda", number)) == chosen
    assert resolve_precision("bf16", torch.device("cuda", number)) == "bf16", "asked for by name, it may be emulated"
    assert current == [0]


def test_a_gpu_that_is_not_there_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(resolve_device(name)) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(UserError, match=r"there is no cuda:2: .* 2 can be seen here"):
        resolve_device("cuda:2")
