r"""Picture prefixes: a few vectors made of each instance's picture, in front of the instance's own tokens.

A frozen image encoder sees the picture (:mod:`xeric.pictures.encoders`); a small trained map makes k vectors of its features, as
the prefix of Frozen (Tsimpoukelli et al. 2021, arXiv 2106.13884) and the mapping of ClipCap (Mokady et al. 2021, arXiv
2111.09734) do::

    v_j = e_j + s (W_j a + b_j)      a = f (one linear layer) or gelu(U f + c) (two layers),   j = 1 .. k

f are the features, each brought to mean 0 and variance 1 over the pictures of the training instances and cut off at -8 and 8; one
that hardly varies there is 0. The statistics are kept with the weights, so that every picture is seen alike afterwards. Without
them, what all pictures share drowns what tells them apart: the features of a trained encoder are never negative. e_j are the
embeddings of k tokens of a text, fixed; s is the standard deviation of the base's embeddings, so that one learning rate serves
any base. W = 0 and b = 0 at the start: step 0 is exactly the base, with these k tokens in front of the instance. An instance
without a picture has no such vectors, and the base computes it as ever.

The vectors stand behind the shared task prefix, which is still computed once. The base's own weights stay as they are; as a
part of ``combined``, beside LoRA, they are adapted too.

Trainable parameters, for F features and d the base's width: k d (F + 1), or w (F + 1) + k d (w + 1) with two layers of width w.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from xeric.bases.base import Base
from xeric.data.pictures import Picture
from xeric.errors import ConfigError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup
from xeric.methods.module_adaptation import ModuleAdaptation
from xeric.pictures.encoders import EncoderName, image_encoder
from xeric.pictures.features import picture_features
from xeric.progress import Silent
from xeric.search_space import Range

__all__ = ["PicturePrefix", "PicturePrefixOptions"]

_CHILD = "picture_prefix"
_LIMIT = 8.0
"""Standard deviations at which a feature is cut off: one seen once in training must not drown the others later."""
_FLAT = 1e-3
"""A feature whose standard deviation is below this share of the mean one does not vary."""
_SPREAD_OF = 4096
"""Rows of the embedding that its spread is taken of."""

_log = logging.getLogger(__name__)


class PicturePrefixOptions(MethodOptions):
    """Options of picture prefixes.

    Attributes:
        encoder: that sees the pictures: ``efficientnet-lite0`` (photographs; fetched by the name of a package) or ``pixels``
            (colours at 8 x 8 places: what an encoder has to beat).
        length: k, vectors of each picture; they count in the context.
        width: w, of the hidden layer; null is one linear layer.
        text: whose tokens' embeddings the vectors start as, repeated or cut to k.
    """

    name: Literal["picture"] = "picture"
    encoder: EncoderName = "efficientnet-lite0"
    length: int = Field(default=4, ge=1, le=256)
    width: int | None = Field(default=128, ge=1, le=16384)
    text: Annotated[str, Field(min_length=1)] = "picture "


class _Map(nn.Module):
    """From features to k vectors, in units of the spread of the base's embeddings; float32 whatever the base is in.

    Its matrices are parameters, not linear layers, which LoRA would adapt, too.
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int, length: int, hidden: int, width: int | None, seed: int) -> None:
        super().__init__()
        self._shape = (length, hidden)
        self._two_layers = width is not None
        if width is not None:
            drawn = torch.randn(width, features, generator=torch.Generator().manual_seed(seed))
            self.inner_weight = nn.Parameter(drawn * features**-0.5)
            self.inner_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("scale", torch.zeros(features))  # nothing is seen before statistics are taken
        self.outer_weight = nn.Parameter(torch.zeros(length * hidden, width or features))
        self.outer_bias = nn.Parameter(torch.zeros(length * hidden))

    def standardise(self, features: torch.Tensor) -> None:
        """Take mean and standard deviation of each of the features ``[N, F]``."""
        spread = features.std(0, correction=0)
        varies = spread > _FLAT * spread.mean()
        self.center.copy_(features.mean(0))
        self.scale.copy_(torch.where(varies, 1 / spread.where(varies, 1.0), 0.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``[N, k, hidden]`` for features ``[N, F]``."""
        seen = ((features - self.center) * self.scale).clamp(-_LIMIT, _LIMIT)
        if self._two_layers:
            seen = F.gelu(F.linear(seen, self.inner_weight, self.inner_bias))
        return F.linear(seen, self.outer_weight, self.outer_bias).reshape(-1, *self._shape)


class _Vectors:
    """The vectors of all pictures that rows were made of: ids that stand for them, and what the ids are turned into.

    Id ``V + k n + j`` is vector j of picture n, for a vocabulary of V.
    """

    def __init__(self, base: Base, options: PicturePrefixOptions, seed: int) -> None:
        self._encoder = image_encoder(options.encoder)
        self._first, self._length = base.vocabulary, options.length
        self._numbers: dict[str, int] = {}
        self._features = torch.zeros(0, self._encoder.features, device=base.device)
        self._seen: torch.Tensor | None = None
        self.initial_tokens = _initial_tokens(base, options)
        with torch.no_grad():
            # What the layer makes of its weights, which some families scale.
            self._start = base.input_embeddings(torch.tensor(self.initial_tokens, device=base.device)).float().clone()
            some = torch.arange(min(self._first, _SPREAD_OF), device=base.device)
            self._spread = float(base.input_embeddings(some).float().std())
        hidden = self._start.shape[1]
        self.map = _Map(self._encoder.features, options.length, hidden, options.width, seed).to(base.device)

    @property
    def encoder(self) -> str:
        """Encoder and weights."""
        return self._encoder.identity

    def ids(self, pictures: Sequence[Picture]) -> list[tuple[int, ...]]:
        """Return the ids of each picture, its features computed where they are not kept."""
        new = list({p.sha256: p for p in pictures if p.sha256 not in self._numbers}.values())
        if new:
            rows = picture_features(self._encoder, new, _Logged())
            self._numbers |= {p.sha256: len(self._features) + number for number, p in enumerate(new)}
            self._features = torch.cat([self._features, rows.to(self._features)])
        starts = [self._first + self._length * self._numbers[p.sha256] for p in pictures]
        return [tuple(range(start, start + self._length)) for start in starts]

    def standardise(self, pictures: Sequence[Picture]) -> None:
        """Take statistics of the features of the training pictures, unless there are some (of an earlier stage)."""
        if not pictures or self.map.scale.any():
            return
        numbers = [(ids[0] - self._first) // self._length for ids in self.ids(pictures)]
        self.map.standardise(self._features[numbers])

    def hook(self, layer: nn.Module) -> list[RemovableHandle]:
        """Make an embedding layer return vectors where ids stand for them; return what takes that back."""
        # Before any hook that adds to embeddings, which then adds to these, too.
        return [layer.register_forward_pre_hook(self._tokens_only), layer.register_forward_hook(self._put_in, prepend=True)]

    def _tokens_only(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        self._seen = args[0]
        return (args[0].where(args[0] < self._first, 0), *args[1:])

    def _put_in(self, _: nn.Module, args: tuple[torch.Tensor, ...], words: torch.Tensor) -> torch.Tensor:
        assert self._seen is not None
        ids, self._seen = self._seen, None
        where = ids >= self._first
        if not where.any():
            return words
        codes = ids[where] - self._first
        pictures, rows = torch.unique(codes // self._length, return_inverse=True)
        vectors: torch.Tensor = self._start + self._spread * self.map(self._features[pictures])
        return words.masked_scatter(where[..., None], vectors[rows, codes % self._length].to(words.dtype))


class _PictureAdaptation(ModuleAdaptation):
    unmergeable = "vectors made of pictures cannot be merged into the base's weights"

    def __init__(self, base: Base, options: PicturePrefixOptions, seed: int) -> None:
        super().__init__(base, options)
        self._vectors = _Vectors(base, options, seed)
        base.model.add_module(_CHILD, self._vectors.map)
        self._hooks = [handle for layer in base.embedding_layers for handle in self._vectors.hook(layer)]
        base.instance_vectors = self._vectors

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("picture", self.parameters_under(f"{_CHILD}."), weight_decay=False)]

    def fixed(self) -> dict[str, torch.Tensor]:
        prefix = f"{_CHILD}."
        return {name: buffer for name, buffer in self.base.model.named_buffers() if name.startswith(prefix)}

    def describe(self) -> dict[str, Any]:
        return {"encoder": self._vectors.encoder}

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.base.instance_vectors = None
        delattr(self.base.model, _CHILD)


class _Logged(Silent):
    """Says what is fetched in the log: the place where rows are made has no progress to tell."""

    def note(self, text: str) -> None:
        _log.warning("%s", text)


def _initial_tokens(base: Base, options: PicturePrefixOptions) -> tuple[int, ...]:
    words = base.tokenize(options.text)
    if not words:
        raise ConfigError("makes no tokens", where="method.text", hint="give a word")
    if options.length > base.context // 4:
        hint = f"at most {base.context // 4}"
        raise ConfigError("is more than a quarter of the context", where="method.length", hint=hint)
    return tuple([*words * (options.length // len(words) + 1)][: options.length])


class PicturePrefix(Method):
    """A learned prefix made of each instance's picture; the base is frozen."""

    Options = PicturePrefixOptions
    default_lr = 3e-3
    search_space = {"train.lr": Range(low=3e-4, high=3e-2), "method.length": (2, 4, 8)}

    @classmethod
    def mergeable(cls, options: PicturePrefixOptions) -> bool:
        """Return False: vectors of instances are no change of the weights."""
        return False

    @classmethod
    def seeded(cls, options: PicturePrefixOptions) -> bool:
        """Return whether its start is drawn."""
        return options.width is not None

    @classmethod
    def attach(
        cls, base: Base, options: PicturePrefixOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS
    ) -> Adaptation:
        """Put the map beside the base. No picture is looked at, and nothing fetched, before rows are made of instances.

        Raises:
            ConfigError: the vectors take too much of the context, or start from no tokens.
        """
        return _PictureAdaptation(base, options, seed)
