"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; the Lite variant: ReLU6, no squeeze-and-excitation), features only.

Inverted residual blocks of the seven stages of the paper's table 1 at width and depth 1, the strides padded as TensorFlow does:
what is left over goes to the right and the bottom. Parameters are named as in the published PyTorch checkpoint. Its classifier of
1,000 classes is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["EfficientNetLite0"]


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class _SameConv(nn.Conv2d):
    """A convolution whose output has ceil(size / stride) rows and columns."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(images.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [needed // 2, needed - needed // 2]
        convolved: torch.Tensor = super().forward(F.pad(images, padding))
        return convolved


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return _SameConv(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """An inverted residual block: expand, convolve each channel, project."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        self._expands = stage.expansion > 1
        if self._expands:
            self._expand_conv, self._bn0 = _convolution(inputs, width, 1), _norm(width)
        self._depthwise_conv, self._bn1 = _convolution(width, width, stage.kernel, stride, width), _norm(width)
        self._project_conv, self._bn2 = _convolution(width, stage.channels, 1), _norm(stage.channels)
        self._adds_input = stride == 1 and inputs == stage.channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = images
        if self._expands:
            hidden = F.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + images if self._adds_input else hidden


class EfficientNetLite0(nn.Module):
    """The network up to the mean over all places of its last layer: 1,280 features; for evaluation mode."""

    features = _HEAD

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _convolution(3, _STEM, 3, 2), _norm(_STEM)
        blocks, channels = [], _STEM
        for stage in _STAGES:
            for number in range(stage.repeats):
                blocks.append(_Block(channels, stage, stage.stride if number == 0 else 1))
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(channels, _HEAD, 1), _norm(_HEAD)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features ``[B, 1280]``.

        Args:
            images: ``[B, 3, side, side]``, from -1 to 1: ``(pixels - 127) / 128``.
        """
        hidden = F.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            hidden = block(hidden)
        hidden = F.relu6(self._bn1(self._conv_head(hidden)))
        return hidden.mean(dim=(2, 3))
