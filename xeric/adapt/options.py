"""The settings of ``xeric adapt``."""

from __future__ import annotations

import math

import regex
from pydantic import Field

from xeric.bases.names import BaseName
from xeric.bases.precision import PrecisionName
from xeric.config import Config, Seed
from xeric.errors import UserError
from xeric.metrics import PRIMARY

__all__ = ["LEAST_SECONDS", "AdaptOptions", "parse_bytes"]

_SIZE = regex.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?)(?:i?b)?", regex.IGNORECASE)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
LEAST_SECONDS = 30.0


class AdaptOptions(Config):
    """What an adaptation may take, and what it is chosen by.

    Attributes:
        seconds: of wall clock, everything included: reading, trying, training, scoring, the report.
        base: as ``--base`` takes it; None chooses among the known bases by language, memory and time.
        memory: most bytes that a training may take; None is what is free.
        metric: that the choice is made by.
        seeds: trainings of the chosen method, whose spread is reported; the first is the one that is handed over.
        seed: of everything that is drawn.
        device: as in a run.
        precision: as in a run.
    """

    seconds: float = Field(default=1800.0, ge=LEAST_SECONDS, le=30 * 86_400.0)
    base: BaseName | None = None
    memory: int | None = Field(default=None, ge=1)
    metric: str = PRIMARY
    seeds: int = Field(default=1, ge=1, le=20)
    seed: Seed = 0
    device: str = "auto"
    precision: PrecisionName = "auto"


def parse_bytes(text: str) -> int:
    """Return the bytes in "8GB", "8G" or "800 MiB" (powers of 1024).

    Raises:
        UserError: it is no size.
    """
    matched = _SIZE.fullmatch(text.strip())
    size = float(matched["number"]) * _UNITS[matched["unit"].lower()] if matched else 0.0
    if not 0.0 < size < math.inf:
        raise UserError(f"{text!r} is no size of memory", where="--memory", hint="write 8GB or 800MB")
    return int(size)
