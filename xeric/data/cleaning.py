"""One form for every text, and out with what is noise; every drop is counted under its reason.

1. *One form*: Unicode NFC, line ends, invisible characters (:mod:`xeric.invisible`), white space. Single line breaks and one
   blank line stay: poems need them.
2. *Noise*, by the named rules of :class:`CleaningOptions`. A reference that breaks a rule is taken out; its instance goes when no
   reference is left. A rule of form (``FORM_RULES``) that would take more than ``max_noise_share`` of a task has met the task's
   own form (a sentence without names *is* the right answer of a tagging task), so it is set aside and a note says so.
3. *Duplicates*. The same input and outputs, or a demonstration again: dropped. The same input with other outputs: merged into
   one instance with several references, as Natural Instructions has it; apart, one row's answer could stand in training while
   the other is tested, and one answer would be scored twice as if independent. Nearly the same input and output, and no number
   changed: dropped; where the output is too short to tell ("yes"), only if the input has the same words.
4. *Clusters*: what is alike (input and output together) or shares an input, a long output or a group. They stay on one side.

What is kept depends on content alone, not on the order of the file.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from html.entities import html5

import regex
from pydantic import Field

from xeric.config import Config
from xeric.data.leaks import TELLING, fold
from xeric.data.splits import MERGED, find_alike
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import UnknownNameError
from xeric.invisible import without_invisible
from xeric.languages import language
from xeric.text import normalize, script_shares

__all__ = ["FORM_RULES", "Cleaned", "CleaningOptions", "Dropped", "clean", "one_form"]

FORM_RULES = ("empty_input", "markup", "output_equals_input", "length_outlier")
"""Rules that a task's own form can look like; set aside where they would take too much of a task."""

_LINE_END = regex.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANKS = regex.compile(r"[\t\p{Zs}]+")
_INNER_BLANKS = regex.compile(r"(?<=[^\t\p{Zs}\n])[\t\p{Zs}]+")
_MANY_LINES = regex.compile(r"\n{3,}")

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


class CleaningOptions(Config):
    """What counts as noise: a switch for each rule, then how strict the rules are.

    Attributes:
        empty_input: drop instances without input.
        empty_output: drop instances without a non-empty reference.
        broken_encoding: replacement characters, C1 controls, UTF-8 read as Latin-1 ("cafÃ©"), in input or output.
        markup: left-over HTML tags and entities, but not ``a < b``, in input or output.
        output_equals_input: every reference repeats the input.
        wrong_script: fewer than ``min_script_share`` of a reference's letters belong to the declared output language.
        mismatched_output: a long output that stands under several inputs and comes from one of them (80% of its words) cannot be
            right under one that has under 30%; where a twentieth of a task is such, so is every output under 30%.
        length_outlier: length far from the task's median on a logarithmic scale; never short answers in a short-answer task.
        exact_duplicate: the same input and outputs, case aside.
        same_input: merge instances of one input into one with several references.
        near_duplicate: input and output each alike at ``near_duplicate_similarity``; see the module's text.
        max_noise_share: a rule of form that would take more than this share of a task is set aside; 1 applies it anyway.
        min_script_share: between 0 and 1.
        min_letters: references with fewer letters are not judged by script.
        length_spread: how many robust standard deviations from the median are still no outlier.
        near_duplicate_similarity: of windows and of word sequences, from which the second of two instances is dropped.
        cluster_similarity: Jaccard similarity from which two instances stay on one side of a split.
        max_cluster_share: a cluster that chains more than this share of a task together is taken apart at a higher similarity.
        keep_indentation: keep blanks at the start of a line (program code).
    """

    empty_input: bool = True
    empty_output: bool = True
    broken_encoding: bool = True
    markup: bool = True
    output_equals_input: bool = True
    wrong_script: bool = True
    mismatched_output: bool = True
    length_outlier: bool = True
    exact_duplicate: bool = True
    same_input: bool = True
    near_duplicate: bool = True
    max_noise_share: float = Field(default=0.1, ge=0, le=1)
    min_script_share: float = Field(default=0.5, ge=0, le=1)
    min_letters: int = Field(default=10, ge=1, le=1_000_000)
    length_spread: float = Field(default=6.0, gt=0, le=1e6)
    near_duplicate_similarity: float = Field(default=0.9, ge=0.5, le=1)
    cluster_similarity: float = Field(default=0.7, ge=0.5, le=1)
    max_cluster_share: float = Field(default=0.5, gt=0, le=1)
    keep_indentation: bool = False


