"""The interface of every base: a model, a tokenizer, an architecture, a context, and the hooks that methods attach to.

This module knows nothing about methods or training. A base is opened by :func:`xeric.bases.loading.load_base`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xeric.bases.architecture import Architecture
from xeric.bases.chat_template import render_chat
from xeric.bases.protocols import AttentionAddition, EmbeddingAddition, InstanceVectors, LearnedPrefix, RowLayout
from xeric.data.batching import Batching
from xeric.data.encoding import Encoder
from xeric.data.pictures import Picture
from xeric.data.rows import NO_OPENINGS, InstanceRow, Openings, PrefixRow, RowGroup
from xeric.errors import ConfigError

__all__ = ["Base", "Precision", "is_ordinary_linear", "keep_contiguous"]

Precision = Literal["fp32", "bf16", "4bit"]

_DATE = "26 Jul 2024"


@dataclass(eq=False)
class Base:
    """A pretrained model ready to be adapted.

    Attributes:
        name: the name that the user gave.
        source: the folder of its files.
        model: the transformers model, in evaluation mode, no parameter requiring gradients.
        tokenizer: its tokenizer.
        architecture: how it computes rows: causal, encoder-decoder, or an encoder that generates.
        context: limit of tokens per row.
        bos: id of the token that its tokenizer puts first, or None.
        eos: ids that end its texts; the first closes a training target.
        pad: an id for padding; masked everywhere, so it need not be special.
        precision: ``fp32``; ``bf16`` (matrix products under autocast, frozen weights kept in bf16); ``4bit`` (the same, linear
            layers kept in four bits).
        device: where the model is.
        sha256: of its weights and, apart, of its config and tokenizer files.
        parameters: how many parameters the model has.
        shares_prefix: whether it can share a computed prefix; None until tested (:meth:`can_share_prefix`).
        packs_rows: whether it can compute rows of several tasks as one sequence; None until tested (:meth:`batching`).
        plain_output: whether its logits are what its output layer gives of the last hidden states; None until tested.
        writes_in_steps: whether it can write rows that join and leave a batch; None until tested (:mod:`xeric.bases.abilities`).
        learned_prefix: the learned prefix that a method puts in front of the rows, or None.
        instance_vectors: what a method makes of the pictures of instances, or None: then pictures are not looked at.
        embedding_addition: what a method adds to the rows' embeddings, or None.
        attention_addition: what a method adds to the outputs of attention, or None; see :mod:`xeric.bases.attention_addition`.
        layout: of the rows that the model computes now; None outside of :meth:`laid_out`.
    """

    name: str
    source: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    architecture: Architecture
    context: int
    bos: int | None
    eos: tuple[int, ...]
    pad: int
    precision: Precision
    device: torch.device
    sha256: dict[str, str]
    parameters: int = field(init=False)
    shares_prefix: bool | None = field(default=None, init=False)
    packs_rows: bool | None = field(default=None, init=False)
    plain_output: bool | None = field(default=None, init=False)
    writes_in_steps: bool | None = field(default=None, init=False)
    learned_prefix: LearnedPrefix | None = field(default=None, init=False)
    instance_vectors: InstanceVectors | None = field(default=None, init=False)
    embedding_addition: EmbeddingAddition | None = field(default=None, init=False)
    attention_addition: AttentionAddition | None = field(default=None, init=False)
    layout: RowLayout | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Not a sum of numel(): four-bit weights are stored two per byte.
        self.parameters = int(self.model.num_parameters())
        keep_contiguous(self.output_embeddings)

    # --- text ---------------------------------------------------------------------------------------------------------------

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text, without BOS or EOS.

        Args:
            text: any text.
            special: whether the text may spell special tokens; a user's text may not.
        """
        ids = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=not special, return_attention_mask=False, verbose=False
        )["input_ids"]
        return [int(i) for i in ids]

    def detokenize(self, ids: list[int]) -> str:
        """Return the text of token ids, special tokens left out, surrounding white space stripped."""
        return self.continuation(ids).strip()

    def continuation(self, ids: list[int]) -> str:
        """Return the text of token ids, special tokens left out, with the white space that joins it to what it continues."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the tokens that no text holds, by the text that a template writes for them."""
        return {token.content: number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def render_chat(self, messages: list[dict[str, str]], generation: bool) -> str:
        """Return chat messages as the base's template writes them; see :mod:`xeric.data.prompts`.

        Raises:
            ConfigError: the template refuses the messages, fails, or does more than it may.
        """
        # Some templates write today's date unless a date is passed; a run must not depend on its day.
        return render_chat(self.tokenizer, messages, generation, date_string=_DATE)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer carries a chat template, and the architecture can be asked in one."""
        return self.architecture.chats and bool(getattr(self.tokenizer, "chat_template", None))

    def encoder(self, task: str) -> Encoder:
        """Return the encoder of one task's rows; a learned prefix takes up positions, and may replace the BOS."""
        return self.architecture.encoder(self, task)

    def openings(self, pictures: Mapping[str, Picture | None]) -> Openings:
        """Return what stands in front of the inputs of instances; nothing where no method looks at pictures.

        Args:
            pictures: by the instance's id.

        Raises:
            DataError: a picture cannot be read.
        """
        shown = {id_: picture for id_, picture in pictures.items() if picture}
        if self.instance_vectors is None or not shown:
            return NO_OPENINGS
        return dict(zip(shown, self.instance_vectors.ids(list(shown.values())), strict=True))

    # --- rows ---------------------------------------------------------------------------------------------------------------

    def can_share_prefix(self) -> bool:
        """Whether a task prefix can be computed once for many rows now; :mod:`xeric.bases.causal` says when."""
        return self.architecture.can_share_prefix(self)

    def batching(self, *, shared: bool = True) -> Batching:
        """Return how rows are computed together now; ``shared`` is whether a prefix may be computed once for several rows."""
        return self.architecture.batching(self, shared=shared)

    def target_losses(
        self, groups: Sequence[RowGroup], coefficients: torch.Tensor, *, shared: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a weighted sum of losses of one micro-batch, which can be differentiated once, and the losses themselves.

        Args:
            groups: rows with targets, by the prefix row that they continue.
            coefficients: ``[N]``, float32: the weight in the sum of each target token of all rows, group by group, row by row.
            shared: compute each prefix once (falls back to the plain way where that cannot be done).

        Returns:
            The sum, and ``[N]``: - log P of each target token, in nats.
        """
        return self.architecture.target_losses(self, groups, coefficients, shared=shared)

    def target_logits(
        self, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits that predict the targets of one micro-batch, and the targets.

        Args:
            prefix: the prefix row that all instances continue, P tokens (P may be 0).
            rows: B instance rows with targets.
            shared: compute the prefix once (falls back to the plain way where that cannot be done).

        Returns:
            Logits ``[N, vocabulary]`` and target ids ``[N]``, N = target tokens of all rows, row by row.
        """
        return self.architecture.target_logits(self, prefix, rows, shared=shared)

    # --- model --------------------------------------------------------------------------------------------------------------

    @property
    def takes_positions(self) -> bool:
        """Whether the model takes ``position_ids`` (BLOOM does not: it computes distances from the attention mask)."""
        return "position_ids" in inspect.signature(self.model.forward).parameters

    @property
    def embedding_layers(self) -> list[torch.nn.Module]:
        """The modules that make embeddings of token ids: one, or the encoder's and the decoder's, which share their weights."""
        model: Any = self.model
        stacks = [model.get_encoder(), model.get_decoder()] if model.config.is_encoder_decoder else [model]
        return list(dict.fromkeys(stack.get_input_embeddings() for stack in stacks))

    @property
    def input_embeddings(self) -> torch.nn.Module:
        """The module that makes embeddings of a prompt's token ids."""
        return self.embedding_layers[0]

    @property
    def output_embeddings(self) -> torch.nn.Module:
        """The module that makes logits of hidden states."""
        module = self.model.get_output_embeddings()
        assert isinstance(module, torch.nn.Module)
        return module

    @property
    def vocabulary(self) -> int:
        """Number of rows of the input embedding."""
        weight = self.input_embeddings.weight
        assert isinstance(weight, torch.Tensor)
        return int(weight.shape[0])

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context that matrix products run in: bf16 autocast, or nothing."""
        if self.precision != "fp32":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def laid_out(self, layout: RowLayout) -> Iterator[None]:
        """Set the layout of the rows while the model computes them."""
        before, self.layout = self.layout, layout
        try:
            yield
        finally:
            self.layout = before

    @contextlib.contextmanager
    def recomputing(self) -> Iterator[None]:
        """Compute each layer's activations again in the backward pass instead of keeping them (Chen et al. 2016).

        Raises:
            ConfigError: the family cannot.
        """
        if not self.model.supports_gradient_checkpointing:
            raise ConfigError(
                f"{self.name} cannot recompute activations", where="train.gradient_checkpointing", hint="set it to false"
            )
        # Not the reentrant variant: it loses the gradients of adapters where the embeddings are frozen.
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        try:
            yield
        finally:
            self.model.gradient_checkpointing_disable()

    @contextlib.contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Put the model into training mode (dropout on) or evaluation mode, and restore its mode afterwards."""
        before = self.model.training
        self.model.train(training)
        try:
            yield
        finally:
            self.model.train(before)


def keep_contiguous(output_layer: torch.nn.Module) -> None:
    """Make the input of an output layer contiguous wherever logits are computed: in training, on dev, in decoding, in probes.

    A model passes it ``hidden[:, -1:]``, a view with gaps between the rows. In bf16 ``linear`` then computes a batched product,
    for which it expands and copies the whole layer once per row: 29 of 32 seconds of decoding, measured with a vocabulary of
    262,144.

    Args:
        output_layer: of a base, or a method's replacement of it; a layer that has the hook already is not changed.
    """
    if _contiguous_input not in output_layer._forward_pre_hooks.values():
        output_layer.register_forward_pre_hook(_contiguous_input)


def _contiguous_input(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (args[0].contiguous(), *args[1:])


def is_ordinary_linear(output_layer: torch.nn.Module) -> bool:
    """Whether an output layer is PyTorch's linear layer, with no hook but that of :func:`keep_contiguous`."""
    hooks = [*output_layer._forward_hooks.values(), *output_layer._forward_pre_hooks.values()]
    return type(output_layer) is torch.nn.Linear and all(hook is _contiguous_input for hook in hooks)
