"""Sizes as people write them."""

from __future__ import annotations

import pytest

from xeric.adapt.options import parse_bytes
from xeric.errors import UserError


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 2**30), ("8g", 8 * 2**30), ("800 MiB", 800 * 2**20), ("1.5G", 3 * 2**29), ("1024", 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "8 apples", "0GB", "-1G", "9" * 400, "9" * 308 + "GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size of memory"):
        parse_bytes(text)
