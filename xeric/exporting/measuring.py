"""Whether an exported model answers as the run does: it is opened as its users will open it, and both are tried on a few inputs.

The run's own model gives the greedy text of each input, computed in float32, and the logits along that text. The exported model
computes logits along the same tokens, and a text of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from xeric.bases.base import Base
from xeric.bases.stopping import Stops
from xeric.data.rows import InstanceRow, PrefixRow
from xeric.decoding import DecodeOptions, decode
from xeric.errors import RunError
from xeric.run.adapter_files import SavedAdapter

__all__ = ["Difference", "Sample", "check_tokens", "measure", "refuse_other", "take_sample"]

_LONGEST = 32
_EXACT = 1e-3


@dataclass(frozen=True)
class Difference:
    """How far an exported model is from the run's own.

    Attributes:
        logit: largest difference of a logit.
        spread: standard deviation of the run's logits, to compare that with.
        same_texts: how many greedy texts are the same.
        texts: how many were compared.
    """

    logit: float
    spread: float
    same_texts: int
    texts: int

    def __str__(self) -> str:
        size = "less than 0.0001" if self.logit < 1e-4 else f"{self.logit:.2g}"
        return (
            f"measured on {self.texts} inputs: logits differ by {size} at most (their standard deviation is {self.spread:.2g}), "
            f"{self.same_texts} of {self.texts} greedy texts are the same"
        )

    def described(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Row:
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    logits: torch.Tensor
    text: str


@dataclass(frozen=True)
class Sample:
    """What the run's own model answers.

    Attributes:
        rows: of tokens, with its logits and texts.
        stops: ends of the texts.
        limit: of new tokens.
        pad: an id for padding.
    """

    rows: tuple[_Row, ...]
    stops: Stops
    limit: int
    pad: int


@torch.no_grad()
def take_sample(base: Base, saved: SavedAdapter, inputs: Sequence[tuple[str, str]]) -> Sample:
    """Return what the run's own model answers.

    Args:
        base: in float32, the run's method attached.
        saved: the run's adaptation.
        inputs: tasks and inputs.
    """
    limit = min(saved.max_new_tokens, _LONGEST)
    options = DecodeOptions(stop=saved.options.stop, batch_size=1)
    rows = []
    for task, text in inputs:
        encoder, prompt = base.encoder(task), saved.prompts[task]
        asked = encoder.decoding_rows(prompt, [("", text)], limit)
        answer = decode(base, asked, options, max_new_tokens=limit)[0]
        row, prefix = asked.rows[0], asked.prefix_of(asked.rows[0])
        answered = encoder.training_rows(prompt, [("", text, answer)]).rows[0]
        ids, kinds = (getattr(answered, name)[answered.target_start :] for name in ("ids", "kinds"))
        row = InstanceRow("", row.prefix, (*row.ids, *ids), (*row.kinds, *kinds), len(row.ids))
        with base.mode(training=False), base.autocast():
            logits, _ = base.target_logits(prefix, [row])
        rows.append(_row(prefix, row, logits, answer))
    return Sample(tuple(rows), Stops(base, options.stop or ()), limit, base.pad)


def _row(prefix: PrefixRow, row: InstanceRow, logits: torch.Tensor, text: str) -> _Row:
    return _Row((*prefix.ids, *row.ids[: row.target_start]), row.ids[row.target_start :], logits.float().cpu(), text)


@torch.no_grad()
def measure(sample: Sample, model: Any, *, first: int = 0) -> Difference:
    """Try an exported model.

    Args:
        sample: what the run's own model answers.
        model: with the methods of a causal model of transformers, or of PEFT around one.
        first: columns that its logits begin with and that no token of the input stands for.
    """
    largest, same, spread = 0.0, 0, []
    for row in sample.rows:
        ids = torch.tensor([[*row.prompt, *row.target]], device=model.device)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float().cpu()
        along = logits[first + len(row.prompt) - 1 : -1]
        largest = max(largest, float((along - row.logits).abs().max()))
        spread.append(float(row.logits.std()))
        same += _text(sample, model, row.prompt) == row.text
    return Difference(largest, sum(spread) / len(spread), same, len(sample.rows))


def _text(sample: Sample, model: Any, prompt: tuple[int, ...]) -> str:
    ids = torch.tensor([prompt], device=model.device)
    new = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=1,
        max_new_tokens=sample.limit,
        eos_token_id=list(sample.stops.end_tokens),
        pad_token_id=sample.pad,
    )[0, len(prompt) :]
    return sample.stops.cut(new.tolist()).text


def refuse_other(difference: Difference, what: str, *, exact: bool) -> None:
    """Check that an exported model is the run's own.

    Args:
        difference: measured.
        what: computes it, for the message.
        exact: whether nothing but the order of additions may make a difference; else the weights are rounded.

    Raises:
        RunError: it is another.
    """
    limit = _EXACT * max(difference.spread, 1.0) if exact else difference.spread
    if not difference.logit <= limit:
        raise RunError(
            f"{what} computes something else than the run (logits differ by {difference.logit:.2g}), so nothing was written",
            hint="use another target, or `xeric generate`; and report this with the versions of the record, please",
        )


def check_tokens(base: Base, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> None:
    """Check that an exported tokenizer gives the tokens that the run's does.

    Raises:
        RunError: it does not.
    """
    for text in dict.fromkeys(texts):
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if list(ids) != base.tokenize(text):
            raise RunError(f"the exported tokenizer gives other tokens for {text[:40]!r}, so nothing was written")
    begins = tokenizer("a")["input_ids"][:1] == [base.bos]
    if (base.bos is not None) != begins or tokenizer.eos_token_id != base.tokenizer.eos_token_id:
        raise RunError("the exported tokenizer begins or ends texts in another way, so nothing was written")
