"""Settings of an adaptation: sizes as people write them, and what the library passes on."""

from __future__ import annotations

from typing import Any

import pytest

from xeric import api
from xeric.adapt import adapting
from xeric.adapt.options import AdaptOptions, parse_bytes
from xeric.adapt.source import SourceOptions
from xeric.errors import ConfigError, UserError


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 2**30), ("8g", 8 * 2**30), ("800 MiB", 800 * 2**20), ("1.5G", 3 * 2**29), ("1024", 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "8 apples", "0GB", "-1G", "9" * 400, "9" * 308 + "GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size of memory"):
        parse_bytes(text)


def test_the_library_takes_every_setting_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(adapting, "adapt", lambda *_, **given: taken.update(given))
    source = {name: ("enclose" if name == "quotes" else f"a {name}") for name in SourceOptions.model_fields}
    adaptation = {
        "seconds": 900.0,
        "base": "smollm2-135m",
        "memory": 2**33,
        "metric": "rouge_l",
        "seeds": 3,
        "seed": 7,
        "device": "cpu",
        "precision": "fp32",
    }
    assert set(adaptation) == set(AdaptOptions.model_fields)
    api.adapt("t.csv", "out", **source, **adaptation)
    assert taken["source_options"].model_dump() == source
    assert taken["options"].model_dump() == adaptation


def test_a_setting_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="seedz"):
        api.adapt("t.csv", "out", seedz=3)
