"""Checks of a base when it is opened, so that faulty files do not fail in the middle of a training.

A tokenizer may know more tokens than the model has embeddings for: tokens were added and the model was not resized, or the files
are of two models. Special tokens beyond the embeddings do no harm as long as nothing spells them (Gemma 3's text models share the
tokenizer of those that see images); all others would index past the end of the table.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xeric.bases.chat_template import render_chat
from xeric.errors import ConfigError, DataError

__all__ = ["check_base", "token_rows"]

_RESIZE = (
    "resize the model to its tokenizer and save both (in transformers: model.resize_token_embeddings(len(tokenizer))), "
    "or take the tokenizer that belongs to it"
)
_GREETING = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def check_base(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the tokenizer fits the model, and that the model's weights are finite.

    Args:
        name: of the base, as the user gave it.
        model: on its device.
        tokenizer: of the model.

    Raises:
        DataError: the tokenizer does not fit, or a weight is not finite.
    """
    _check_tokens(name, model, tokenizer)
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter.sum(dtype=torch.float32))):
            _refuse_if_not_finite(name, key, parameter)


def _refuse_if_not_finite(name: str, key: str, parameter: torch.nn.Parameter) -> None:
    if not bool(torch.isfinite(parameter).all()):  # a sum of large numbers may overflow
        raise DataError(f"its weights {key!r} hold values that are no numbers", where=name, hint="fetch or save it again")


def _check_tokens(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = token_rows(model)
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    used = _used_by_text(beyond, tokenizer) | _used_by_prompts(tokenizer)
    if harmful := [beyond[number] for number in sorted(beyond) if number in used]:
        names = ", ".join(map(repr, harmful[:3])) + (f" and {len(harmful) - 3} more" if len(harmful) > 3 else "")
        message = f"its tokenizer has {max(beyond) + 1} tokens, its embedding {rows} rows: there is none for {names}"
        raise DataError(message, where=name, hint=_RESIZE)


def token_rows(model: PreTrainedModel) -> int:
    """Return the number of tokens that a model can both read and predict."""
    input_embeddings, output_embeddings = model.get_input_embeddings(), model.get_output_embeddings()
    # Not the shape of their weights, which four-bit layers pack.
    return min(int(getattr(input_embeddings, "num_embeddings")), int(getattr(output_embeddings, "out_features")))  # noqa: B009


def _used_by_text(beyond: dict[int, str], tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return those of some tokens that can occur in tokenised text: all but the special ones."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {number for number in beyond if number not in special}


def _used_by_prompts(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens at the beginning and end of rows, and those that the chat template writes."""
    used = {number for number in (tokenizer.bos_token_id, tokenizer.eos_token_id) if isinstance(number, int)}
    if getattr(tokenizer, "chat_template", None):
        try:
            written = render_chat(tokenizer, _GREETING, False)
        except ConfigError:  # refused where it is used
            return used
        used |= {int(number) for number in tokenizer(written, add_special_tokens=False)["input_ids"]}
    return used
