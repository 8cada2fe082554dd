"""Device and precision of a base."""

from __future__ import annotations

import functools
import importlib.util
import time
from typing import Literal

import torch

from xeric.bases.base import Precision
from xeric.errors import UserError

__all__ = ["PrecisionName", "bf16_is_faster", "precision_remark", "resolve_device", "resolve_precision"]

PrecisionName = Literal["auto", "fp32", "bf16", "4bit"]

# Largest share of float32's time that bfloat16 may take to count as faster. Processors that compute it natively take a quarter,
# so the choice does not depend on the noise of a measurement.
_FASTER = 0.75


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}", hint="use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is available here", hint="use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise UserError(f"there is no {device}: CUDA devices are counted from 0, and {count} can be seen here", hint="use cuda")
    return device


def resolve_precision(name: PrecisionName, device: torch.device) -> Precision:
    """Return the precision of a name; ``auto`` is bf16 where the device computes it faster than fp32, else fp32.

    On a CUDA device that computes bf16 itself it is faster; where PyTorch emulates it, only ``bf16`` by name takes it. On a
    processor it is measured (:func:`bf16_is_faster`).

    Raises:
        UserError: the device cannot compute in bf16 or has no four-bit weights, or the library for them is missing.
    """
    cuda = device.type == "cuda"
    if name == "auto":
        faster = _cuda_has_bf16(device, emulated=False) if cuda else bf16_is_faster()
        return "bf16" if faster else "fp32"
    if name != "fp32" and cuda and not _cuda_has_bf16(device, emulated=True):
        raise UserError("this CUDA device has no bf16", hint="use --precision fp32")
    if name == "4bit" and not cuda:
        raise UserError("four-bit weights need a CUDA device", hint="use --precision bf16, or --device cuda where there is one")
    if name == "4bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("four-bit weights need the package bitsandbytes", hint="pip install 'xeric[gpu]'")
    return name


def _cuda_has_bf16(device: torch.device, *, emulated: bool) -> bool:
    with torch.cuda.device(device):  # PyTorch answers for the current one
        return bool(torch.cuda.is_bf16_supported(including_emulation=emulated))


def precision_remark(name: PrecisionName, device: torch.device) -> str | None:
    """Return what the user should know of the precision that a name stands for on a processor; None where there is nothing.

    Args:
        name: as the user gave it.
        device: where the base is.
    """
    if device.type != "cpu":
        return None
    gain = _bf16_gain()
    if name == "bf16" and not bf16_is_faster():
        slower = "does not compute bf16 natively: fp32 is faster, often by far" if gain is None else "computes fp32 as fast"
        return f"this processor {slower} (--precision fp32)"
    if name != "auto" or gain is None:
        return None
    if bf16_is_faster():
        return (
            f"computing in bf16, which this processor has and computes {gain:.1f} times as fast as fp32; texts may differ from "
            "those in fp32, which precision=fp32 asks for"
        )
    return (
        "computing in fp32: this processor has bf16 and usually computes it several times as fast, but in a measurement now "
        f"only {gain:.1f} times; precision=bf16 asks for it, and texts may differ from those in fp32"
    )


def bf16_is_faster() -> bool:
    """Whether this processor computes bfloat16 natively (AMX, AVX512-BF16), and matrix products faster than in float32."""
    gain = _bf16_gain()
    return gain is not None and _FASTER * gain > 1


@functools.cache
def _bf16_gain() -> float | None:
    """Return how many times as fast as float32 this processor computes bfloat16; None where it does not compute it natively.

    Emulated it can be hundreds of times slower, so that is not measured.
    """
    if not (_has("_is_amx_tile_supported") or _has("_is_avx512_bf16_supported")):
        return None
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


def _has(check: str) -> bool:
    # The checks have no public name in torch.cpu (2.9 to 2.13); a release without them is treated as a processor without bf16.
    return bool(getattr(torch.cpu, check, lambda: False)())


def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of several matrix products of the size of a layer of a small model."""
    rows, weight = torch.ones(512, 640, dtype=dtype), torch.ones(2048, 640, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        best = min(best, time.perf_counter() - start)
    return best
