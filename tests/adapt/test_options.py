"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from xeric.adapt.options import parse_bytes, parse_seconds
from xeric.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("2d", 172_800), ("1.5h", 5400), ("20", 1200), ("5 min", 300), ("1H", 3600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "m30", "1h 2x", "-5m", "5s", "0m"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_seconds(text)
    assert "5m" in str(caught.value.hint) or "30m" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 2**30), ("8g", 8 * 2**30), ("800 MiB", 800 * 2**20), ("1.5G", 3 * 2**29), ("1024", 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "8 apples", "0GB", "-1G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size of memory"):
        parse_bytes(text)
