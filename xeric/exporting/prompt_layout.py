r"""``prompt.json``: how an exported model is to be asked, for programs that know nothing of Xeric.

A row of a task is a list of segments. Each is turned into tokens by itself, as it was in training: tokens do not cross from one
to the next, and only where ``special`` is true may a text spell special tokens. The one with ``input`` true is followed by the
input's text, tokenised together with it::

    {"begin": [2],
     "segments": [{"text": "Answer the customer.\n\n", "special": false, "input": false},
                  {"text": "Input:", "special": false, "input": false},
                  {"text": " ", "special": false, "input": true},
                  {"text": "\nOutput:", "special": false, "input": false}],
     "text": "Answer the customer.\n\nInput: {input}\nOutput:", ...}
"""

from __future__ import annotations

from typing import Any

from xeric.bases.base import Base
from xeric.data.prompts import Prompt, Segment
from xeric.decoding import DecodeOptions
from xeric.run.adapter_files import SavedAdapter

__all__ = ["LAYOUT_FILE", "penalties_of", "prompt_layout"]

LAYOUT_FILE = "prompt.json"
_FORMAT = 1


def prompt_layout(saved: SavedAdapter, base: Base) -> dict[str, Any]:
    """Return the content of ``prompt.json``.

    Args:
        saved: the run's adaptation.
        base: its base; the part of the method that puts a prefix in front of the rows attached, where it is exported.
    """
    return {"format": _FORMAT, "tasks": {name: _task(saved, base, name, prompt) for name, prompt in saved.prompts.items()}}


def _task(saved: SavedAdapter, base: Base, name: str, prompt: Prompt) -> dict[str, Any]:
    # Demonstrations that each row has of its own are not a part of what all rows share: the layout is that of a row without.
    opening = prompt.retrieved.layouts[0] if prompt.retrieved else ()
    segments = [_segment(segment) for segment in (*prompt.prefixes[-1], *opening, prompt.before_input) if segment.text]
    segments.append({"text": prompt.before_text, "special": False, "input": True})
    segments += [_segment(prompt.after_input)] if prompt.after_input.text else []
    begin, segments = _begin(base, name, prompt, segments)
    return {
        "definition": saved.definitions.get(name, ""),
        "begin": begin,
        "segments": segments,
        "text": "".join(segment["text"] + ("{input}" if segment["input"] else "") for segment in segments),
        "demonstrations": prompt.demonstrations,
        **({"demonstration_choice": "nearest"} if prompt.retrieved else {}),
        "before_answer": prompt.before_target,
        "end_tokens": list(base.eos),
        "stop": list(saved.options.stop or ()),
        "max_new_tokens": saved.max_new_tokens,
        "decoding": saved.options.strategy,
        **penalties_of(saved.options),
    }


def penalties_of(options: DecodeOptions) -> dict[str, float]:
    """Return what a run's decoding does against repetition, where it does anything."""
    penalties = {"no_repeat_ngram": options.no_repeat_ngram, "repetition_penalty": options.repetition_penalty}
    return {name: value for name, value in penalties.items() if value != DecodeOptions.model_fields[name].default}


def _segment(segment: Segment) -> dict[str, Any]:
    return {"text": segment.text, "special": segment.special, "input": False}


def _begin(base: Base, name: str, prompt: Prompt, segments: list[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the tokens in front of the first segment, and the segments; a prefix that began as BOS stands for the row's own."""
    encoder = base.encoder(name)
    if not encoder.begun or prompt.begin:
        return ([base.bos] if prompt.begin and base.bos is not None and not encoder.begun else []), segments
    # A chat template writes BOS itself, at the beginning of the first segment.
    written = str(base.tokenizer.bos_token)
    if segments and segments[0]["special"] and segments[0]["text"].startswith(written):
        return [], [{**segments[0], "text": segments[0]["text"].removeprefix(written)}, *segments[1:]]
    return [], segments
