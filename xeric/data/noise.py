"""Rules that find noise: what is wrong with a text, with an instance, or with an instance beside the others of its task.

A rule about one text returns what is wrong, or None. A rule about instances returns for each the instance as it is kept, or what
is wrong with it. :mod:`xeric.data.cleaning` says which rules are applied, and what follows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html.entities import html5

import regex

from xeric.data.duplicates import plain
from xeric.data.shingles import MIN_DISTINCTIVE, fold
from xeric.data.tasks import Instance
from xeric.data.text_form import one_form
from xeric.errors import UnknownNameError
from xeric.languages import language
from xeric.text import script_shares

__all__ = [
    "Judge",
    "Verdict",
    "broken_texts",
    "copied_input",
    "foreign_script",
    "length_outliers",
    "markup",
    "mismatched_outputs",
    "output_scripts",
    "without_faulty_references",
]

# UTF-8 read as Latin-1 or Windows-1252. A capital before it means a real accent and punctuation ("MANHÃ»"): left alone.
_BYTES = {bytes([b]).decode(code, "ignore") for b in range(0x80, 0xC0) for code in ("latin-1", "cp1252")}
_NEXT = "[" + "".join(sorted(map(regex.escape, _BYTES))) + "]"
_QUOTES = "[\u2018-\u201e\u2039\u203a]"
_BROKEN = regex.compile(
    rf"\ufffd|[\x80-\x84\x86-\x9f]|(?<!\p{{Lu}})[ÂÃ](?!{_QUOTES}){_NEXT}|[ÂÃ]{_QUOTES}(?=\p{{L}})|â€|ï»¿|ï¿½|ðŸ"
    rf"|à[¤-±¸¹]{_NEXT}|(?:[ÐÑØ-Û]{_NEXT}){{2}}|(?:[ã-é]{_NEXT}{{2}}){{2}}"
)
_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|cite|code|dd|div|dl|dt|em|embed|font|form|h[1-6]|head|hr|html|i|iframe|img|input|li|link"
    "|meta|object|ol|option|p|param|pre|s|script|select|small|span|strike|strong|style|sub|sup|table|tbody|td|textarea|th|thead|tr|tt|u|ul"
)
_TAG = regex.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--", regex.IGNORECASE)
_ENTITY = regex.compile(r"&(?:#\d{2,6}|#[xX][0-9a-fA-F]{2,6}|([A-Za-z][A-Za-z0-9]{1,30}));")
_LETTER = regex.compile(r"\p{L}")

Fault = Callable[[str], str | None]
"""What is wrong with a text, or None."""

Verdict = Instance | str
"""An instance as it is kept, or what is wrong with it."""

Judge = Callable[[Sequence[Instance]], list[Verdict]]
"""A rule: from instances to the verdict on each."""


def without_faulty_references(instance: Instance, output_fault: Fault, input_fault: Fault | None = None) -> Verdict:
    """Return the instance without its faulty references, or what is wrong where its input or every reference is faulty."""
    fault = input_fault(instance.input) if input_fault else None
    if fault:
        return f"input: {fault}"
    faults = [output_fault(output) for output in instance.outputs]
    if all(faults):
        return f"output: {faults[0]}"
    return replace(instance, outputs=tuple(o for o, f in zip(instance.outputs, faults, strict=True) if not f))


def _around(text: str, match: regex.Match[str]) -> str:
    return repr(text[max(0, match.start() - 20) : match.end() + 20])


def broken_texts(instances: Iterable[Instance], keep_indentation: bool) -> dict[str, str]:
    """Return the texts of ``instances`` whose encoding is broken, brought to the one form, each with what was seen.

    Args:
        instances: as read: the one form takes away soft hyphens and no-break spaces, by which a broken text is known.
        keep_indentation: as for :func:`xeric.data.text_form.one_form`.
    """
    matches = ((text, _BROKEN.search(text)) for i in instances for text in (i.input, *i.outputs))
    return {one_form(text, keep_indentation=keep_indentation): _around(text, match) for text, match in matches if match}


def markup(text: str) -> str | None:
    """Return the first HTML tag or entity of a text with what stands around it."""
    match = _TAG.search(text) or next((m for m in _ENTITY.finditer(text) if m[1] is None or f"{m[1]};" in html5), None)
    return _around(text, match) if match else None


def copied_input(instance: Instance) -> str | None:
    """Return what is wrong where every reference repeats the input."""
    question = plain(instance.input)
    copied = question and all(plain(output) == question for output in instance.outputs)
    return "the output repeats the input" if copied else None


def output_scripts(languages: Sequence[str], notes: list[str]) -> set[str]:
    """Return the scripts that output languages are written in; none, and a note added to ``notes``, where one is not known."""
    scripts: set[str] = set()
    for name in languages:
        try:
            own = language(name).scripts
        except UnknownNameError:
            notes.append(f"the output language {name!r} is unknown, so wrong_script was not applied")
            return set()
        if not own:
            notes.append(f"no script is known for the output language {name!r}, so wrong_script was not applied")
            return set()
        scripts.update(own)
    if not scripts:
        notes.append("no script is known for the output language, so wrong_script was not applied")
    return scripts


def foreign_script(text: str, scripts: set[str], share: float, letters: int) -> str | None:
    """Return what is wrong where fewer than ``share`` of a text's letters, at least ``letters``, belong to ``scripts``."""
    text = text[:2000]
    if ("Latin" in scripts and text.isascii()) or len(_LETTER.findall(text)) < letters:
        return None
    shares = script_shares(text)
    own = sum(shares.get(script, 0.0) for script in scripts)
    return f"{own:.0%} of the letters are {' or '.join(sorted(scripts))}: {text[:40]!r}" if own < share else None


