"""Image encoders by name: what they see, how many features that gives, and where their weights come from.

- ``efficientnet-lite0``: EfficientNet-Lite0, trained on ImageNet (1.3 million photographs of 1,000 classes). Its weights come
  by the name of a Python package (:mod:`xeric.pictures.weights`).
- ``pixels``: the colours of the picture at 8 x 8 places. No weights; it knows colour and layout and nothing of what is shown,
  so it is what an encoder has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch

from xeric.bases.tensors import read_tensors
from xeric.data.pictures import Picture, read_pixels
from xeric.pictures.efficientnet import EfficientNetLite0
from xeric.pictures.weights import EFFICIENTNET_LITE0, encoder_weights
from xeric.progress import Progress

__all__ = ["EncoderName", "ImageEncoder", "image_encoder"]

EncoderName = Literal["efficientnet-lite0", "pixels"]

_PLACES = 8
_SIDE = 224
_AT_ONCE = 8


class ImageEncoder(Protocol):
    """Makes features of pictures.

    Attributes:
        identity: of the encoder and its weights: features are kept under it.
        features: how many there are of a picture.
        costly: whether making them takes longer than reading them where they were kept.
    """

    identity: str
    features: int
    costly: bool

    def encode(self, pictures: Sequence[Picture], progress: Progress) -> torch.Tensor:
        """Return ``[N, features]`` in float32; weights are fetched where necessary.

        Raises:
            DataError: a picture cannot be read.
            UserError: the weights cannot be fetched.
        """


def image_encoder(name: EncoderName) -> ImageEncoder:
    """Return an encoder; nothing is loaded or fetched before it has a picture to encode."""
    return _Pixels() if name == "pixels" else _EfficientNet()


class _Pixels:
    identity = "pixels-8x8-v1"
    features = 3 * _PLACES * _PLACES
    costly = False

    def encode(self, pictures: Sequence[Picture], progress: Progress) -> torch.Tensor:
        return torch.stack([torch.from_numpy(read_pixels(p, _PLACES).copy()).float().flatten() / 255 for p in pictures])


class _EfficientNet:
    identity = f"efficientnet-lite0-{EFFICIENTNET_LITE0.sha256[:16]}-v1"
    features = EfficientNetLite0.features
    costly = True

    def __init__(self) -> None:
        self._network: EfficientNetLite0 | None = None

    def encode(self, pictures: Sequence[Picture], progress: Progress) -> torch.Tensor:
        network, parts = self._opened(progress), []
        with torch.inference_mode():
            for start in range(0, len(pictures), _AT_ONCE):
                pixels = [torch.from_numpy(read_pixels(p, _SIDE).copy()) for p in pictures[start : start + _AT_ONCE]]
                images = (torch.stack(pixels).permute(0, 3, 1, 2).float() - 127) / 128
                parts.append(network(images))
        return torch.cat(parts).clone()

    def _opened(self, progress: Progress) -> EfficientNetLite0:
        if self._network is None:
            network = EfficientNetLite0()
            network.load_state_dict(read_tensors(encoder_weights(EFFICIENTNET_LITE0, progress), "image encoder weights"))
            self._network = network.eval().requires_grad_(False)
        return self._network
