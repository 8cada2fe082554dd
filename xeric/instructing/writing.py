"""Texts that the base itself writes for a search: paraphrases of a sentence, and instructions guessed from examples.

Induction follows Honovich et al. 2022 (arXiv 2205.10782): shown some pairs of input and output, the base writes the instruction
that they follow. The requests are in English, whatever the task's language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import regex

from xeric.bases.base import Base
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import Prompt, Segment, build_prompt
from xeric.data.tasks import Example, Task
from xeric.data.text_form import one_form
from xeric.decoding import DecodeOptions, decode
from xeric.errors import DataError
from xeric.instructing.journal import Journal

__all__ = ["BaseWriter", "pairs_text"]

_PARAPHRASE = "Say the same in other words."
_PARAPHRASES = (
    Example("Write a headline for the article.", "Give the article a title."),
    Example("You are given a question; answer it in one sentence.", "Reply to the question below with a single sentence."),
)
_INDUCTION = "A friend was given an instruction and some inputs, and wrote an output for each input."
_ASKED = "Which instruction was the friend given? Write the instruction and nothing else."
_CONTINUED = "\nThe instruction was:"

_SAMPLING = DecodeOptions(strategy="sample", temperature=0.8, top_p=0.9, batch_size=8)
_NEW_TOKENS = 96
_SHOWN = 300
"""Characters of an input or an output that are shown in a request, at most."""

_QUOTES = regex.compile(r"^[\"'“«*\s]+|[\"'”»*\s]+$")


class BaseWriter:
    """Asks a base for texts, in its chat template or in plain text.

    Args:
        base: open; it is used as it is.
        template: ``chat`` or ``plain``.
        seed: of sampling.
        journal: keeps what was written.
    """

    def __init__(self, base: Base, template: str, seed: int, journal: Journal) -> None:
        self._base, self._seed, self._journal = base, seed, journal
        self._options = PromptOptions.model_validate({"template": template})
        self._render = base.render_chat if base.has_chat_template else None

    def paraphrases(self, sentence: str, count: int, turn: int) -> list[str]:
        """Return sampled paraphrases of a sentence; fewer than ``count`` where some are empty or alike.

        Args:
            sentence: to say in other words.
            count: how many are sampled.
            turn: number of the request for this sentence; each samples others.
        """
        prompt = build_prompt(self._task(_PARAPHRASE), _PARAPHRASES, self._options, render_chat=self._render)
        return self._sampled("paraphrase", prompt, [sentence.strip()] * count, turn)

    def instructions(self, examples: Sequence[Sequence[Example]]) -> list[str]:
        """Return an instruction guessed from each group of examples; fewer where some are empty or alike."""
        chat = self._options.template == "chat"
        if chat:
            prompt = build_prompt(self._task(_INDUCTION), (), self._options, render_chat=self._render)
        else:
            lead = Segment("instruction", f"{_INDUCTION}\n\n")
            frame = Segment("input", ""), Segment("input", _CONTINUED)
            prompt = Prompt("", ((lead,),), *frame, before_text="", before_target=" ")
        texts = [pairs_text(group) + (f"\n{_ASKED}" if chat else "") for group in examples]
        return self._sampled("induction", prompt, texts, 0)

    def _task(self, definition: str) -> Task:
        return Task(name="", definition=definition, instances=())

    def _sampled(self, kind: str, prompt: Prompt, inputs: Sequence[str], turn: int) -> list[str]:
        asked = [kind, list(inputs), turn, self._seed]
        texts = self._journal.get(asked, lambda: self._sample(prompt, inputs, turn))
        return list(dict.fromkeys(filter(None, map(_first_paragraph, texts))))

    def _sample(self, prompt: Prompt, inputs: Sequence[str], turn: int) -> list[str]:
        prompt = replace(prompt, stop=(*prompt.stop, "\n\n"))
        limit = min(_NEW_TOKENS, self._base.context // 4)
        rows = [(str(number), text) for number, text in enumerate(inputs)]
        try:
            encoded = self._base.encoder("").decoding_rows(prompt, rows, limit)
        except DataError:  # a base whose context has no room for the request
            return []
        options = _SAMPLING.model_copy(update={"stop": prompt.stop})
        return decode(self._base, encoded, options, max_new_tokens=limit, seed=self._seed + turn)


def pairs_text(examples: Sequence[Example]) -> str:
    """Return examples as they are shown in a request, long texts cut at their end."""
    return "\n".join(f"Input: {_short(example.input)}\nOutput: {_short(example.output)}\n" for example in examples)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " ..."


def _first_paragraph(text: str) -> str:
    """Return the first paragraph of an answer that says something, quotation marks around it taken off."""
    first = one_form(text).split("\n")[0]
    cleaned = _QUOTES.sub("", first)
    return cleaned if regex.search(r"\p{L}{2}", cleaned) else ""