@dataclass(frozen=True)
class Dropped:
    """One instance that is not used, why, and what was seen."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Cleaned:
    """A task after cleaning.

    Attributes:
        task: every text in one form, and only the instances kept, in the order of the file.
        clusters: for each kept instance, the number of its cluster.
        pinned: clusters like a demonstration, which is text that is trained on: they belong to the training side.
        drops: number of instances dropped, by reason.
        dropped: those instances, in the order of the file.
        merged: number of instances whose outputs live on as references of another of the same input.
        dropped_references: number of references taken out of instances that were kept, by reason.
        notes: sentences for the user: rules set aside, rules that could not be applied.
    """

    task: Task
    clusters: tuple[int, ...]
    pinned: frozenset[int]
    drops: dict[str, int]
    dropped: tuple[Dropped, ...]
    merged: int
    dropped_references: dict[str, int]
    notes: tuple[str, ...]

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances kept, in the order of the file."""
        return self.task.instances


def one_form(text: str, *, keep_indentation: bool = False) -> str:
    r"""Return ``text`` in the one form: NFC, ``\n`` line ends, nothing invisible, single blanks, at most one blank line in a row.

    >>> one_form("Roses  are red,\r\n\r\n\r\nViolets\u00a0are blue. ")
    'Roses are red,\n\nViolets are blue.'
    """
    text = without_invisible(_LINE_END.sub("\n", text))
    lines = (_INNER_BLANKS if keep_indentation else _BLANKS).sub(" ", text).split("\n")
    text = _MANY_LINES.sub("\n\n", "\n".join(line.rstrip() if keep_indentation else line.strip() for line in lines))
    return normalize(text.strip("\n") if keep_indentation else text.strip())


def clean(task: Task, options: CleaningOptions | None = None) -> Cleaned:
    """Return a task in one form, without noise and duplicates, and the clusters of what is alike.

    Every instance of ``task`` is afterwards kept, merged into another, or in ``dropped`` under one reason.

    Args:
        task: the task as read.
        options: what counts as noise; None for the defaults.
    """
    options = options or CleaningOptions()
    # Looked for before the form is given, which takes away soft hyphens and no-break spaces: "mÃ\u00ada" is "mía".
    broken = _broken(task, options.keep_indentation) if options.broken_encoding else {}
    task = _formed(task, options.keep_indentation)
    notes = list(task.notes)
    dropped: dict[str, Dropped] = {}
    references: Counter[str] = Counter()
    alike = find_alike(
        _denoise(task, broken, options, dropped, references, notes),
        task.positive_examples,
        exact=options.exact_duplicate,
        merge=options.same_input,
        near=options.near_duplicate_similarity if options.near_duplicate else None,
        similarity=options.cluster_similarity,
        max_share=options.max_cluster_share,
        common_share=options.max_noise_share,
    )
    dropped.update((id_, Dropped(id_, reason, detail)) for id_, (reason, detail) in alike.repeats.items() if reason != MERGED)
    kept = {instance.id: (instance, label) for instance, label in zip(alike.instances, alike.labels, strict=True)}
    order = [i.id for i in task.instances if i.id in kept]
    return Cleaned(
        task=replace(task, instances=tuple(kept[id_][0] for id_ in order)),
        clusters=tuple(kept[id_][1] for id_ in order),
        pinned=alike.pinned,
        drops=dict(sorted(Counter(drop.reason for drop in dropped.values()).items())),
        dropped=tuple(dropped[i.id] for i in task.instances if i.id in dropped),
        merged=sum(reason == MERGED for reason, _ in alike.repeats.values()),
        dropped_references={reason: count for reason, count in sorted(references.items()) if count},
        notes=(*notes, *alike.notes),
    )


def _denoise(
    task: Task,
    broken: dict[str, str],
    options: CleaningOptions,
    dropped: dict[str, Dropped],
    references: Counter[str],
    notes: list[str],
) -> list[Instance]:
    kept = list(task.instances)
    for reason, judge in _rules(task, broken, options, notes):
        verdicts = judge(kept)
        faults = sum(isinstance(verdict, str) for verdict in verdicts)
        if reason in FORM_RULES and faults > options.max_noise_share * len(task.instances):
            notes.append(f"{reason} would drop {faults} of {len(task.instances)} instances: taken as the task's own form")
            continue
        if faults > options.max_noise_share * len(task.instances):
            notes.append(f"{reason} drops {faults} of {len(task.instances)} instances: look at the source")
        for before, after in zip(kept, verdicts, strict=True):
            if isinstance(after, str):
                dropped[before.id] = Dropped(before.id, reason, after)
            else:
                references[reason] += len(before.outputs) - len(after.outputs)
        kept = [verdict for verdict in verdicts if not isinstance(verdict, str)]
    return kept


