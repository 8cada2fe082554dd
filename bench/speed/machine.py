"""The machine's limits: the rate of matrix products and the memory bandwidth, at their best of several measurements."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.speed.jobs import ROOT, Job, Result
from xeric.bases.precision import bf16_is_faster

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "sacrebleu", "rouge-score", "nltk", "llama-cpp-python", "vllm")
_EDGE = 2048
_BYTES = 1 << 30
_TIMES = 5


def measure(job: Job) -> Result:
    torch.set_num_threads(job["threads"])
    native = bf16_is_faster()
    rates = {name: matrix_rate(dtype) for name, dtype in DTYPES.items() if name == "fp32" or native}
    return {"matrix_rate": rates, "bandwidth": bandwidth(), "bf16_native": native, **described()}


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations per second of a product of square matrices, 2 n^3 operations."""
    a, b = torch.rand(_EDGE, _EDGE).to(dtype), torch.rand(_EDGE, _EDGE).to(dtype)
    return float(2 * _EDGE**3 / best(lambda: a @ b))


def bandwidth() -> float:
    """Bytes read per second: the product of a matrix larger than any cache with a vector, and a sum over it."""
    matrix = torch.rand(_BYTES // 4 // 4096, 4096)
    vector = torch.rand(4096)
    return _BYTES / min(best(lambda: matrix @ vector), best(matrix.sum))


def best(work: Callable[[], Any]) -> float:
    work()
    seconds = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def described() -> dict[str, Any]:
    """What the figures were measured with."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
        "commit": commit(),
    }


def processor() -> str:
    try:
        name = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        name = None
    return name[1] if name else platform.processor()


def commit() -> str | None:
    """The commit of the code, with ``+`` where files are changed; None outside of a clone."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    # The results themselves are no change of the code.
    return head + ("+" if any(not line.endswith(("bench/results.md", "bench/results.json")) for line in changed) else "")