def mismatched_outputs(instances: Sequence[Instance]) -> list[Verdict]:
    """Judge outputs by the share of their words that are in the input, as ``CleaningOptions.mismatched_output`` says."""
    shares: dict[int, float] = {}
    under: dict[str, list[int]] = {}
    for position, instance in enumerate(instances):
        output = fold(instance.outputs[0])
        if len(instance.outputs) == 1 and output:
            shares[position] = len(set(output) & set(fold(instance.input))) / len(set(output))
            if len(" ".join(output)) >= MIN_DISTINCTIVE:
                under.setdefault(" ".join(output), []).append(position)
    wrong = {p for same in under.values() if max(shares[p] for p in same) >= 0.8 for p in same if shares[p] < 0.3}
    if len(wrong) > 0.05 * len(instances):
        wrong.update(p for p, share in shares.items() if share < 0.3)
    detail = "{:.0%} of the output's words are in the input, where outputs come from their inputs"
    return [detail.format(shares[p]) if p in wrong else instance for p, instance in enumerate(instances)]


def length_outliers(instances: Sequence[Instance], spread: float) -> list[Verdict]:
    """Judge input length and longest output against the median on a logarithmic scale, in robust standard deviations."""
    verdicts: list[Verdict] = list(instances)
    for side, texts in (
        ("input", [i.input for i in instances]),
        ("output", [max(i.outputs, key=len) for i in instances]),
    ):
        logs = [math.log(1 + len(text)) for text in texts]
        middle = statistics.median(logs) if logs else 0.0
        deviation = max(1.4826 * statistics.median([abs(x - middle) for x in logs]), 0.35) if logs else 1.0
        low, high = math.exp(middle - spread * deviation), math.exp(middle + spread * deviation)
        typical = math.exp(middle)
        for position, text in enumerate(texts):
            # A long answer is no outlier before it is a paragraph; a short one only where texts are sentences at least.
            if len(text) > max(high, 200) or (0 < len(text) < low - 1 and typical >= 50):
                verdicts[position] = f"{side}: {len(text)} characters, where {typical:.0f} are usual"
    return verdicts