def _formed(task: Task, keep_indentation: bool) -> Task:
    def form(text: str) -> str:
        return one_form(text, keep_indentation=keep_indentation)

    def formed(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(Example(form(e.input), form(e.output), form(e.explanation)) for e in examples)

    return replace(
        task,
        definition=form(task.definition),
        positive_examples=formed(task.positive_examples),
        negative_examples=formed(task.negative_examples),
        instances=tuple(
            replace(i, input=form(i.input), outputs=tuple(dict.fromkeys(map(form, i.outputs)))) for i in task.instances
        ),
    )


def _rules(task: Task, broken: dict[str, str], options: CleaningOptions, notes: list[str]) -> Iterator[tuple[str, Judge]]:
    """Yield the rules that are switched on, each with a function from instances to what becomes of them."""
    if options.empty_input:
        yield "empty_input", lambda kept: [i if i.input else "no input" for i in kept]
    if options.empty_output:
        yield "empty_output", lambda kept: [_sift(i, lambda text: None if text else "no output") for i in kept]
    if options.broken_encoding:
        yield "broken_encoding", lambda kept: [_sift(i, broken.get, broken.get) for i in kept]
    if options.markup:
        yield "markup", lambda kept: [_sift(i, _markup, _markup) for i in kept]
    if options.output_equals_input:
        yield "output_equals_input", lambda kept: [_copied(i) or i for i in kept]
    scripts = _scripts(task, notes) if options.wrong_script else set()
    if scripts:
        foreign = functools.partial(_foreign, scripts=scripts, share=options.min_script_share, letters=options.min_letters)
        yield "wrong_script", lambda kept: [_sift(i, foreign) for i in kept]
    if options.mismatched_output:
        yield "mismatched_output", _mismatched
    if options.length_outlier:
        yield "length_outlier", lambda kept: _outliers(kept, options.length_spread)


def _sift(instance: Instance, output_fault: Fault, input_fault: Fault | None = None) -> Verdict:
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


def _broken(task: Task, keep_indentation: bool) -> dict[str, str]:
    """Return the texts whose encoding was broken, in their later form, each with what was seen."""
    found = ((text, _BROKEN.search(text)) for i in task.instances for text in (i.input, *i.outputs))
    return {one_form(text, keep_indentation=keep_indentation): _around(text, match) for text, match in found if match}


def _markup(text: str) -> str | None:
    match = _TAG.search(text) or next((m for m in _ENTITY.finditer(text) if m[1] is None or f"{m[1]};" in html5), None)
    return _around(text, match) if match else None


def _copied(instance: Instance) -> str | None:
    asked = _plain(instance.input)
    return "the output repeats the input" if asked and all(_plain(output) == asked for output in instance.outputs) else None


def _scripts(task: Task, notes: list[str]) -> set[str]:
    scripts: set[str] = set()
    for name in task.output_languages:
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


def _foreign(text: str, scripts: set[str], share: float, letters: int) -> str | None:
    text = text[:2000]
    if ("Latin" in scripts and text.isascii()) or len(_LETTER.findall(text)) < letters:
        return None
    shares = script_shares(text)
    found = sum(shares.get(script, 0.0) for script in scripts)
    return f"{found:.0%} of the letters are {' or '.join(sorted(scripts))}: {text[:40]!r}" if found < share else None


def _mismatched(instances: Sequence[Instance]) -> list[Verdict]:
    """Judge outputs by the share of their words that are in the input; see :class:`CleaningOptions` for the rule."""
    shares: dict[int, float] = {}
    under: dict[str, list[int]] = {}
    for position, instance in enumerate(instances):
        output = fold(instance.outputs[0])
        if len(instance.outputs) == 1 and output:
            shares[position] = len(set(output) & set(fold(instance.input))) / len(set(output))
            if len(" ".join(output)) >= TELLING:
                under.setdefault(" ".join(output), []).append(position)
    wrong = {p for same in under.values() if max(shares[p] for p in same) >= 0.8 for p in same if shares[p] < 0.3}
    if len(wrong) > 0.05 * len(instances):
        wrong.update(p for p, share in shares.items() if share < 0.3)
    detail = "{:.0%} of the output's words are in the input, where outputs come from their inputs"
    return [detail.format(shares[p]) if p in wrong else instance for p, instance in enumerate(instances)]


def _outliers(instances: Sequence[Instance], spread: float) -> list[Verdict]:
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


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
