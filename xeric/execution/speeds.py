"""Speeds of bases that were measured not long ago, in the cache folder: one plan after another times a base once.

A speed belongs to a base, a machine, a precision and what else its measurement depends on; it is kept for a day, as what else the
machine does changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xeric.bases.home import home
from xeric.config import digest
from xeric.errors import XericError
from xeric.execution.operations import Speed
from xeric.files import modified_ns
from xeric.json_io import read_json, write_json

__all__ = ["Measurement", "keep_measurement", "kept_measurement"]

_SECONDS = 24 * 3600
_VERSION = 2
"""Raised when what is measured changes."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured on a base.

    Attributes:
        speed: of training and decoding.
        memory: ratio of a micro-batch's memory to its estimate, at least 1.
    """

    speed: Speed
    memory: float


def kept_measurement(what: Mapping[str, Any]) -> tuple[Measurement, str] | None:
    """Return a measurement that is not older than a day, and when it was made; None where there is none.

    Args:
        what: it depends on, but for the machine: hashes of the base, precision, threads, how the study trains and decodes.
    """
    path = _path(what)
    written = modified_ns(path)
    if written is None or not 0 <= time.time() - written / 1e9 < _SECONDS:
        return None
    try:
        data = read_json(path)
        measurement = Measurement(Speed(**data["speed"]), float(data["memory"]))
    except (XericError, KeyError, TypeError, ValueError):
        return None  # of another version, or damaged: it is measured again
    return measurement, time.strftime("%Y-%m-%d %H:%M", time.localtime(written / 1e9))


def keep_measurement(what: Mapping[str, Any], measurement: Measurement) -> None:
    """Keep a measurement for the next plan; where the cache folder cannot be written, it is measured again then."""
    with contextlib.suppress(XericError):
        write_json(_path(what), {"speed": dataclasses.asdict(measurement.speed), "memory": measurement.memory, "of": dict(what)})


def _path(what: Mapping[str, Any]) -> Path:
    machine = [platform.node(), platform.machine(), platform.platform(), os.cpu_count()]
    return home() / "speeds" / f"{digest([_VERSION, machine, dict(what)])[:24]}.json"
